"""Images drawn from a formula: Gaussian fields with a stated spectrum, edges and gratings, star fields.

Spectra here are expected periodograms E|X(f)|^2 of the orthonormal 2-D DFT, in its unshifted order, at
frequencies in cycles per pixel. Unit white noise therefore has power 1 everywhere, and the mean over all
frequencies is the expected variance of a pixel.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fans._validation import number, whole
from fans.images.request import NOISE, Request

Field = NDArray[np.float64]

DEVIATION = 0.2  # of every synthetic texture: +-1 is then five standard deviations away and clipping is rare
SKY = -0.5  # empty sky; the brightest noiseless pixel lies at +0.5, so noise has equal room on both sides

# The published description of EGM names the ingredients and the gratings' frequency range, but no counts,
# amplitudes or widths. These are ours, chosen by eye so that every ingredient can be seen.
EGM_FREQUENCY = (0.04, 0.22)  # cycles per pixel
EGM_GRATINGS = (1, 3)
EGM_CHECKERBOARDS = (0, 1)
EGM_CELL = (3, 12)  # pixels
EGM_SEGMENTS = (2, 6)
EGM_LENGTH = (0.25, 0.75)  # of the image size
EGM_WIDTH = (1.0, 2.0)  # pixels
EGM_AMPLITUDE = (0.5, 1.0)  # of gratings and checkerboards
EGM_CONTRAST = (1.0, 2.0)  # of segments, either sign

STAR_SLOPE = 1.5  # N(>F) ~ F^-1.5: equal stars spread evenly through space
STAR_FAINTEST = 1e-3  # of the brightest flux that can be drawn


def power_law_spectrum(size: int, *, alpha: float = 2.0) -> Field:
    """Expected periodogram of ``power_law``: S(f) = c f^-alpha with S(0) = 0.

    The constant c makes the mean over all frequencies 0.2^2, the expected variance of a pixel.

    Args:
        size: Height and width of the grid in pixels.
        alpha: Exponent of the power (not the amplitude); 0 is white noise, 2 is typical of photographs.

    Returns:
        (size, size) power in the unshifted order of ``numpy.fft.fft2(..., norm="ortho")``.

    Example:
        >>> power = power_law_spectrum(64, alpha=2.0)
        >>> round(float(power[0, 4] / power[0, 8]), 6)
        4.0
    """
    size, alpha = whole("size", size, low=2), number("alpha", alpha, low=-6, high=6)
    radius = _radius(size)
    shape = np.zeros_like(radius)
    np.power(radius, -alpha, out=shape, where=radius > 0)
    return _with_variance(shape)


def rings_spectrum(
    size: int, *, frequencies: Sequence[float] = (0.1, 0.4), width: float = 0.03, floor: float = 1e-4
) -> Field:
    """Expected periodogram of ``rings``: S(f) = c (floor + sum_j exp(-(f - f_j)^2 / (2 width^2))), S(0) = 0.

    The constant c makes the mean over all frequencies 0.2^2, the expected variance of a pixel.

    Args:
        size: Height and width of the grid in pixels.
        frequencies: Centres f_j of the rings, cycles per pixel, each above 0 and at most 0.7071 (the corner).
        width: Standard deviation of a ring, cycles per pixel.
        floor: Power between the rings relative to a ring's crest.

    Returns:
        (size, size) power in the unshifted order of ``numpy.fft.fft2(..., norm="ortho")``.

    Example:
        >>> power = rings_spectrum(64)
        >>> bool(power[0, 6] > 100 * power[0, 16])
        True
    """
    size = whole("size", size, low=2)
    width, floor = number("width", width, low=1e-3, high=1), number("floor", floor, low=0, high=1)
    if isinstance(frequencies, str) or not isinstance(frequencies, Iterable) or not len(frequencies):
        raise TypeError(f"frequencies must be a sequence like (0.1, 0.4), got {frequencies!r}")
    centres = [number("each of frequencies", f, low=1e-3, high=0.7072) for f in frequencies]
    radius = _radius(size)
    shape = np.full_like(radius, floor)
    for centre in centres:
        shape += np.exp(-((radius - centre) ** 2) / (2 * width**2))
    shape[0, 0] = 0.0
    return _with_variance(shape)


def mixture_spectra(
    size: int,
    *,
    alphas: Sequence[float] = (2.0,),
    decibels: Sequence[float] = (0.0, -7.5, -15.0, -22.5, -30.0),
) -> Field:
    """Expected periodograms of the components of ``mixture``, which are drawn equally often.

    There is one for each pair of an exponent and a contrast, exponents first: a power law
    (``power_law_spectrum``) times ``10^(decibel / 10)``. Their mean is the expected periodogram of the set.

    Args:
        size: Height and width of the grid in pixels.
        alphas: Exponents.
        decibels: Power of a component over that of a power law with a standard deviation of 0.2; at most 0.

    Returns:
        (K, size, size) power in the unshifted order of ``numpy.fft.fft2(..., norm="ortho")``.

    Example:
        >>> mixture_spectra(16, alphas=(1, 2), decibels=(0, -10)).mean((1, 2)).round(4).tolist()
        [0.04, 0.004, 0.04, 0.004]
    """
    for label, values in (("alphas", alphas), ("decibels", decibels)):
        if isinstance(values, str) or not isinstance(values, Iterable) or not len(values):
            raise TypeError(f"{label} must be a sequence of numbers, got {values!r}")
    gains = [10 ** (number("each of decibels", level, low=-100, high=0) / 10) for level in decibels]
    return np.stack([g * power_law_spectrum(size, alpha=alpha) for alpha in alphas for g in gains])


def mixture(
    request: Request,
    *,
    alphas: Sequence[float] = (2.0,),
    decibels: Sequence[float] = (0.0, -7.5, -15.0, -22.5, -30.0),
) -> NDArray[np.float32]:
    """Gaussian fields, each of one of the spectra of ``mixture_spectra``, all as likely."""
    spectra = mixture_spectra(request.size, alphas=alphas, decibels=decibels)
    return request.stack(lambda rng: _field(rng, spectra[rng.integers(len(spectra))])[None])


def power_law(request: Request, *, alpha: float = 2.0, scale: int = 1) -> NDArray[np.float32]:
    """Gaussian fields with power ~ f^-alpha, drawn on a grid ``scale`` times larger and cropped."""
    power = power_law_spectrum(request.size * whole("scale", scale, low=1), alpha=alpha)
    return request.stack(lambda rng: _field(rng, power)[None, : request.size, : request.size])


def pltb(request: Request, *, alpha: float = 1.0, normalise: bool = True) -> NDArray[np.float32]:
    """Power-law texture bank: power ~ f^-alpha, each image brought to mean 0 and deviation 0.2.

    As published, the amplitude |k|^(alpha/2) makes the power grow with frequency, while the reported spectra
    and the pictures decay: the sign is repaired here.
    """
    if not isinstance(normalise, bool):
        raise TypeError(f"normalise must be True or False, got {normalise!r}")
    power = power_law_spectrum(request.size, alpha=alpha)
    if not normalise:
        return request.stack(lambda rng: _field(rng, power)[None])
    return request.stack(lambda rng: _standardise(_field(rng, power))[None])


def rings(
    request: Request, *, frequencies: Sequence[float] = (0.1, 0.4), width: float = 0.03, floor: float = 1e-4
) -> NDArray[np.float32]:
    """Gaussian fields whose radial power is a few Gaussian rings over a low floor."""
    power = rings_spectrum(request.size, frequencies=frequencies, width=width, floor=floor)
    return request.stack(lambda rng: _field(rng, power)[None])


def egm(request: Request) -> NDArray[np.float32]:
    """Edges-gratings mixture: gratings, checkerboards, line segments; brought to mean 0 and deviation 0.2."""
    return request.stack(lambda rng: _standardise(_mixture(rng, request.size))[None])


def stars(
    request: Request, *, fwhm: float = 2.5, noise: float = 0.005, density: float = 0.01
) -> NDArray[np.float32]:
    """Point sources with power-law fluxes seen through a Gaussian point-spread function, plus white noise.

    The image holds values at pixel centres: below a ``fwhm`` of about 2 pixels it is undersampled.
    """
    fwhm = number("fwhm", fwhm, low=0.5, high=16)
    noise = number("noise", noise, low=0, high=1)
    density = number("density", density, low=0, high=0.2)
    light = request.stack(lambda rng: _star_field(rng, request.size, fwhm, density)[None])
    return on_sky(request, light, noise)


def on_sky(request: Request, images: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """Images of light (N, 1, H, W) over their peaks, on the sky, with white noise of deviation ``noise``.

    The noise has a stream of its own, so that every noise level shows the same objects.
    """
    images = images / images.max(axis=(1, 2, 3), keepdims=True) + np.float32(SKY)
    for i in range(len(images)):
        images[i] += noise * request.rng(i, NOISE).standard_normal(images[i].shape, dtype=np.float32)
    return images


def _radius(size: int) -> Field:
    frequency = np.fft.fftfreq(size)
    radius: Field = np.hypot(frequency[:, None], frequency[None, :])
    return radius


def _with_variance(shape: Field) -> Field:
    mean = float(shape.mean())
    if not mean > 0:
        size = len(shape)
        raise ValueError(f"no frequency of a {size}-pixel grid has any power: widen the rings or raise floor")
    return shape * (DEVIATION**2 / mean)


def _field(rng: np.random.Generator, power: Field) -> Field:
    # Filtering real white noise gives the self-conjugate frequencies their full power without special cases.
    size = len(power)
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    return np.fft.irfft2(white * np.sqrt(power[:, : size // 2 + 1]), s=(size, size))


def _standardise(image: Field) -> Field:
    return (image - float(image.mean())) * (DEVIATION / float(image.std()))


def _mixture(rng: np.random.Generator, size: int) -> Field:
    image = np.zeros((size, size))
    for _ in range(rng.integers(*EGM_GRATINGS, endpoint=True)):
        image += rng.uniform(*EGM_AMPLITUDE) * _grating(rng, size)
    for _ in range(rng.integers(*EGM_CHECKERBOARDS, endpoint=True)):
        image += rng.uniform(*EGM_AMPLITUDE) * _checkerboard(rng, size)
    for _ in range(rng.integers(*EGM_SEGMENTS, endpoint=True)):
        image += rng.choice((-1, 1)) * rng.uniform(*EGM_CONTRAST) * _segment(rng, size)
    return image


def _grating(rng: np.random.Generator, size: int) -> Field:
    y, x = np.mgrid[:size, :size]
    frequency, angle, phase = rng.uniform(*EGM_FREQUENCY), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    wave: Field = np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return wave


def _checkerboard(rng: np.random.Generator, size: int) -> Field:
    y, x = np.mgrid[:size, :size]
    cell = rng.integers(*EGM_CELL, endpoint=True)
    top, left = rng.integers(2 * cell, size=2)
    board: Field = 1.0 - 2.0 * (((y + top) // cell + (x + left) // cell) % 2)
    return board


def _segment(rng: np.random.Generator, size: int) -> Field:
    y, x = np.mgrid[:size, :size]
    angle, length, width = rng.uniform(0, np.pi), size * rng.uniform(*EGM_LENGTH), rng.uniform(*EGM_WIDTH)
    dy, dx = y - rng.uniform(0, size), x - rng.uniform(0, size)
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    distance = np.hypot(np.maximum(np.abs(along) - length / 2, 0), across)
    # The edge falls over one pixel instead of none: a hard one would alias into a staircase.
    line: Field = np.clip((width + 1) / 2 - distance, 0, 1)
    return line


def _star_field(rng: np.random.Generator, size: int, fwhm: float, density: float) -> Field:
    # Stars beyond the frame are drawn too, because their wings reach into it. The first one is kept inside:
    # the image is divided by its peak, which must not be a mere wing.
    margin = 3 * fwhm
    count = 1 + rng.poisson(density * (size + 2 * margin) ** 2)
    position = rng.uniform(-margin, size + margin, (count, 2))
    position[0] = rng.uniform(0, size, 2)
    flux = rng.uniform(STAR_FAINTEST**STAR_SLOPE, 1, count) ** (-1 / STAR_SLOPE)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    offset = np.arange(size) + 0.5 - position[:, :, None]  # (stars, axis, pixel)
    profile = np.exp(-(offset**2) / (2 * sigma**2))
    field: Field = np.einsum("s,sy,sx->yx", flux, profile[:, 0], profile[:, 1])
    return field
