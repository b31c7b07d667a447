"""Worlds: tiny languages in which the truth is computable.

One file each; the folder is the registry.
"""
