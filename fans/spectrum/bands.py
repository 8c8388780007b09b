"""Bands of the frequency plane: the share of power in each, and pictures without some of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from fans._validation import known
from fans.spectrum.arrays import (
    NYQUIST,
    Array,
    Corners,
    Size,
    checked_images,
    finite,
    matching,
    multiplicity,
    radial_frequency,
)
from fans.spectrum.radial import squared


@dataclass(frozen=True)
class Bands:
    """A partition of the frequency plane into rings of equal width.

    Attributes:
        edges: band edges in cycles per pixel, ``(B + 1,)``.
        index: band of each coefficient of the rFFT plane, ``(H, W//2 + 1)``; -1 is outside.
        count: number of coefficients of the full plane in each band, ``(B,)``.
        size: ``(H, W)`` of the images.
    """

    edges: NDArray[np.float64]
    index: NDArray[np.int64]
    count: NDArray[np.int64]
    size: Size

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Centres of the bands, cycles per pixel, ``(B,)``."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])


def radial_bands(size: Size, count: int, *, corners: Corners = "keep") -> Bands:
    """Divide the frequency plane into ``count`` rings of equal width.

    The bands reach from zero, DC included, to the corner (``corners="keep"``) or to 0.5 ("cut").

    Raises:
        ValueError: if a band would hold no coefficient.

    >>> radial_bands((8, 8), 2).count.tolist()
    [21, 43]
    """
    known("corners", corners, ("keep", "cut"))
    f = radial_frequency(size)
    top = NYQUIST if corners == "cut" else float(f.max())
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    edges = np.linspace(0.0, top, count + 1)
    index = np.clip(np.searchsorted(edges, f, side="right") - 1, 0, count - 1)
    index[f > top] = -1
    inside = index >= 0
    held = np.bincount(index[inside], weights=multiplicity(size)[inside], minlength=count).astype(int)
    if not held.all():
        raise ValueError(f"{count} bands are too many for size {size}: some hold no frequency; ask for fewer")
    return Bands(edges=edges, index=index, count=held, size=size)


def membership(bands: Bands, *, zero: bool = True) -> NDArray[np.float64]:
    """How many coefficients of the full plane each one of the rFFT plane stands for in each band.

    Args:
        bands: a partition.
        zero: whether zero frequency counts.

    Returns:
        2 or 1 inside, 0 outside a band, ``(B, H, W//2 + 1)``.

    >>> membership(radial_bands((8, 8), 2)).sum((1, 2)).tolist()
    [21.0, 43.0]
    """
    inside = bands.index == np.arange(len(bands.count))[:, None, None]
    weight: NDArray[np.float64] = inside * multiplicity(bands.size).astype(np.float64)
    weight[:, 0, 0] *= zero
    return weight


def band_sum(power: Array, bands: Bands, *, zero: bool = True) -> Array:
    r"""Power added up in each band, :math:`\sum_{w \in b} P(w)` over the full plane.

    Args:
        power: of the rFFT plane, ``(..., H, W//2 + 1)``.
        bands: a partition of it.
        zero: whether zero frequency counts.

    Returns:
        ``(..., B)``, of the kind and precision of ``power``.

    Raises:
        ValueError: if the power is not that of the rFFT plane of the bands.

    >>> band_sum(np.ones((8, 5)), radial_bands((8, 8), 2)).tolist()
    [21.0, 43.0]
    """
    if tuple(power.shape[-2:]) != bands.index.shape:
        raise ValueError(
            f"power of shape {tuple(power.shape)} with bands for {bands.size}: must end in the rFFT plane"
            f" {bands.index.shape}"
        )
    xp = array_namespace(power)
    member = membership(bands, zero=zero).reshape(len(bands.count), -1)
    weights = xp.asarray(member, dtype=power.dtype, device=device(power))
    return xp.reshape(power, (*power.shape[:-2], -1)) @ weights.T


def band_power(x: Array, bands: Bands) -> Array:
    r"""Share of the power in each band, averaged over the images of a data set.

    .. math:: \pi_b = \frac1N \sum_{i=1}^N \frac{\sum_{w \in b} P_i(w)}{\sum_w P_i(w)}

    Each image's mean is removed; the power of its channels is added.

    Args:
        x: real images, ``(H, W)``, ``(C, H, W)`` or ``(N, C, H, W)``.
        bands: a partition for the same size.

    Returns:
        The profile pi, ``(B,)``, which sums to one.

    Raises:
        ValueError: if the sizes differ, or an image is constant and so has no power to share.
    """
    x, xp = checked_images(x)
    if tuple(x.shape[-2:]) != tuple(bands.size):
        raise ValueError(
            f"images of size {tuple(x.shape[-2:])} with bands for {bands.size}: make bands for them"
        )
    centred = x - xp.mean(x, axis=(-2, -1), keepdims=True)
    spectrum = xp.fft.rfftn(centred, axes=(-2, -1), norm="ortho")
    per_band = band_sum(squared(spectrum, xp), bands)
    per_image = xp.sum(per_band, axis=-2) if x.ndim > 2 else per_band
    total = finite(xp.sum(per_image, axis=-1, keepdims=True))
    # Rounding leaves a constant image a little power: compare with what its mean would carry.
    if bool(xp.any(total <= (10 * xp.finfo(x.dtype).eps) ** 2 * xp.max(x**2) * x.shape[-1] * x.shape[-2])):
        raise ValueError("a constant image has no power to divide into bands: remove it from the data set")
    return xp.mean(xp.reshape(per_image / total, (-1, len(bands.count))), axis=0)


def band_pass(x: Array, low: float, high: float) -> Array:
    """Keep the frequencies ``low <= f < high`` (cycles per pixel) of images ``(..., H, W)``.

    >>> bool(np.allclose(band_pass(np.eye(8), 0, 1), np.eye(8)))
    True
    """
    x, xp = checked_images(x)
    if not 0 <= low < high:
        raise ValueError(f"a band needs 0 <= low < high in cycles per pixel, got low={low}, high={high}")
    f = radial_frequency(tuple(x.shape[-2:]))
    mask = xp.astype(matching((f >= low) & (f < high), x, xp), x.dtype)
    spectrum = xp.fft.rfftn(x, axes=(-2, -1)) * mask
    return finite(xp.fft.irfftn(spectrum, s=tuple(x.shape[-2:]), axes=(-2, -1)))
