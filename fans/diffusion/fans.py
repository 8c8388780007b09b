"""FANS: noise whose colour is read off the data band by band, and changes with time."""

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from fans._validation import known, number, positive
from fans.diffusion.checks import as_spectrum
from fans.diffusion.configuration import family
from fans.diffusion.plane import Constant, Size, Spectrum
from fans.diffusion.process import SpectralProcess
from fans.diffusion.schedules import ScheduleLike, schedule_of
from fans.spectrum import Bands, band_sum, radial_bands

Ramp = Literal["linear", "sigmoid"]


@family
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
    rings, scalar = radial_bands(size, bands), schedule_of(schedule)
    shares = band_shares(spectrum, rings)
    check_weights(alpha, beta, gamma, ramp, guardrail)
    score = partial(band_scores, alpha=alpha, beta=beta, gamma=gamma, ramp=ramp)
    constants = Constant(shares), Constant(band_fractions(rings)), Constant(torch.from_numpy(rings.index))

    def levels(t: Tensor) -> tuple[Tensor, Tensor]:
        pi, fraction, index = (constant.like(t) for constant in constants)
        tau = 1 - t[..., 0] / timesteps  # (..., 1)
        weight = torch.softmax(score(pi, tau), -1)  # (..., B)
        level = weight / (fraction * weight).sum(-1, keepdim=True)
        level = 1 + guard(tau, guardrail) * (level - 1)
        a, s = scalar(t, timesteps)
        return a, s * level.sqrt()[..., index]  # (..., H, W//2 + 1)

    return SpectralProcess("FANS", size, timesteps, levels)


def check_weights(alpha: float, beta: float, gamma: float, ramp: Ramp, guardrail: float = 0.0) -> None:
    """Check the options of the weights: none is negative, guardrail below 1, ramp known."""
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        positive(name, value, zero=True)
    known("ramp", ramp, get_args(Ramp))
    if not number("guardrail", guardrail, low=0, high=1) < 1:
        raise ValueError(f"guardrail={guardrail}: must lie in [0, 1)")


def band_shares(spectrum: Spectrum, rings: Bands) -> Tensor:
    """Share pi_b of the data's power in each band, (B,); coefficients outside all bands do not count."""
    total: Tensor = band_sum(as_spectrum(spectrum, rings.size), rings)
    return total / total.sum()


def band_fractions(rings: Bands) -> Tensor:
    """Share n_b / N of the coefficients in each band, (B,)."""
    return torch.tensor(rings.count, dtype=torch.float64) / (rings.size[0] * rings.size[1])


def band_scores(
    shares: Tensor, tau: Tensor, *, alpha: float, beta: float, gamma: float, ramp: Ramp
) -> Tensor:
    """``z_b(t) = beta g_b - gamma lambda_b phi(tau)``, (..., B) for tau of shape (..., 1).

    ``g_b = pi_b^-alpha`` over its mean, ``lambda_b`` from 0 (lowest band) to 1, ``tau = 1 - t / T`` the
    time of generation, from noise to data.
    """
    phi = tau if ramp == "linear" else torch.sigmoid(6 * (tau - 0.5))
    rarity = (shares + 1e-8) ** -alpha  # the published floor: an empty band has a finite weight
    position = torch.linspace(0, 1, len(shares), dtype=shares.dtype, device=shares.device)
    return beta * rarity / rarity.mean() - gamma * position * phi


def guard(tau: Tensor, knee: float) -> Tensor:
    """Share of shaped weights in the mixture with white, 0 for tau < knee, then linear to 1."""
    return ((tau - knee) / (1 - knee)).clamp(min=0)
