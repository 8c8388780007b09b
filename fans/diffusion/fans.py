"""FANS: noise whose colour is read off the data band by band, and changes with time."""

from typing import Literal

import torch
from torch import Tensor

from fans.diffusion.checks import as_spectrum
from fans.diffusion.plane import Size, Spectrum
from fans.diffusion.process import SpectralProcess
from fans.diffusion.schedules import ScheduleLike, tables
from fans.spectrum import Bands, multiplicity
from fans.spectrum import bands as partition

Ramp = Literal["linear", "sigmoid"]


def fans(
    spectrum: Spectrum,
    *,
    size: Size,
    timesteps: int = 1000,
    schedule: ScheduleLike = "cosine",
    alpha: float = 0.5,
    beta: float = 1.0,
    gamma: float = 1.0,
    ramp: Ramp = "linear",
    guardrail: float = 0.15,
    bands: int = 8,
) -> SpectralProcess:
    """Frequency-aware noise shaping with size-aware weights, ``s_t(w)^2 = s_t^2 v_b(t)`` for w in band b.

    ``v_b = exp(z_b) / sum_b' (n_b' / N) exp(z_b')`` with n_b of the N coefficients in band b: the mean over
    the plane is 1 at every t, and equal z is exactly white. Weights are those of ``band_scores``; near the
    noisy end, for ``1 - t/T < guardrail``, the noise is white.

    Args:
        spectrum: power of the data per coefficient, (H, W//2 + 1); only its share per band is used.
        size, timesteps, schedule: as everywhere.
        alpha: exponent of the inverse-power weights, >= 0.
        beta: strength of the inverse-power weights, >= 0.
        gamma: how far the score of the highest band falls from the noisy to the clean end, >= 0.
        ramp: course of that fall in time.
        guardrail: share of the time axis with white noise, in [0, 1); the colour then sets in linearly.
        bands: number of rings of equal width from DC to the corner.

    >>> process = fans(torch.ones(16, 9), size=(16, 16), beta=0.0, gamma=0.0)
    >>> float((process.noise(1000) - 1).abs().max()) < 1e-12
    True
    """
    rings = partition(size, bands)
    scores = band_scores(
        band_shares(spectrum, rings), timesteps, alpha=alpha, beta=beta, gamma=gamma, ramp=ramp
    )
    fraction = torch.tensor(rings.count, dtype=torch.float64) / (size[0] * size[1])
    weight = torch.softmax(scores, -1)  # (T + 1, B)
    level = weight / (fraction * weight).sum(-1, keepdim=True)
    level = 1 + guard(timesteps, guardrail) * (level - 1)
    signal, noise = tables(schedule, timesteps)
    colour = level.sqrt()[:, torch.from_numpy(rings.index)]  # (T + 1, H, W//2 + 1)
    return SpectralProcess("FANS", size, signal[:, None, None], noise[:, None, None] * colour)


def band_shares(spectrum: Spectrum, rings: Bands) -> Tensor:
    """Share pi_b of the data's power in each band, (B,); coefficients outside all bands do not count."""
    power = as_spectrum(spectrum, rings.size) * torch.tensor(multiplicity(rings.size))
    member = torch.from_numpy(rings.index) == torch.arange(len(rings.count))[:, None, None]
    total = (power * member).sum((1, 2))
    return total / total.sum()


def band_scores(
    shares: Tensor, timesteps: int, *, alpha: float, beta: float, gamma: float, ramp: Ramp
) -> Tensor:
    """``z_b(t) = beta g_b - gamma lambda_b phi(tau)``, float64 of shape (T + 1, B).

    ``g_b = pi_b^-alpha`` over its mean, ``lambda_b`` from 0 (lowest band) to 1, ``tau = 1 - t / T`` the
    time of generation, from noise to data.
    """
    if min(alpha, beta, gamma) < 0:
        raise ValueError(f"alpha={alpha}, beta={beta}, gamma={gamma}: must not be negative")
    tau = torch.linspace(1, 0, timesteps + 1, dtype=torch.float64)[:, None]
    phi = {"linear": tau, "sigmoid": torch.sigmoid(6 * (tau - 0.5))}
    if ramp not in phi:
        raise ValueError(f"ramp={ramp!r}: must be one of {', '.join(phi)}")
    rarity = (shares + 1e-8) ** -alpha  # the published floor: an empty band has a finite weight
    position = torch.linspace(0, 1, len(shares), dtype=torch.float64)
    return beta * rarity / rarity.mean() - gamma * position * phi[ramp]


def guard(timesteps: int, knee: float) -> Tensor:
    """Share of shaped weights in the mixture with white, 0 for tau < knee, then linear to 1; (T + 1, 1)."""
    if not 0 <= knee < 1:
        raise ValueError(f"guardrail={knee}: must lie in [0, 1)")
    tau = torch.linspace(1, 0, timesteps + 1, dtype=torch.float64)[:, None]
    return ((tau - knee) / (1 - knee)).clamp(min=0)
