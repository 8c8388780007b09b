"""Processes of the literature, each a few lines that fill in ``a_t(w)`` and ``s_t(w)``.

All take ``size=(H, W)``, ``timesteps=T`` and a scalar ``schedule`` (``fans.diffusion.schedules``), written
below as ``a_t`` and ``s_t``. A ``spectrum`` is the power C of the data per coefficient of the orthonormal
DFT, shape (H, W//2 + 1). f is the radial frequency in cycles per pixel.
"""

from collections.abc import Callable, Sequence
from math import inf, log
from typing import Literal

import torch
from torch import Tensor

from fans._validation import known, number, positive
from fans.diffusion.checks import as_spectrum, mirrored_columns
from fans.diffusion.configuration import family
from fans.diffusion.plane import Constant, Size, Spectrum, plane_mean, radius
from fans.diffusion.process import SpectralProcess
from fans.diffusion.schedules import ScheduleLike, schedule_of
from fans.spectrum import radial_bands


def _shaped(name: str, power: Tensor, size: Size, timesteps: int, schedule: ScheduleLike) -> SpectralProcess:
    """Scalar signal; noise of the given power per coefficient, times the scalar noise level."""
    scalar, colour = schedule_of(schedule), Constant(power.sqrt())

    def levels(t: Tensor) -> tuple[Tensor, Tensor]:
        a, s = scalar(t, timesteps)
        return a, s * colour.like(t)

    return SpectralProcess(name, size, timesteps, levels)


def _from_clean(levels: Callable[[Tensor], tuple[Tensor, Tensor]], t: Tensor) -> tuple[Tensor, Tensor]:
    """Levels that say nothing before t = 1: linear from the clean image until then."""
    a, s = levels(t.clamp(min=1))
    until = t.clamp(max=1)
    return torch.lerp(torch.ones_like(a), a, until.expand_as(a)), until * s


@family
def white(*, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine") -> SpectralProcess:
    """Every other diffusion model: ``a_t, s_t`` equal at all frequencies.

    >>> white(size=(32, 32)).noise(1000).tolist()
    [[1.0]]
    """
    scalar = schedule_of(schedule)
    return SpectralProcess("white", size, timesteps, lambda t: scalar(t, timesteps))


@family
def equal_snr(
    spectrum: Spectrum, *, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine"
) -> SpectralProcess:
    """Noise with the spectrum of the data, ``s_t(w)^2 = s_t^2 C(w)``: one SNR for all frequencies.

    >>> equal_snr(torch.ones(8, 5), size=(8, 8)).noise(1000).mean().item()
    1.0
    """
    power = as_spectrum(spectrum, size, positive=True)
    return _shaped("EqualSNR", power, size, timesteps, schedule)


@family
def flipped_snr(
    spectrum: Spectrum, *, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine"
) -> SpectralProcess:
    """The SNRs of the white process in reverse order: ``s_t(w)^2 = s_t^2 C(w) / C(w')``.

    w' ranks in the data's power from below as w does from above: the strongest frequency is drowned first.
    """
    power = as_spectrum(spectrum, size, positive=True)
    half, columns = size[0] // 2 + 1, mirrored_columns(size)
    independent = torch.ones_like(power, dtype=torch.bool)
    independent[half:, columns] = False  # the coefficients at -f
    order = power[independent].argsort(stable=True)
    flipped = torch.empty_like(power)
    flipped[independent] = power[independent][order.flip(0)][order.argsort()]
    flipped[half:, columns] = flipped[1 : (size[0] + 1) // 2, columns].flip(0)
    return _shaped("FlippedSNR", power / flipped, size, timesteps, schedule)


@family
def power_law(
    alpha: float, *, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine"
) -> SpectralProcess:
    """Noise of power ``f^(2 alpha)`` with mean 1: red for ``alpha < 0``, white for 0, blue above.

    DC, where the law has no value, takes that of the lowest frequency.

    >>> power_law(0.0, size=(8, 8)).noise(1000).unique().tolist()
    [1.0]
    """
    number("alpha", alpha, low=-inf, high=inf)
    f = radius(size)
    f[0, 0] = f[f > 0].min()
    power = f ** (2 * alpha)
    return _shaped(f"power law {alpha:g}", power / plane_mean(power, size), size, timesteps, schedule)


@family
def band(
    gains: Sequence[float], *, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine"
) -> SpectralProcess:
    """Noise whose amplitude is constant in rings of equal width from DC to the corner, mean power 1.

    Args:
        gains: relative amplitude of each ring, low to high; (0.3, 0.7) is a two-band mixture.
        size, timesteps, schedule: as everywhere.

    Raises:
        ValueError: a gain that is not positive, or rings without any coefficient.
    """
    for gain in gains:  # without noise the SNR of a ring is infinite
        positive("each of gains", gain)
    amplitude = torch.tensor(gains, dtype=torch.float64)
    power = amplitude[torch.from_numpy(radial_bands(size, len(gains)).index)].square()
    return _shaped("band", power / plane_mean(power, size), size, timesteps, schedule)


@family
def blur(
    kind: Literal["blurring", "inverse_heat"] = "blurring",
    *,
    size: Size,
    timesteps: int = 1000,
    schedule: ScheduleLike = "cosine",
    sigma_max: float = 20.0,
    sigma_min: float = 0.5,
    floor: float = 0.001,
    noise: float = 0.01,
) -> SpectralProcess:
    """White noise on an image that is blurred more and more, by Gaussians of growing width.

    The papers let heat diffuse with reflecting borders, in a DCT whose frequency f decays at the rate
    ``lambda = (2 pi f)^2``. Here the same rate acts on the frequencies of the (periodic) DFT.

    Args:
        kind: ``"blurring"`` (Hoogeboom and Salimans): ``a_t ((1 - floor) exp(-lambda tau_t) + floor)``, with
            ``tau_t = (sigma_max s_t^2)^2 / 2``. ``"inverse_heat"`` (Rissanen et al.):
            ``exp(-lambda sigma_t^2 / 2)``, sigma log-spaced from ``sigma_min`` at t = 1, and constant
            noise; before t = 1 both levels are linear in t. It has no scalar schedule.
        size, timesteps, schedule: as everywhere.
        sigma_max: final width of the blur in pixels.
        sigma_min: first width of the blur in pixels, ``"inverse_heat"`` only.
        floor: share of the signal that is never blurred, ``"blurring"`` only.
        noise: noise level at every t > 0, ``"inverse_heat"`` only.
    """
    known("kind", kind, ("blurring", "inverse_heat"))
    sigma_max, sigma_min = positive("sigma_max", sigma_max), positive("sigma_min", sigma_min)
    number("floor", floor, low=0, high=1)
    eigenvalue = Constant((2 * torch.pi * radius(size)).square())
    scalar = schedule_of(schedule)

    def blurring(t: Tensor) -> tuple[Tensor, Tensor]:
        a, s = scalar(t, timesteps)
        decay = torch.exp(-eigenvalue.like(t) * (sigma_max * s.square()).square() / 2)
        return a * ((1 - floor) * decay + floor), s

    def inverse_heat(t: Tensor) -> tuple[Tensor, Tensor]:
        u = (t - 1) / (timesteps - 1)
        sigma = torch.exp(log(sigma_min) * (1 - u) + log(sigma_max) * u)
        # below exp(-150) an amplitude cannot matter, but its square must not underflow
        decay = torch.exp(-(eigenvalue.like(t) * sigma.square() / 2).clamp(max=150))
        return decay, torch.full_like(t, level)

    if kind == "blurring":
        return SpectralProcess("blurring", size, timesteps, blurring)
    level = positive("noise", noise)
    return SpectralProcess("inverse heat", size, timesteps, lambda t: _from_clean(inverse_heat, t))


@family
def gud(
    spectrum: Spectrum,
    *,
    size: Size,
    timesteps: int = 1000,
    softness: float = 2.0,
    log_snr: tuple[float, float] = (7.0, -7.0),
) -> SpectralProcess:
    """GUD: in whitened coordinates each frequency runs through its own window of log-SNR.

    ``a_t^2 = sigmoid(-g)`` and ``s_t^2 = C sigmoid(g)``, where g runs linearly with time from
    ``g_0 + l - max(l)`` to ``g_1 + l - min(l)`` and ``l = -log(C) / softness``: weak frequencies are noised
    first. Before t = 1 levels are linear in t from the clean image.
    Infinite softness is EqualSNR, 1 keeps the SNR ratios of white noise, near 0 one frequency follows
    after the other.

    Args:
        spectrum, size, timesteps: as everywhere; there is no scalar schedule.
        softness: overlap of the windows, positive.
        log_snr: -g_0 at the clean and -g_1 at the noisy end, decreasing.
    """
    first, last = (number("each of log_snr", value, low=-inf, high=inf) for value in log_snr)
    if not number("softness", softness, low=0, high=inf) > 0 or not first > last:
        raise ValueError(
            f"softness={softness}, log_snr={log_snr}: need softness > 0 and a decreasing log-SNR"
        )
    power = as_spectrum(spectrum, size, positive=True)
    order = -power.log() / softness
    window, start = first - last + order.max() - order.min(), order - order.max() - first
    constants = Constant(start), Constant(power)

    def levels(t: Tensor) -> tuple[Tensor, Tensor]:
        begin, data = (constant.like(t) for constant in constants)
        g = begin + t / timesteps * float(window)
        return torch.sigmoid(-g).sqrt(), (data * torch.sigmoid(g)).sqrt()

    return SpectralProcess("GUD", size, timesteps, lambda t: _from_clean(levels, t))
