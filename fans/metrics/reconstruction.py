"""How well images are recovered, frequency by frequency, where it is known which image each should be."""

from itertools import product
from typing import NamedTuple

from torch import Tensor

from fans.spectrum import Bands, band_sum, decibel, power_spectrum


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


def recovery(generated: Tensor, real: Tensor, bands: Bands) -> Recovery:
    r"""Errors of generated images x against the real ones y that they should be.

    .. math:: E_b = 10 \log_{10} \frac{\sum_{f \in b} |\hat x - \hat y|^2}{\sum_{f \in b} |\hat y|^2}, \qquad
        P_b = 10 \log_{10} \frac{\sum_{f \in b} |\hat x|^2}{\sum_{f \in b} |\hat y|^2},

    sums over images, channels and the coefficients of a band, zero frequency included. E_b = 0 dB is what
    a black band scores; a band of right power and wrong phase scores 3 dB, with P_b = 0.

    Args:
        generated, real: pairs of images, (N, C, H, W).
        bands: of ``fans.spectrum.radial_bands``.

    Raises:
        ValueError: other shapes.

    >>> import torch
    >>> from fans.spectrum import radial_bands
    >>> y = torch.rand(4, 1, 8, 8)
    >>> found = recovery(y / 2, y, radial_bands((8, 8), 2))
    >>> [round(e, 2) for e in found.error], [round(p, 2) for p in found.power]
    ([-6.02, -6.02], [-6.02, -6.02])
    """
    if generated.shape != real.shape or tuple(real.shape[-2:]) != tuple(bands.size):
        shapes = f"images {tuple(generated.shape)} and {tuple(real.shape)}"
        raise ValueError(f"{shapes} with bands for {bands.size}: must be pairs of that size")
    x, y = (images.detach().cpu().double() for images in (generated, real))
    wrong, there, should = (
        band_sum(power_spectrum(images).sum((0, 1))[:, : bands.index.shape[1]], bands)
        for images in (x - y, x, y)
    )
    return Recovery(
        mse=float((x - y).square().mean()),
        error=decibel(wrong, should).tolist(),
        power=decibel(there, should).tolist(),
        peak=nyquist_excess(x, y),
    )


def nyquist_excess(generated: Tensor, real: Tensor) -> float:
    r"""How much higher power stands at the Nyquist frequencies than around them, beyond that of real images.

    .. math:: 10 \log_{10} \frac{\sum_{f \in Q} P(f)}{\sum_{f \in Q} \overline{P}(f)}
        - (\text{the same of real images}), \qquad Q = \{(\tfrac12, 0), (0, \tfrac12), (\tfrac12, \tfrac12)\}

    with P the mean power of all images and :math:`\overline P` its mean over the eight coefficients around.
    Q is where upsampling by zeros repeats the zero frequency, and where the lines and the checkerboard of
    single pixels have their power.

    Args:
        generated, real: images (N, C, H, W) and (M, C, H, W) of even sides.

    Returns:
        dB.

    >>> import torch
    >>> noise = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> nyquist_excess(noise + torch.tensor([1.0, -1.0]).repeat(4), noise) > 6
    True
    """
    return _peak(generated) - _peak(real)


def _peak(x: Tensor) -> float:
    power = power_spectrum(x.detach().cpu().double()).mean((0, 1))
    beside = sum(power.roll(by, (0, 1)) for by in product((-1, 0, 1), repeat=2) if any(by)) / 8
    height, width = power.shape
    rows, columns = [height // 2, 0, height // 2], [0, width // 2, width // 2]
    return float(decibel(power[rows, columns].sum(), beside[rows, columns].sum()))
