r"""Spectra of images: the DFT, radial spectra, bands, power laws and aliasing.

One convention throughout. Frequencies are in cycles per pixel; the DFT is orthonormal, so that

.. math:: \hat x(k, l) = \frac{1}{\sqrt{HW}} \sum_{m,n} x(m, n)\, e^{-2\pi i (km/H + ln/W)}

keeps energy (Parseval) and gives unit white noise the power 1 at every frequency.
Images are real arrays ``(..., H, W)``, NumPy or torch; results are of the same kind, and
differentiable in torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from numpy.typing import NDArray
from scipy import fft, special, stats

Array = Any  # numpy.ndarray or torch.Tensor: whichever came in
Size = tuple[int, int]
Window = Literal["hann"]
Norm = Literal["ortho", "forward", "backward"]
Corners = Literal["keep", "cut"]
Reduction = Literal["mean", "sum"]

NYQUIST = 0.5  # cycles per pixel along an axis; the corner of the plane lies at sqrt(0.5)
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


@dataclass(frozen=True)
class PowerLaw:
    r"""Least-squares line through ``log power`` against ``log frequency``: :math:`P(f) = A / f^\alpha`.

    Attributes:
        exponent: alpha, positive when power falls with frequency.
        stderr: standard error of alpha (independent, equal residuals assumed).
        r2: share of the variance of log power that the line explains.
        amplitude: A, the line's power at one cycle per pixel.
        points: number of rings in the fit.
    """

    exponent: float
    stderr: float
    r2: float
    amplitude: float
    points: int

    def __call__(self, frequency: Array) -> Array:
        """Power of the law at a frequency in cycles per pixel."""
        return self.amplitude * frequency**-self.exponent

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student-t interval of the exponent."""
        half = float(stats.t.ppf(0.5 + confidence / 2, self.points - 2)) * self.stderr
        return self.exponent - half, self.exponent + half


@dataclass(frozen=True)
class OrientedPowerLaw:
    r"""One power law for each orientation: :math:`P(f, \theta) = A(\theta) / f^{\alpha(\theta)}`.

    Attributes:
        theta: orientation of the frequency vector in radians, ``(S,)``, from 0 (horizontal
            frequency, vertical stripes) up to but not including pi.
        laws: the fit of each sector.
    """

    theta: NDArray[np.float64]
    laws: tuple[PowerLaw, ...]

    @property
    def exponent(self) -> NDArray[np.float64]:
        """alpha(theta), ``(S,)``."""
        return np.array([law.exponent for law in self.laws])

    @property
    def amplitude(self) -> NDArray[np.float64]:
        """A(theta), ``(S,)``."""
        return np.array([law.amplitude for law in self.laws])

    def power(self, frequency: float) -> NDArray[np.float64]:
        """Fitted power at one radial frequency for every orientation, ``(S,)``."""
        return np.array([law(frequency) for law in self.laws])


def frequencies(size: Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertical and horizontal frequency of the rFFT plane, ``(H, 1)`` and ``(1, W//2 + 1)``.

    >>> [f.shape for f in frequencies((48, 64))]
    [(48, 1), (1, 33)]
    """
    height, width = _checked_size(size)
    fy: NDArray[np.float64] = np.fft.fftfreq(height)[:, None].astype(np.float64)
    fx: NDArray[np.float64] = np.fft.rfftfreq(width)[None, :].astype(np.float64)
    return fy, fx


def radial_frequency(size: Size) -> NDArray[np.float64]:
    """Radial frequency of the rFFT plane in cycles per pixel, ``(H, W//2 + 1)``."""
    return np.hypot(*frequencies(size))


def multiplicity(size: Size) -> NDArray[np.int64]:
    """How often a coefficient of the rFFT plane occurs in the full plane (1 or 2), ``(H, W//2 + 1)``."""
    height, width = _checked_size(size)
    twice = np.full(width // 2 + 1, 2)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    return np.broadcast_to(twice, (height, width // 2 + 1))


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
    x, xp = _images(x)
    _known("norm", norm, ("ortho", "forward", "backward"))
    return _finite(_squared(xp.fft.fftn(_tapered(x, window), axes=(-2, -1), norm=norm), xp))


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
    (6,)
    """
    x, xp = _images(x)
    _known("reduction", reduction, ("mean", "sum"))
    _known("corners", corners, ("keep", "cut"))
    height, width = x.shape[-2:]
    rings = _rings((height, width))
    kept = slice(None if corners == "keep" else min(height, width) // 2 + 1)
    frequency, count = rings.frequency[kept], rings.count[kept]
    cells = count if reduction == "mean" else np.ones_like(count)
    scale = xp.astype(_like(1 / (cells * height * width), x, xp), x.dtype)
    flat = xp.reshape(x, (-1, height, width))
    sums = xp.concat([_ring_sums(_tapered(part, window), xp) for part in _chunks(flat)])
    power = xp.reshape(sums[:, kept] * scale, (*x.shape[:-2], len(count)))
    return RadialSpectrum(
        frequency=xp.astype(_like(frequency, x, xp), x.dtype),
        power=_finite(power),
        count=_like(count, x, xp),
        size=(height, width),
        window=window,
        reduction=reduction,
        corners=corners,
    )


def bands(size: Size, count: int, *, corners: Corners = "keep") -> Bands:
    """Divide the frequency plane into ``count`` rings of equal width.

    The bands reach from zero, DC included, to the corner (``corners="keep"``) or to 0.5 ("cut").

    Raises:
        ValueError: if a band would hold no coefficient.

    >>> bands((8, 8), 2).count.tolist()
    [37, 27]
    """
    _known("corners", corners, ("keep", "cut"))
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
    x, xp = _images(x)
    if tuple(x.shape[-2:]) != tuple(bands.size):
        raise ValueError(
            f"images of size {tuple(x.shape[-2:])} with bands for {bands.size}: make bands for them"
        )
    centred = x - xp.mean(x, axis=(-2, -1), keepdims=True)
    spectrum = xp.fft.rfftn(centred, axes=(-2, -1), norm="ortho")
    power = _squared(spectrum, xp)
    member = (bands.index.ravel() == np.arange(len(bands.count))[:, None]) * multiplicity(bands.size).ravel()
    weights = xp.astype(_like(member, x, xp), x.dtype)
    per_band = xp.reshape(power, (*x.shape[:-2], -1)) @ weights.T
    per_image = xp.sum(per_band, axis=-2) if x.ndim > 2 else per_band
    total = _finite(xp.sum(per_image, axis=-1, keepdims=True))
    # Rounding leaves a constant image a little power: compare with what its mean would carry.
    if bool(xp.any(total <= (10 * xp.finfo(x.dtype).eps) ** 2 * xp.max(x**2) * x.shape[-1] * x.shape[-2])):
        raise ValueError("a constant image has no power to divide into bands: remove it from the data set")
    return xp.mean(xp.reshape(per_image / total, (-1, len(bands.count))), axis=0)


def band_pass(x: Array, low: float, high: float) -> Array:
    """Keep the frequencies ``low <= f < high`` (cycles per pixel) of images ``(..., H, W)``.

    >>> bool(np.allclose(band_pass(np.eye(8), 0, 1), np.eye(8)))
    True
    """
    x, xp = _images(x)
    if not 0 <= low < high:
        raise ValueError(f"a band needs 0 <= low < high in cycles per pixel, got low={low}, high={high}")
    f = radial_frequency(tuple(x.shape[-2:]))
    mask = xp.astype(_like((f >= low) & (f < high), x, xp), x.dtype)
    spectrum = xp.fft.rfftn(x, axes=(-2, -1)) * mask
    return _finite(xp.fft.irfftn(spectrum, s=tuple(x.shape[-2:]), axes=(-2, -1)))


def fit_power_law(radial: RadialSpectrum, fmin: float | None = None, fmax: float = 0.4) -> PowerLaw:
    r"""Fit :math:`P(f) = A / f^\alpha` by least squares in log-log coordinates.

    Args:
        radial: a spectrum with one curve, power ``(K,)``; average first with ``.mean()``.
        fmin: lowest frequency used; three cycles per image unless given, out of reach of the power
            that a Hann window smears from lower ones.
        fmax: highest frequency used, cycles per pixel.

    Raises:
        ValueError: if there are several curves, fewer than three rings in range, or a power that
            is zero or not finite.

    >>> f = np.array([0.1, 0.2, 0.4])
    >>> law = fit_power_law(RadialSpectrum(f, f**-2.0, np.ones(3), (32, 32)))
    >>> round(law.exponent, 6), round(law.r2, 6)
    (2.0, 1.0)
    """
    power = _numpy(radial.power)
    if power.ndim != 1:
        raise ValueError(
            f"one curve is fitted at a time, got power of shape {power.shape}: call .mean() first"
        )
    return _line(_numpy(radial.frequency), power, 3 / min(radial.size) if fmin is None else fmin, fmax)


def fit_oriented_power_law(
    x: Array,
    *,
    sectors: int = 12,
    window: Window | None = "hann",
    fmin: float | None = None,
    fmax: float = 0.4,
) -> OrientedPowerLaw:
    r"""Fit one power law to each orientation, :math:`A(\theta) / f^{\alpha(\theta)}`.

    The mean power of all images is averaged over the coefficients of each ring that lie in the
    sector of width :math:`\pi / S` around theta; opposite frequencies are one orientation.

    Args:
        x: real images, ``(..., H, W)``; every leading axis is averaged.
        sectors: number S of orientations; a multiple of 4 puts sectors on the axes and diagonals.
        window, fmin, fmax: as in `power_spectrum` and `fit_power_law`.

    Raises:
        ValueError: as in `fit_power_law`; a sector with fewer than three rings says so.
    """
    x, _ = _images(x)
    height, width = (int(n) for n in x.shape[-2:])
    power = _numpy(power_spectrum(x, window=window)).reshape(-1, height, width).mean(0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    sector = np.rint(np.arctan2(fy, fx) / (np.pi / sectors)).astype(int) % sectors
    ring = np.rint(np.hypot(fy, fx) * min(height, width)).astype(int)
    low = 3 / min(height, width) if fmin is None else fmin
    laws = []
    for s in range(sectors):
        held = np.bincount(ring[sector == s])
        used = held > 0
        mean_f = np.bincount(ring[sector == s], np.hypot(fy, fx)[sector == s])[used] / held[used]
        mean_p = np.bincount(ring[sector == s], power[sector == s])[used] / held[used]
        laws.append(_line(mean_f, mean_p, low, fmax))
    return OrientedPowerLaw(theta=np.arange(sectors) * np.pi / sectors, laws=tuple(laws))


def alias(frequency: Array, *, rate: float = 1.0) -> Array:
    """Frequency that samples taken at ``rate`` show: folded into [-rate/2, rate/2).

    >>> alias(0.9), alias(np.array([0.4, 0.6])).tolist()
    (-0.1, [0.4, -0.4])
    """
    if not rate > 0:
        raise ValueError(f"the sampling rate must be positive, got {rate}")
    folded = (frequency / rate + 0.5) % 1.0 - 0.5
    if isinstance(folded, float):
        return round(folded * rate, 12)
    return folded * rate


def aliased_power_law(frequency: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    r"""Power that unit-rate samples of a 1/f^alpha signal show, without a filter before sampling.

    .. math:: \sum_{n=-\infty}^{\infty} |f + n|^{-\alpha} = \zeta(\alpha, f) + \zeta(\alpha, 1 - f)

    with the Hurwitz zeta function, for :math:`0 < f \le 1/2` and :math:`\alpha > 1`.

    >>> round(float(aliased_power_law(np.array(0.5), 2.0)) / 0.5**-2, 3)
    2.467
    """
    f = np.asarray(frequency, dtype=float)
    if exponent <= 1 or np.any((f <= 0) | (f > NYQUIST)):
        raise ValueError("the sum converges for exponent > 1 and is folded for 0 < frequency <= 0.5 only")
    return np.asarray(special.zeta(exponent, f) + special.zeta(exponent, 1 - f))


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


def _ring_sums(x: Array, xp: Any) -> Array:
    """Sums of |rfft2(x)|^2 over the rings of the full plane, (N, H, W) -> (N, K)."""
    rings = _rings(tuple(x.shape[-2:]))
    rows, shape = len(rings.mirror), (x.shape[0], len(rings.count))
    if not is_torch_array(x):
        power = _squared(fft.rfft2(x), xp)
        cells = np.reshape(power[:, :rows] + power[:, rings.mirror], (len(x), -1)) * rings.weight
        return np.stack([np.bincount(rings.index, image, shape[1]) for image in cells]).astype(x.dtype)
    # Few passes, in place. Squares of real and imaginary parts stay side by side until the rings are summed.
    spectrum = xp.fft.rfft2(x)
    ahead = xp.view_as_real(spectrum)[:, :rows]
    back = xp.view_as_real(spectrum.index_select(1, _like(rings.mirror, x, xp)))
    squares = xp.reshape(back.square_().addcmul_(ahead, ahead), (shape[0], -1))
    squares = squares.mul_(xp.astype(_like(rings.weight.repeat(2), x, xp), x.dtype))
    cells = xp.view_as_complex(xp.reshape(squares, (shape[0], -1, 2)))
    sums = spectrum.new_zeros(shape).index_add_(1, _like(rings.index, x, xp), cells)
    return sums.real + sums.imag


def _squared(spectrum: Array, xp: Any) -> Array:
    """|spectrum|^2, overwriting the spectrum in torch, where strided real and imaginary parts are slow."""
    if not is_torch_array(spectrum):
        return spectrum.real**2 + spectrum.imag**2
    squares = xp.view_as_real(spectrum).square_()
    return squares[..., 0] + squares[..., 1]


def _chunks(x: Array) -> Iterator[Array]:
    on_cpu = not is_torch_array(x) or x.device.type == "cpu"
    step = max(1, _CHUNK // (x.shape[-2] * x.shape[-1])) if on_cpu else x.shape[0]
    return (x[i : i + step] for i in range(0, x.shape[0], step))


def _tapered(x: Array, window: Window | None) -> Array:
    if window is None:
        return x
    _known("window", window, ("hann",))
    xp = array_namespace(x)
    height, width = x.shape[-2:]
    w = _like(np.outer(_hann(height), _hann(width)), x, xp)
    w = xp.astype(w / xp.mean(w**2) ** 0.5, x.dtype)
    seen = xp.sum(x * w, axis=(-2, -1), keepdims=True) / xp.sum(w)
    return (x - seen) * w


def _hann(n: int) -> NDArray[np.float64]:
    return np.sin(np.pi * np.arange(n) / n) ** 2


def _line(f: NDArray[np.float64], power: NDArray[np.float64], fmin: float, fmax: float) -> PowerLaw:
    # Half a per mille of slack: single-precision frequencies must not fall off the ends.
    used = (f >= fmin * 0.9995) & (f <= fmax * 1.0005) & (f > 0)
    if used.sum() < 3:
        raise ValueError(
            f"a power law needs three rings between {fmin:.3g} and {fmax:.3g} cycles per pixel, got"
            f" {used.sum()}: widen the range or use larger images"
        )
    if not (np.isfinite(power[used]) & (power[used] > 0)).all():
        raise ValueError("a power law needs positive power at every frequency: is the image constant?")
    line = stats.linregress(np.log(f[used]), np.log(power[used]))
    return PowerLaw(
        exponent=float(-line.slope),
        stderr=float(line.stderr),
        r2=float(line.rvalue**2),
        amplitude=float(np.exp(line.intercept)),
        points=int(used.sum()),
    )


def _images(x: Array) -> tuple[Array, Any]:
    try:
        xp = array_namespace(x)
    except TypeError:
        raise TypeError(f"images must be a NumPy array or a torch tensor, got {type(x).__name__}") from None
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"images need two axes or more and at least one pixel, got shape {tuple(x.shape)}")
    if xp.isdtype(x.dtype, "complex floating"):
        raise TypeError(f"images must be real, got {x.dtype}: take the real part or the magnitude")
    return (x if xp.isdtype(x.dtype, "real floating") else xp.astype(x, xp.float32)), xp


def _finite(result: Array) -> Array:
    xp = array_namespace(result)
    if not bool(xp.isfinite(xp.sum(result))):
        raise ValueError(
            "the images hold NaN or infinite values (or overflow when squared): clean or rescale them"
        )
    return result


def _known(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {option} {value!r}: use one of {', '.join(allowed)}")


def _checked_size(size: Size) -> Size:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"a size is (height, width), both at least 1, got {size}")
    return size


def _like(values: NDArray[Any], x: Array, xp: Any) -> Array:
    return xp.asarray(values, device=x.device) if is_torch_array(x) else values


def _numpy(values: Array) -> NDArray[np.float64]:
    if is_torch_array(values):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)
