"""The package as source text: what the tests of floors, doors and style read."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mo_interp"


def modules() -> dict[str, Path]:
    """Every module by its dotted name without the package's, ``worlds.fact`` or ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "organisms":
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(source: ast.AST) -> list[tuple[str, int]]:
    """Every imported dotted name with its line, at the top, in functions or under a condition.

    ``from a import b`` gives ``a.b``; ``import_module("a.b")`` with a literal counts as well.
    """
    found = []
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                found.append((str(first.value), node.lineno))
    return found


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of an expression made of names and attributes; the tail of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""
