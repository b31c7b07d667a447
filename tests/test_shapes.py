"""The shape checker of the tests sees a wrong shape, and lets the package's own errors through."""

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped
from shapes import check_arrays


@jaxtyped(typechecker=check_arrays)
def rows_of(x: Float[np.ndarray, "n d"], k: int) -> Float[np.ndarray, "k d"]:
    if x.ndim != 2:
        raise ValueError("a readable message")
    return x[:k] if k else x[:, :1]


@jaxtyped(typechecker=check_arrays)
def paired(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> None:
    del x, y


def test_right_shapes_pass_and_other_types_are_not_checked():
    assert rows_of(np.zeros((3, 2)), np.int64(1)).shape == (1, 2)
    paired(np.zeros(3), np.ones(3))


def test_a_wrong_result_or_argument_is_seen():
    with pytest.raises(TypeCheckError):
        rows_of(np.zeros((3, 2)), 0)
    with pytest.raises(TypeCheckError):
        paired(np.zeros(3), np.ones(4))


def test_the_functions_own_error_comes_first():
    with pytest.raises(ValueError, match="a readable message"):
        rows_of(np.zeros(3), 1)
