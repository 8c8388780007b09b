"""Weights in four bits: NormalFloat, and the alternation of LoftQ, in plain torch on any device."""

from functools import cache

import torch
from scipy.stats import norm
from torch import Tensor

from fans._validation import whole

__all__ = ["loftq", "nf4", "nf4_levels", "quantisation_error", "truncated_svd"]

_OFFSET = 0.9677083  # the outermost quantile of the code, (1 - 1/32 + 1 - 1/30) / 2 (Dettmers et al., 2023)


@cache
def nf4_levels() -> Tensor:
    """The 16 levels of four-bit NormalFloat, ascending, (16,) float32 in [-1, 1].

    Quantiles of the normal distribution, eight on the positive side, seven on the negative one and zero,
    divided by the largest (Dettmers et al., 2023).

    >>> [round(float(level), 4) for level in nf4_levels()[[0, 7, 8, 15]]]
    [-1.0, 0.0, 0.0796, 1.0]
    """
    above = norm.ppf(torch.linspace(_OFFSET, 0.5, 9, dtype=torch.float64)[:-1].numpy())
    below = -norm.ppf(torch.linspace(_OFFSET, 0.5, 8, dtype=torch.float64)[:-1].numpy())
    levels = torch.tensor([*above, 0.0, *below], dtype=torch.float64).sort().values
    return (levels / levels.max()).float()


def nf4(W: Tensor, *, block: int = 64) -> Tensor:
    """Weights as they are after quantisation to four bits and back, of the shape and dtype of `W`.

    Each block of `block` consecutive weights is divided by its largest absolute value, and every quotient is
    replaced by the nearest level. The largest weight of a block therefore stays what it was.

    Raises:
        ValueError: a block of no weights.

    >>> nf4(torch.tensor([0.5, -2.0, 0.1]))
    tensor([ 0.4922, -2.0000,  0.1592])
    """
    whole("block", block, low=1)
    flat = W.detach().float().flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % block)).reshape(-1, block)
    largest = padded.abs().amax(1, keepdim=True)
    levels = nf4_levels().to(W.device)
    between = (levels[1:] + levels[:-1]) / 2
    code = torch.bucketize(padded / largest.clamp(min=torch.finfo(torch.float32).tiny), between)
    return (levels[code] * largest).flatten()[: len(flat)].reshape(W.shape).to(W.dtype)


def truncated_svd(W: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of rank r, B A with A (r, n) and B (m, r) of equal weight, as A, B.

    With W = U S V': B = U_r S_r^(1/2), A = S_r^(1/2) V_r' (Eckart and Young, 1936).

    >>> A, B = truncated_svd(torch.diag(torch.tensor([4.0, 1.0])), 1)
    >>> bool(torch.allclose(B @ A, torch.diag(torch.tensor([4.0, 0.0]))))
    True
    """
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = S[:rank].sqrt()
    return root[:, None] * Vh[:rank], U[:, :rank] * root


def loftq(W: Tensor, rank: int, *, iterations: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Quantised base, A and B of LoftQ (Li et al., 2024).

    Alternates Q = nf4(W - B A) and B A = the best approximation of rank r to W - Q, from B A = 0. The second
    half is optimal given the first. The first is not quite: the scale of a block is its largest weight, and
    not optimised, so that the error need not fall in every iteration.

    Raises:
        ValueError: no iteration.

    >>> W = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    >>> Q, A, B = loftq(W, 8, iterations=5)
    >>> bool((W - Q - B @ A).norm() < (W - nf4(W)).norm())
    True
    """
    whole("iterations", iterations, low=1)
    low_rank = torch.zeros_like(W)
    for _ in range(iterations):
        Q = nf4(W - low_rank)
        A, B = truncated_svd(W - Q, rank)
        low_rank = B @ A
    return Q, A, B


def quantisation_error(W: Tensor, approximation: Tensor) -> float:
    """Relative error ||W - approximation|| / ||W|| in the Frobenius norm.

    >>> quantisation_error(torch.ones(2, 2), torch.zeros(2, 2))
    1.0
    """
    return float((W - approximation).norm() / W.norm())
