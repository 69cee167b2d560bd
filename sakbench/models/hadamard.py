"""Hadamard matrices: orthogonal, with entries of one size, by Sylvester's doubling and Paley's construction."""

import torch
from torch import Tensor

from sakbench.errors import UserError


def hadamard(order: int) -> Tensor:
    """An orthogonal matrix (order, order) in float64 whose entries are all 1 or -1 over the root of `order`.

    Raises `UserError` where neither construction has one: `order` must be 2^k, or 2^k (q + 1) with a prime q that
    leaves 3 when divided by 4, as the widths of common transformers are.
    """
    doublings = 0
    while (core := order >> doublings) << doublings == order:
        matrix = torch.ones(1, 1, dtype=torch.float64) if core == 1 else _paley(core - 1)
        if matrix is not None:
            for _ in range(doublings):
                matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
            return matrix / order**0.5
        doublings += 1
    raise UserError(f"no Hadamard matrix of order {order} is known here: RADIO's standardisation needs one.")


def _paley(prime: int) -> Tensor | None:
    """The matrix of order `prime` + 1 made of quadratic residues; None where `prime` is not fit for it."""
    if prime % 4 != 3 or any(prime % divisor == 0 for divisor in range(2, int(prime**0.5) + 1)):
        return None
    squares = {number * number % prime for number in range(1, prime)}
    residues = torch.tensor([0.0, *(1.0 if number in squares else -1.0 for number in range(1, prime))])
    rows = torch.arange(prime)
    skew = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = residues[(rows[None] - rows[:, None]) % prime]
    return skew + torch.eye(prime + 1, dtype=torch.float64)
