"""Model diffing: what changed between a twin and its organism, and where.

==========  ======================================================================================
weights     singular values of the difference of each component's weights; looks at no prompt
lens        the mean difference of activations on rows without labels, read as words
dictionary  a sparse autoencoder of the differences
scoring     a ranking of parts by any of these, held against the circuit
==========  ======================================================================================

All of them take two models of one shape, the organism first. What a difference means depends on the
twin. Where the two share their weights by construction (wired, implanted) it is exact: parts that
nobody touched differ by 0. Where the twin was trained for itself, the difference holds the noise of
training as well, and the same numbers for a pair of models *without* a lie (twin and benign twin,
two seeds of the twin) have to stand beside it. Permuted neurons, in models that share no start,
count as differences.
"""
