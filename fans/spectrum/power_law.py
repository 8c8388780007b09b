"""Power laws: fits of 1/f^alpha to radial spectra, for all orientations together or one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy import stats

from fans._validation import check_confidence
from fans.spectrum.arrays import Array, as_numpy, checked_images
from fans.spectrum.radial import RadialSpectrum, Window, power_spectrum


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
        """Student-t interval of the exponent.

        Raises:
            ValueError: a confidence that is no probability, as 95 for 0.95.
        """
        check_confidence(confidence)
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
    power = as_numpy(radial.power)
    if power.ndim != 1:
        raise ValueError(
            f"one curve is fitted at a time, got power of shape {power.shape}: call .mean() first"
        )
    low = 3 / min(radial.size) if fmin is None else fmin
    return _line(as_numpy(radial.frequency), power, low, fmax, _rounding(radial.power))


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
    x, _ = checked_images(x)
    if sectors < 1:
        raise ValueError(f"sectors must be at least 1, got {sectors}")
    height, width = (int(n) for n in x.shape[-2:])
    powers = power_spectrum(x, window=window)
    power = as_numpy(powers).reshape(-1, height, width).mean(0)
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
        laws.append(_line(mean_f, mean_p, low, fmax, _rounding(powers)))
    return OrientedPowerLaw(theta=np.arange(sectors) * np.pi / sectors, laws=tuple(laws))


def _line(
    f: NDArray[np.float64], power: NDArray[np.float64], fmin: float, fmax: float, floor: float
) -> PowerLaw:
    # Half a per mille of slack: single-precision frequencies must not fall off the ends.
    used = (f >= fmin * 0.9995) & (f <= fmax * 1.0005) & (f > 0)
    if used.sum() < 3:
        raise ValueError(
            f"a power law needs three rings between {fmin:.3g} and {fmax:.3g} cycles per pixel, got"
            f" {used.sum()}: widen the range or use larger images"
        )
    if not (np.isfinite(power[used]) & (power[used] > 0)).all() or power[used].max() <= floor:
        raise ValueError("a power law needs positive power at every frequency: is the image constant?")
    line = stats.linregress(np.log(f[used]), np.log(power[used]))
    return PowerLaw(
        exponent=float(-line.slope),
        stderr=float(line.stderr),
        r2=float(line.rvalue**2),
        amplitude=float(np.exp(line.intercept)),
        points=int(used.sum()),
    )


def _rounding(power: Array) -> float:
    """Power that the rounding of a transform may leave where there is none."""
    eps = float(array_namespace(power).finfo(power.dtype).eps)
    return eps**2 * float(as_numpy(power).max())
