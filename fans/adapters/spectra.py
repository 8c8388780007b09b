"""What an initialisation does to the spectrum of a matrix, to the first gradient and to the first step.

With the gradient G = dL/dW (m, n) of the layer's whole weight, the chain rule gives for W = W_0 + s B A

    dL/dA = s B' G,    dL/dB = s G A',

and one step of gradient descent of rate eta changes the weight, to first order in eta, by

    dW = -eta s^2 (B B' G + G A' A).

The loss falls by eta times ||dL/dA||^2 + ||dL/dB||^2, where full fine-tuning has eta ||G||^2. In the singular
basis U, V of W an error along u_i v_j' is therefore corrected at the rate
s^2 (u_i' B B' u_i + v_j' A' A v_j), which is one for full fine-tuning: a transfer function over singular
directions, as a filter has over frequencies.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fans.adapters.initialisation import Adapter
from fans.adapters.quantisation import quantisation_error

__all__ = ["FirstGradient", "Spectra", "first_gradient", "first_step", "rates", "spectra"]


class Spectra(NamedTuple):
    """Singular values of an adapted layer's parts, and what they add up to.

    Attributes:
        weight: of W, descending, (min(m, n),).
        base: of the frozen W_0.
        update: of s B A.
        captured: energy of s B A, as a share of that of W.
        residual: energy of W_0, as a share of that of W.
        error: ||W - W_0 - s B A|| / ||W||; not zero where the base is quantised.
    """

    weight: Tensor
    base: Tensor
    update: Tensor
    captured: float
    residual: float
    error: float


def spectra(W: Tensor, adapter: Adapter) -> Spectra:
    """Singular spectra of the weight W (m, n) and of what an initialisation has made of it.

    >>> from fans.adapters import initialise
    >>> W = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    >>> found = spectra(W, initialise(W, "pissa", rank=1))
    >>> round(found.captured, 3), found.base.tolist()
    (0.643, [2.0, 1.0, 0.0])
    """
    whole = W.square().sum()
    return Spectra(
        torch.linalg.svdvals(W),
        torch.linalg.svdvals(adapter.base),
        torch.linalg.svdvals(adapter.update),
        float(adapter.update.square().sum() / whole),
        float(adapter.base.square().sum() / whole),
        quantisation_error(W, adapter.weight),
    )


class FirstGradient(NamedTuple):
    """The first gradient, as it reaches the factors.

    Attributes:
        A: dL/dA, (r, n).
        B: dL/dB, (m, r).
        norm_A: ||dL/dA|| = s ||B' G||.
        norm_B: ||dL/dB|| = s ||G A'||.
        rate: (norm_A^2 + norm_B^2) / ||G||^2, how much faster the loss falls at first than under full
            fine-tuning at the same rate of learning.
    """

    A: Tensor
    B: Tensor
    norm_A: float
    norm_B: float
    rate: float

    @property
    def norm(self) -> float:
        """Norm of both together, which a training log shows."""
        return float((self.norm_A**2 + self.norm_B**2) ** 0.5)


def first_gradient(adapter: Adapter, G: Tensor) -> FirstGradient:
    """Gradients of the factors from the gradient G (m, n) of the weight.

    >>> adapter = Adapter(torch.zeros(2, 2), torch.eye(2), torch.zeros(2, 2), scaling=2.0)
    >>> found = first_gradient(adapter, torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> found.norm_A, found.norm_B, found.rate
    (0.0, 10.0, 4.0)
    """
    dA = adapter.scaling * adapter.B.T @ G
    dB = adapter.scaling * G @ adapter.A.T
    norm_A, norm_B = float(dA.norm()), float(dB.norm())
    return FirstGradient(dA, dB, norm_A, norm_B, (norm_A**2 + norm_B**2) / float(G.norm()) ** 2)


def first_step(adapter: Adapter, G: Tensor, *, rate: float, signs: bool = False) -> Tensor:
    """Change of the weight (m, n) in the first step, with the product of both changes included.

    Args:
        adapter: before the step.
        G: gradient of the weight.
        rate: of learning, eta.
        signs: the step of Adam, which is eta times the sign of every gradient at first (with bias correction
            and a negligible epsilon), instead of gradient descent's.

    >>> adapter = Adapter(torch.zeros(2, 2), torch.eye(2), torch.zeros(2, 2))
    >>> first_step(adapter, torch.ones(2, 2), rate=0.1)
    tensor([[-0.1000, -0.1000],
            [-0.1000, -0.1000]])
    """
    found = first_gradient(adapter, G)
    dA, dB = (g.sign() if signs else g for g in (found.A, found.B))
    A, B = adapter.A - rate * dA, adapter.B - rate * dB
    return adapter.scaling * (B @ A - adapter.B @ adapter.A)


def rates(adapter: Adapter, W: Tensor) -> tuple[Tensor, Tensor]:
    """Rates of the output and the input side in the singular basis of W, both (min(m, n),).

    The i-th entries are s^2 u_i' B B' u_i and s^2 v_i' A' A v_i; an error along u_i v_j' falls at the sum of
    the i-th of the first and the j-th of the second.

    >>> from fans.adapters import initialise
    >>> W = torch.diag(torch.tensor([4.0, 1.0]))
    >>> [side.tolist() for side in rates(initialise(W, "pissa", rank=1), W)]
    [[4.0, 0.0], [4.0, 0.0]]
    """
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)
    s2 = adapter.scaling**2
    return s2 * (U.T @ adapter.B).square().sum(1), s2 * (Vh @ adapter.A.T).square().sum(1)
