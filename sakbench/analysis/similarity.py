"""How alike two representations are."""

import numpy as np
from numpy.typing import ArrayLike


def average_cosine(first: ArrayLike, second: ArrayLike) -> float:
    """The mean over the first axis of the cosine between matching entries, each flattened to one vector.

    Maps of shape (B, d, h, w) give one cosine per sample over the whole map, which is the cosine of the distillation
    loss (Eq. 5) and the one meant by a representation similarity in this package (Tables 3 and 17). The average over
    patch tokens is the same function on tokens of shape (B * n, d).

    Raises `ValueError` for shapes that differ, an empty first axis, or an entry that is all zero.
    """
    a, b = _rows(first), _rows(second)
    if a.shape != b.shape:
        raise ValueError(f"representations to compare have the shapes {np.shape(first)} and {np.shape(second)}.")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not lengths.all():
        raise ValueError("the cosine of a representation that is zero everywhere is not defined.")
    return float(np.mean(np.einsum("nd,nd->n", a, b) / lengths))


def linear_cka(first: ArrayLike, second: ArrayLike) -> float:
    """Linear centred kernel alignment of two representations (n, d) and (n, e) of the same n samples: 0 to 1.

    It does not change if either is rotated, shifted or scaled, so widths may differ.

    Raises `ValueError` for fewer than two samples, sample counts that differ, or a representation without variance.
    """
    a, b = _rows(first), _rows(second)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"CKA compares at least two samples in both representations; here are {len(a)} and {len(b)}.")
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    if len(a) < max(a.shape[1], b.shape[1]):  # the n x n Gram matrices are then the smaller ones
        gram_a, gram_b = a @ a.T, b @ b.T
        shared, own = np.vdot(gram_a, gram_b), np.linalg.norm(gram_a) * np.linalg.norm(gram_b)
    else:
        shared, own = np.linalg.norm(a.T @ b) ** 2, np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    if own == 0:
        raise ValueError("CKA of a representation that is the same for every sample is not defined.")
    return float(shared / own)


def _rows(array: ArrayLike) -> np.ndarray:
    """As float64 of shape (n, everything else)."""
    values = np.asarray(array, dtype=np.float64)
    if values.ndim < 2 or not len(values):
        raise ValueError(
            f"representations need a first axis of samples and another one; this has shape {values.shape}."
        )
    return values.reshape(len(values), -1)
