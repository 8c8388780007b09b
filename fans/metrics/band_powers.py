"""What measures know of a set of images: the power of each image in bands; and whether two sets compare."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fans.metrics.features import QUANTUM, checked
from fans.metrics.intervals import Floats
from fans.spectrum import Bands, RadialSpectrum, Window, band_sum, decibel, power_spectrum, radial_bands

ImageArray = Tensor | NDArray[Any]

RINGS, HIGH = 6, 4  # the classifier sees the upper 4 of 6 bands: frequencies from 0.236 cycles per pixel
_CHUNK = 256  # images transformed at once


def pair(generated: ImageArray, real: ImageArray) -> tuple[Tensor, Tensor]:
    """Both sets as tensors, if they are images of the same channels and size.

    Raises:
        TypeError, ValueError: As for ``fans.metrics.features.checked``, or of different sizes.
    """
    a, b = checked(generated), checked(real)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"generated images are {tuple(a.shape[1:])}, real ones {tuple(b.shape[1:])}: compare images of"
            " the same channels and size"
        )
    return a, b


def image_powers(x: Tensor, bands: Bands, *, window: Window | None) -> Floats:
    """Mean power per coefficient of each band for each image, (N, B), zero frequency left out."""
    count = torch.from_numpy(_count(bands).clip(min=1))
    powers = []
    for part in torch.split(x, _CHUNK):
        part = part.cpu().double()  # in this order: some accelerators have no double precision
        centred = part - part.mean((-2, -1), keepdim=True)
        power = power_spectrum(centred, window=window)[..., : bands.index.shape[1]].mean(1)
        mean = band_sum(power, bands, zero=False) / count
        # Rounding leaves a constant image a little power: it is none.
        dust = (10 * torch.finfo(part.dtype).eps) ** 2 * part.square().amax((1, 2, 3))
        powers.append(torch.where(mean > dust[:, None], mean, 0.0))
    return as_array(torch.cat(powers))


def _count(bands: Bands) -> NDArray[np.int64]:
    """Number of coefficients of each band, (B,), zero frequency left out."""
    return np.asarray(bands.count - (np.arange(len(bands.count)) == 0))


def profile(power: Floats, bands: Bands) -> Floats:
    """As ``fans.spectrum.band_power``, but from the powers of each image, (N, B), constant images left out.

    Photographs have them, where a sky is saturated.
    """
    energy = power * _count(bands)
    total = energy.sum(1, keepdims=True)
    if not total.any():
        raise ValueError("all images are constant: there is no power to divide into bands")
    return np.asarray((energy / np.where(total > 0, total, 1)).sum(0) / (total > 0).sum())


def high_powers(x: Tensor) -> Floats:
    """Log power of each image in the highest bands, (N, HIGH)."""
    bands = radial_bands((x.shape[-2], x.shape[-1]), RINGS)
    return np.asarray(np.log10(image_powers(x, bands, window="hann")[:, -HIGH:] + QUANTUM))


def error_decibel(generated: Floats, real: Floats, what: str, *, first: int = 0) -> Floats:
    """Level of generated over real power; an error that names the first ring or band without real power."""
    if not (real > 0).all():
        index = first + int(np.argmin(real > 0))
        raise ValueError(
            f"the real images have no power in {what} {index}, counted from zero: are they constant or"
            " low-pass filtered? Compare fewer bands or other images"
        )
    return np.asarray(decibel(generated, real))


def curves(generated: RadialSpectrum, real: RadialSpectrum) -> tuple[Floats, Floats]:
    """Mean power of both, (K,) each; what rounding leaves of real power is zero."""
    for option in ("size", "window", "reduction", "corners", "norm"):
        a, b = getattr(generated, option), getattr(real, option)
        if a != b:
            raise ValueError(f"spectra of {option}={a!r} and {option}={b!r} cannot be compared: use one")
    p, q = (as_array(spectrum.mean().power) for spectrum in (generated, real))
    eps = 1e-7 if "float32" in str(real.power.dtype) else 1e-16
    return p, np.where(q > eps**2 * q.max(), q, 0.0)


def profiles(generated: Floats, real: Floats) -> tuple[Floats, Floats]:
    """Both profiles of band power, normalised, if they can be compared."""
    profiles = [as_array(profile) for profile in (generated, real)]
    if profiles[0].ndim != 1 or profiles[0].shape != profiles[1].shape:
        shapes = " and ".join(str(p.shape) for p in profiles)
        raise ValueError(f"profiles must both be (B,) for the same bands, got shapes {shapes}")
    for p in profiles:
        if not np.isfinite(p).all() or p.min() < 0 or p.sum() == 0:
            raise ValueError(
                f"a profile of band power must be finite, not negative and not all zero, got {p}"
            )
    return profiles[0] / profiles[0].sum(), profiles[1] / profiles[1].sum()


def as_array(values: Any) -> Floats:
    """An array or tensor, on any device, as float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
