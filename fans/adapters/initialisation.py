"""What an initialisation makes of a matrix of weights: a frozen base, and two factors that are trained.

An adapted layer computes y = (W_0 + s B A) x with W_0 (m, n) frozen, A (r, n), B (m, r) and the scaling
s = alpha / r. The initialisations differ in what they put where:

| name | A | B | W_0 |
|---|---|---|---|
| ``lora`` | uniform in +-1/sqrt(n) | 0 | W |
| ``gaussian`` | normal, deviation 1/r | 0 | W |
| ``reversed`` | 0 | uniform in +-1/sqrt(r) | W |
| ``pissa`` | S_r^(1/2) V_r' / s^(1/2) | U_r S_r^(1/2) / s^(1/2) | W - s B A |
| ``pissa_fast`` | the same by randomised SVD | | W - s B A |
| ``olora`` | R_r of W = Q R | Q_r | W - s B A |
| ``eva`` | principal axes of the layer's inputs | 0 | W |
| ``corda`` | from the SVD of W C, C the inputs' second moment | | W - s B A |
| ``loftq``, ``loftq_5`` | from the alternation, 1 or 5 times | | nf4(...) |
| ``qlora`` | as ``lora`` | 0 | nf4(W) |
| ``qpissa`` | as ``pissa`` | as ``pissa`` | nf4(W - s B A) |

All equal peft's own modules where peft has them. With a scaling other than 1, peft does not divide LoftQ's
factors by it, and its first forward pass is not that of the approximation; here it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fans._validation import known, whole
from fans.adapters.quantisation import loftq, nf4, truncated_svd

__all__ = ["METHODS", "QUANTISED", "Adapter", "Method", "initialise"]

Method = Literal[
    "lora", "gaussian", "reversed", "pissa", "pissa_fast", "olora", "eva", "corda",
    "loftq", "loftq_5", "qlora", "qpissa",
]  # fmt: skip
METHODS: tuple[Method, ...] = get_args(Method)
QUANTISED: frozenset[str] = frozenset({"loftq", "loftq_5", "qlora", "qpissa"})
POWER_ITERATIONS = 16  # of the randomised SVD of ``pissa_fast``
DAMPING = 0.01  # of CorDA's second moment, in units of its mean diagonal


@dataclass(frozen=True)
class Adapter:
    """A layer as W_0 + s B A.

    Attributes:
        base: W_0, (m, n).
        A: (r, n).
        B: (m, r).
        scaling: s.
    """

    base: Tensor
    A: Tensor
    B: Tensor
    scaling: float = 1.0

    @property
    def update(self) -> Tensor:
        """s B A, (m, n)."""
        return self.scaling * self.B @ self.A

    @property
    def weight(self) -> Tensor:
        """What the layer computes with, W_0 + s B A, (m, n)."""
        return self.base + self.update

    @property
    def trainable(self) -> int:
        """How many numbers are trained, r (m + n)."""
        return self.A.numel() + self.B.numel()


@dataclass(frozen=True)
class _Given:
    """What an initialisation may look at."""

    W: Tensor
    rank: int
    scaling: float
    generator: torch.Generator | None
    inputs: Tensor | None


def initialise(
    W: Tensor,
    method: Method,
    *,
    rank: int,
    alpha: float | None = None,
    generator: torch.Generator | None = None,
    inputs: Tensor | None = None,
) -> Adapter:
    """Base and factors of an adapted layer before the first step.

    Args:
        W: the layer's weight, (m, n), float32.
        method: one of ``METHODS``; see the module.
        rank: r.
        alpha: s = alpha / r; default r, so that s = 1.
        generator: of the random ones.
        inputs: (N, n) inputs of the layer, for ``eva`` and ``corda``.

    Raises:
        ValueError: no such method, a rank that the matrix does not have, or no inputs of its width.

    >>> W = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    >>> adapter = initialise(W, "pissa", rank=2)
    >>> bool(torch.allclose(adapter.weight, W, atol=1e-6)), adapter.trainable
    (True, 20)
    """
    known("method", method, METHODS)
    _check(W, method, rank, inputs)
    scaling = (rank if alpha is None else alpha) / rank
    return _BY_NAME[method](_Given(W.detach(), rank, scaling, generator, inputs))


def _check(W: Tensor, method: Method, rank: int, inputs: Tensor | None) -> None:
    if W.ndim != 2:
        raise ValueError(f"W has shape {tuple(W.shape)}: give a matrix (m, n)")
    if whole("rank", rank, low=1) > min(W.shape):
        raise ValueError(f"rank must be at most {min(W.shape)} for a matrix {tuple(W.shape)}, got {rank}")
    if method in ("eva", "corda") and inputs is None:
        raise ValueError(f"{method} needs inputs of the layer: give inputs=, (N, {W.shape[1]})")
    if inputs is not None and (inputs.ndim != 2 or inputs.shape[1] != W.shape[1]):
        raise ValueError(f"inputs have shape {tuple(inputs.shape)}: give (N, {W.shape[1]})")


def _zeros(x: _Given) -> tuple[Tensor, Tensor]:
    m, n = x.W.shape
    return x.W.new_zeros(x.rank, n), x.W.new_zeros(m, x.rank)


def _lora(x: _Given) -> Adapter:
    A, B = _zeros(x)
    torch.nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=x.generator)
    return Adapter(x.W, A, B, x.scaling)


def _gaussian(x: _Given) -> Adapter:
    A, B = _zeros(x)
    return Adapter(x.W, A.normal_(std=1 / x.rank, generator=x.generator), B, x.scaling)


def _reversed(x: _Given) -> Adapter:
    A, B = _zeros(x)
    torch.nn.init.kaiming_uniform_(B, a=math.sqrt(5), generator=x.generator)
    return Adapter(x.W, A, B, x.scaling)


def _without(x: _Given, A: Tensor, B: Tensor) -> Adapter:
    """Factors of which B A is a part of W: both are divided by s^(1/2), and the part leaves the base."""
    A, B = A / math.sqrt(x.scaling), B / math.sqrt(x.scaling)
    return Adapter(x.W - x.scaling * B @ A, A, B, x.scaling)


def _pissa(x: _Given) -> Adapter:
    return _without(x, *truncated_svd(x.W, x.rank))


def _pissa_fast(x: _Given) -> Adapter:
    # The only one whose library function draws from torch's own stream.
    with torch.random.fork_rng(devices=[]):
        if x.generator is not None:
            torch.random.set_rng_state(x.generator.get_state())
        U, S, V = torch.svd_lowrank(x.W, x.rank, niter=POWER_ITERATIONS)
    return _without(x, S.sqrt()[:, None] * V.T, U * S.sqrt())


def _olora(x: _Given) -> Adapter:
    Q, R = torch.linalg.qr(x.W)
    A, B = R[: x.rank].contiguous(), Q[:, : x.rank].contiguous()
    return Adapter(x.W - x.scaling * B @ A, A, B, x.scaling)


def _eva(x: _Given) -> Adapter:
    assert x.inputs is not None
    axes = torch.linalg.svd(x.inputs - x.inputs.mean(0), full_matrices=False).Vh
    return Adapter(x.W, axes[: x.rank].to(x.W.dtype), _zeros(x)[1], x.scaling)


def _corda(x: _Given) -> Adapter:
    assert x.inputs is not None
    X = x.inputs / x.inputs.max().abs()
    C = X.T @ X
    C = C + DAMPING * C.diagonal().mean() * torch.eye(len(C))
    U, S, Vh = torch.linalg.svd(x.W @ C, full_matrices=False)
    root, V = S[: x.rank].sqrt(), Vh[: x.rank] @ torch.linalg.inv(C)
    return _without(x, root[:, None] * V, U[:, : x.rank] * root)


def _loftq(iterations: int) -> Callable[[_Given], Adapter]:
    def made(x: _Given) -> Adapter:
        Q, A, B = loftq(x.W, x.rank, iterations=iterations)
        return Adapter(Q, A / math.sqrt(x.scaling), B / math.sqrt(x.scaling), x.scaling)

    return made


def _quantised(of: Callable[[_Given], Adapter]) -> Callable[[_Given], Adapter]:
    def made(x: _Given) -> Adapter:
        plain = of(x)
        return Adapter(nf4(plain.base), plain.A, plain.B, plain.scaling)

    return made


_BY_NAME: dict[str, Callable[[_Given], Adapter]] = {
    "lora": _lora,
    "gaussian": _gaussian,
    "reversed": _reversed,
    "pissa": _pissa,
    "pissa_fast": _pissa_fast,
    "olora": _olora,
    "eva": _eva,
    "corda": _corda,
    "loftq": _loftq(1),
    "loftq_5": _loftq(5),
    "qlora": _quantised(_lora),
    "qpissa": _quantised(_pissa),
}
