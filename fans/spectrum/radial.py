"""Power of every coefficient, and its mean over rings of equal radial frequency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from numpy.typing import NDArray
from scipy import fft

from fans._validation import known
from fans.spectrum.arrays import (
    Array,
    Corners,
    Size,
    checked_images,
    finite,
    matching,
    multiplicity,
    radial_frequency,
)

Window = Literal["hann"]
Norm = Literal["ortho", "forward", "backward"]
Reduction = Literal["mean", "sum"]
_CHUNK = 2**19  # pixels transformed at once on a CPU: the spectrum then stays in its cache


@dataclass(frozen=True)
class RadialSpectrum:
    """Power against radial frequency, with all that is needed to read it.

    Attributes:
        frequency: mean radial frequency of each ring, cycles per pixel, ``(K,)``.
        power: mean (or sum) of ``|x_hat|^2`` over each ring, ``(..., K)``.
        count: number of coefficients of the full plane in each ring, ``(K,)``.
        size: ``(H, W)`` of the images.
        window: taper applied before the transform, or None.
        reduction: whether ``power`` is the ring's mean or its sum.
        corners: whether frequencies beyond 0.5 were kept.
        norm: normalisation of the DFT, always ``"ortho"``.
    """

    frequency: Array
    power: Array
    count: Array
    size: Size
    window: Window | None = None
    reduction: Reduction = "mean"
    corners: Corners = "keep"
    norm: Norm = "ortho"

    def mean(self) -> RadialSpectrum:
        """Average over all images and channels: power becomes ``(K,)``."""
        xp = array_namespace(self.power)
        return replace(self, power=xp.mean(xp.reshape(self.power, (-1, self.power.shape[-1])), axis=0))

    @property
    def energy(self) -> Array:
        """Energy of each image in the rings, ``(...)``: its sum of squares if nothing was cut."""
        xp = array_namespace(self.power)
        return xp.sum(self.power * (self.count if self.reduction == "mean" else 1), axis=-1)

    @property
    def radius(self) -> Array:
        """Frequency over that of the corner, r in [0, 1], as the GAN literature has it.

        Raises:
            ValueError: if the images are not square, where this r is not isotropic.
        """
        if self.size[0] != self.size[1]:
            raise ValueError(f"the normalised radius needs square images, got {self.size}: use .frequency")
        return self.frequency * 2**0.5


def power_spectrum(x: Array, *, window: Window | None = None, norm: Norm = "ortho") -> Array:
    r"""Power :math:`|\hat x(k, l)|^2` of every coefficient.

    With a window w the mean that w sees is removed first and the power is divided by
    :math:`\overline{w^2}`: no energy is left at frequency zero, and white noise keeps its power.

    Args:
        x: real images, ``(..., H, W)``.
        window: None, or ``"hann"`` against leakage from the edges of the image.
        norm: ``"ortho"`` keeps energy; ``"forward"`` divides the DFT by HW, ``"backward"`` by nothing.

    Returns:
        Power of the full plane in the order of ``numpy.fft.fftfreq``, ``(..., H, W)``.

    Raises:
        TypeError: if x is neither a real NumPy array nor a real torch tensor.
        ValueError: if x is empty, has fewer than two axes or values that are not finite.

    >>> float(power_spectrum(np.ones((4, 4)))[0, 0])
    16.0
    """
    x, xp = checked_images(x)
    known("norm", norm, ("ortho", "forward", "backward"))
    return finite(squared(xp.fft.fftn(tapered(x, window), axes=(-2, -1), norm=norm), xp))


def radial_spectrum(
    x: Array,
    *,
    window: Window | None = None,
    reduction: Reduction = "mean",
    corners: Corners = "keep",
) -> RadialSpectrum:
    r"""Power averaged over rings of the frequency plane.

    Ring r holds the coefficients with :math:`\operatorname{round}(n f) = r`, where n is the shorter
    side and f the radial frequency: rings are centred on zero, one fundamental wide, and for square
    images ring r holds the plane waves of r cycles per image. With the corners kept, every
    coefficient is counted once, so that ``sum(power * count)`` is the image's energy.

    Args:
        x: real images, ``(..., H, W)``.
        window: as in `power_spectrum`.
        reduction: ``"mean"`` or ``"sum"`` over each ring.
        corners: ``"cut"`` drops the rings centred beyond 0.5, which exist along diagonals only.

    Returns:
        A `RadialSpectrum` with power ``(..., K)``, of the kind and precision of x.

    Raises:
        TypeError, ValueError: as in `power_spectrum`.

    >>> radial_spectrum(np.eye(8)).power.shape
    (7,)
    """
    x, xp = checked_images(x)
    known("reduction", reduction, ("mean", "sum"))
    known("corners", corners, ("keep", "cut"))
    height, width = x.shape[-2:]
    rings = _rings((height, width))
    kept = slice(None if corners == "keep" else min(height, width) // 2 + 1)
    frequency, count = rings.frequency[kept], rings.count[kept]
    cells = count if reduction == "mean" else np.ones_like(count)
    scale = xp.astype(matching(1 / (cells * height * width), x, xp), x.dtype)
    flat, ring_sums = xp.reshape(x, (-1, height, width)), _summation(x, rings, xp)
    sums = xp.concat([ring_sums(tapered(part, window)) for part in _chunks(flat)])
    power = xp.reshape(sums[:, kept] * scale, (*x.shape[:-2], len(count)))
    return RadialSpectrum(
        frequency=xp.astype(matching(frequency, x, xp), x.dtype),
        power=finite(power),
        count=matching(count, x, xp),
        size=(height, width),
        window=window,
        reduction=reduction,
        corners=corners,
    )


@dataclass(frozen=True)
class _Rings:
    """Rings as lists of cells: cell (k, l), k <= H/2, holds the power of rows k and -k, column l."""

    frequency: NDArray[np.float64]  # (K,)
    count: NDArray[np.int64]  # (K,)
    mirror: NDArray[np.int64]  # row of -k, (H//2 + 1,)
    index: NDArray[np.int64]  # ring of each cell, flat
    weight: NDArray[np.float64]  # weight of each cell, flat


@lru_cache(maxsize=32)
def _rings(size: Size) -> _Rings:
    rows = np.arange(size[0] // 2 + 1)
    mirror = -rows % size[0]
    f = radial_frequency(size)[rows].ravel()
    index = np.rint(f * min(size)).astype(int)
    weight = (multiplicity(size)[rows] / np.where(mirror == rows, 2, 1)[:, None]).ravel()
    count = np.bincount(index, 2 * weight).astype(int)
    frequency = np.bincount(index, 2 * weight * f).astype(float) / count
    return _Rings(frequency, count, mirror, index, weight)


def _summation(x: Array, rings: _Rings, xp: Any) -> Callable[[Array], Array]:
    """What adds |rfft2|^2 over the rings of the full plane, (N, H, W) -> (N, K), for arrays like x."""
    rows, count = len(rings.mirror), len(rings.count)

    def of_arrays(x: NDArray[Any]) -> NDArray[Any]:
        power = squared(fft.rfft2(x), xp)
        cells = np.reshape(power[:, :rows] + power[:, rings.mirror], (len(x), -1)) * rings.weight
        return np.stack([np.bincount(rings.index, image, count) for image in cells]).astype(x.dtype)

    if not is_torch_array(x):
        return of_arrays
    mirror, index = matching(rings.mirror, x, xp), matching(rings.index, x, xp)
    weight = xp.astype(matching(rings.weight.repeat(2), x, xp), x.dtype)

    def of_tensors(x: Array) -> Array:
        # Few passes, in place; squares of real and imaginary parts are added in the end, for the rings alone.
        spectrum = xp.fft.rfft2(x)
        ahead = xp.view_as_real(spectrum)[:, :rows]
        back = xp.view_as_real(spectrum.index_select(1, mirror))
        squares = xp.reshape(back.square_().addcmul_(ahead, ahead), (x.shape[0], -1)).mul_(weight)
        cells = xp.view_as_complex(xp.reshape(squares, (x.shape[0], -1, 2)))
        sums = spectrum.new_zeros((x.shape[0], count)).index_add_(1, index, cells)
        return sums.real + sums.imag

    return of_tensors


def squared(spectrum: Array, xp: Any) -> Array:
    """|spectrum|^2, overwriting the spectrum in torch, where strided real and imaginary parts are slow."""
    if not is_torch_array(spectrum):
        return spectrum.real**2 + spectrum.imag**2
    squares = xp.view_as_real(spectrum).square_()
    return squares[..., 0] + squares[..., 1]


def _chunks(x: Array) -> Iterator[Array]:
    on_cpu = not is_torch_array(x) or x.device.type == "cpu"
    step = max(1, _CHUNK // (x.shape[-2] * x.shape[-1])) if on_cpu else x.shape[0]
    return (x[i : i + step] for i in range(0, x.shape[0], step))


def tapered(x: Array, window: Window | None) -> Array:
    if window is None:
        return x
    known("window", window, ("hann",))
    xp = array_namespace(x)
    height, width = x.shape[-2:]
    if min(height, width) < 3:
        raise ValueError(
            f"a window needs three pixels along each axis, got {(height, width)}: use window=None"
        )
    w = matching(np.outer(_hann(height), _hann(width)), x, xp)
    w = xp.astype(w / xp.mean(w**2) ** 0.5, x.dtype)
    x = x - x[..., :1, :1]  # so that rounding leaves nothing of a constant image
    seen = xp.sum(x * w, axis=(-2, -1), keepdims=True) / xp.sum(w)
    return (x - seen) * w


def _hann(n: int) -> NDArray[np.float64]:
    return np.sin(np.pi * np.arange(n) / n) ** 2
