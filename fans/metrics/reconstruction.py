"""How well images are recovered, frequency by frequency, where it is known which image each should be."""

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from fans.spectrum import Bands, multiplicity, power_spectrum


class Recovery(NamedTuple):
    """Errors of images against those they should be.

    Attributes:
        mse: mean square error of pixels.
        error: relative error of each band, dB, (B,).
        power: signed error of the power of each band, dB, (B,).
        peak: see `nyquist_excess`, dB.
    """

    mse: float
    error: list[float]
    power: list[float]
    peak: float


def recovery(x: Tensor, y: Tensor, bands: Bands) -> Recovery:
    r"""Errors of images x against their targets y.

    .. math:: E_b = 10 \log_{10} \frac{\sum_{f \in b} |\hat x - \hat y|^2}{\sum_{f \in b} |\hat y|^2}, \qquad
        P_b = 10 \log_{10} \frac{\sum_{f \in b} |\hat x|^2}{\sum_{f \in b} |\hat y|^2},

    sums over images, channels and the coefficients of a band, zero frequency included. E_b = 0 dB is what
    a black band scores; a band of right power and wrong phase scores 3 dB, with P_b = 0.

    Args:
        x, y: pairs of images, (N, C, H, W).
        bands: of ``fans.spectrum.bands``.

    Raises:
        ValueError: other shapes.

    >>> from fans.spectrum import bands
    >>> y = torch.rand(4, 1, 8, 8)
    >>> found = recovery(y / 2, y, bands((8, 8), 2))
    >>> [round(e, 2) for e in found.error], [round(p, 2) for p in found.power]
    ([-6.02, -6.02], [-6.02, -6.02])
    """
    if x.shape != y.shape or tuple(y.shape[-2:]) != tuple(bands.size):
        raise ValueError(
            f"images {tuple(x.shape)} and {tuple(y.shape)} with bands for {bands.size}: must be pairs of that"
            " size"
        )
    x, y = (images.detach().cpu().double() for images in (x, y))
    wrong, there, should = (_per_band(images, bands) for images in (x - y, x, y))
    return Recovery(
        mse=float((x - y).square().mean()),
        error=_decibel(wrong, should).tolist(),
        power=_decibel(there, should).tolist(),
        peak=nyquist_excess(x, y),
    )


def nyquist_excess(x: Tensor, y: Tensor) -> float:
    r"""How much higher power stands at the Nyquist frequencies than around them, beyond what it does in y.

    .. math:: 10 \log_{10} \frac{\sum_{f \in Q} P_x(f)}{\sum_{f \in Q} \overline{P_x}(f)}
        - (\text{the same of } y), \qquad Q = \{(\tfrac12, 0), (0, \tfrac12), (\tfrac12, \tfrac12)\}

    with P the mean power of all images and :math:`\overline P` its mean over the eight coefficients around.
    Q is where upsampling by zeros repeats the zero frequency, and where the lines and the checkerboard of
    single pixels have their power.

    Args:
        x, y: images (N, C, H, W) and (M, C, H, W) of even sides.

    Returns:
        dB.

    >>> noise = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> nyquist_excess(noise + torch.tensor([1.0, -1.0]).repeat(4), noise) > 6
    True
    """
    return _peak(x) - _peak(y)


def _peak(x: Tensor) -> float:
    power = power_spectrum(x.detach().cpu().double()).mean((0, 1))
    beside = sum(power.roll(by, (0, 1)) for by in product((-1, 0, 1), repeat=2) if any(by)) / 8
    height, width = power.shape
    rows, columns = [height // 2, 0, height // 2], [0, width // 2, width // 2]
    return 10 * float((power[rows, columns].sum() / beside[rows, columns].sum()).log10())


def _per_band(x: Tensor, bands: Bands) -> Tensor:
    """Energy in each band, (B,)."""
    index, twice = (torch.from_numpy(table.copy()) for table in (bands.index, multiplicity(bands.size)))
    power = power_spectrum(x).sum((0, 1))[:, : index.shape[1]] * twice
    inside = index >= 0
    energy: Tensor = power.new_zeros(len(bands.count)).index_add_(0, index[inside], power[inside])
    return energy


def _decibel(p: Tensor, q: Tensor) -> Tensor:
    return 10 * torch.log10(p / q)
