"""Processes of the literature, each a few lines that fill in ``a_t(w)`` and ``s_t(w)``.

All take ``size=(H, W)``, ``timesteps=T`` and a scalar ``schedule`` (``fans.diffusion.schedules``), written
below as
``a_t`` and ``s_t``. A ``spectrum`` is the power C of the data per coefficient of the orthonormal DFT, shape
(H, W//2 + 1). f is the radial frequency in cycles per pixel.
"""

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
from torch import Tensor

from fans.diffusion.checks import as_spectrum, mirrored_columns
from fans.diffusion.plane import Size, Spectrum, plane_mean, radius
from fans.diffusion.process import SpectralProcess
from fans.diffusion.schedules import ScheduleLike, tables
from fans.spectrum import bands


def _levels(schedule: ScheduleLike, timesteps: int) -> tuple[Tensor, Tensor]:
    """Scalar signal and noise level, each (T + 1, 1, 1)."""
    signal, noise = tables(schedule, timesteps)
    return signal[:, None, None], noise[:, None, None]


def _shaped(name: str, power: Tensor, size: Size, timesteps: int, schedule: ScheduleLike) -> SpectralProcess:
    """Scalar signal; noise of the given power per coefficient, times the scalar noise level."""
    signal, noise = _levels(schedule, timesteps)
    return SpectralProcess(name, size, signal, noise * power.sqrt())


def white(*, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine") -> SpectralProcess:
    """Every other diffusion model: ``a_t, s_t`` equal at all frequencies.

    >>> white(size=(32, 32)).noise(1000).tolist()
    [[1.0]]
    """
    return SpectralProcess("white", size, *_levels(schedule, timesteps))


def equal_snr(
    spectrum: Spectrum, *, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine"
) -> SpectralProcess:
    """Noise with the spectrum of the data, ``s_t(w)^2 = s_t^2 C(w)``: one SNR for all frequencies.

    >>> equal_snr(torch.ones(8, 5), size=(8, 8)).noise(1000).mean().item()
    1.0
    """
    power = as_spectrum(spectrum, size, positive=True)
    return _shaped("EqualSNR", power, size, timesteps, schedule)


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


def power_law(
    alpha: float, *, size: Size, timesteps: int = 1000, schedule: ScheduleLike = "cosine"
) -> SpectralProcess:
    """Noise of power ``f^(2 alpha)`` with mean 1: red for ``alpha < 0``, white for 0, blue above.

    DC, where the law has no value, takes that of the lowest frequency.

    >>> power_law(0.0, size=(8, 8)).noise(1000).unique().tolist()
    [1.0]
    """
    f = radius(size)
    f[0, 0] = f[f > 0].min()
    power = f ** (2 * alpha)
    return _shaped(f"power law {alpha:g}", power / plane_mean(power, size), size, timesteps, schedule)


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
    amplitude = torch.tensor(gains, dtype=torch.float64)
    if amplitude.ndim != 1 or not (amplitude > 0).all():
        raise ValueError(f"gains={gains}: must be positive; without noise the SNR of a ring is infinite")
    power = amplitude[torch.from_numpy(bands(size, len(gains)).index)].square()
    return _shaped("band", power / plane_mean(power, size), size, timesteps, schedule)


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
            noise; it has no scalar schedule.
        size, timesteps, schedule: as everywhere.
        sigma_max: final width of the blur in pixels.
        sigma_min: first width of the blur in pixels, ``"inverse_heat"`` only.
        floor: share of the signal that is never blurred, ``"blurring"`` only.
        noise: noise level at every t > 0, ``"inverse_heat"`` only.
    """
    eigenvalue = (2 * torch.pi * radius(size)).square()
    if kind == "blurring":
        a, s = _levels(schedule, timesteps)
        decay = torch.exp(-eigenvalue * (sigma_max * s.square()).square() / 2)
        return SpectralProcess("blurring", size, a * ((1 - floor) * decay + floor), s)
    if kind != "inverse_heat":
        raise ValueError(f"kind={kind!r}: must be 'blurring' or 'inverse_heat'")
    sigma = torch.logspace(log(sigma_min), log(sigma_max), timesteps, base=torch.e, dtype=torch.float64)
    # below exp(-150) an amplitude cannot matter, but its square must not underflow
    decay = torch.exp(-(eigenvalue * sigma[:, None, None].square() / 2).clamp(max=150))
    s = torch.full((timesteps + 1, 1, 1), noise, dtype=torch.float64)
    s[0] = 0
    clean = torch.ones_like(decay[:1])
    return SpectralProcess("inverse heat", size, torch.cat([clean, decay]), s)


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
    first. Infinite softness is EqualSNR, 1 keeps the SNR ratios of white noise, near 0 one frequency follows
    after the other.

    Args:
        spectrum, size, timesteps: as everywhere; there is no scalar schedule.
        softness: overlap of the windows, positive.
        log_snr: -g_0 at the clean and -g_1 at the noisy end, decreasing.
    """
    first, last = log_snr
    if softness <= 0 or first <= last:
        raise ValueError(
            f"softness={softness}, log_snr={log_snr}: need softness > 0 and a decreasing log-SNR"
        )
    power = as_spectrum(spectrum, size, positive=True)
    order = -power.log() / softness
    u = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)[:, None, None]
    g = -first + order - order.max() + u * (first - last + order.max() - order.min())
    a, s = torch.sigmoid(-g).sqrt(), (power * torch.sigmoid(g)).sqrt()
    a[0], s[0] = 1, 0
    return SpectralProcess("GUD", size, a, s)
