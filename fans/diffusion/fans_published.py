"""FANS as its article and its released code have it: every fault a named switch, so that each can be priced.

Both are ordinary processes (the marginals that a network is trained on) with the published prior, and with a
``sampler`` that takes the published steps. With no fault left they are what the authors meant. Four faults
are the article's:

- ``guardrail``: near the noisy end all *bands* get equal power. Rings have different sizes, so this is not
  white.
- ``prior``: sampling starts from N(0, 1), training ends at N(0, s_T^2).
- ``velocity``: the flow's target is ``a' x_0 + (scalar s)' eps_FANS``; the change of colour is left out.
- ``score``: a stochastic step adds shaped noise without the drift ``(churn^2 / 2) Sigma score`` that
  balances it.

The released code shares ``prior`` and has one more:

- ``double_sigma``: the noise level multiplies the noise twice, in training and in every sampling step.

The article leaves DC and all frequencies above 0.5 without noise, where no sampler can draw anything; here
they take the level of the nearest band.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fans._validation import known, positive
from fans.diffusion.checks import as_spectrum
from fans.diffusion.configuration import family
from fans.diffusion.fans import Ramp, band_fractions, band_scores, band_shares, check_weights, guard
from fans.diffusion.plane import Constant, Size, Spectrum
from fans.diffusion.process import SpectralProcess
from fans.diffusion.samplers import ArticleEuler, Sampler, ScalarDDPM
from fans.diffusion.schedules import cosine, interpolated_log, rectified
from fans.diffusion.wiener import sampled_spectrum
from fans.spectrum import Bands, band_sum, decibel, radial_bands

Release = Literal["article", "code"]
Fault = Literal["guardrail", "prior", "velocity", "score", "double_sigma"]
FAULTS: dict[Release, frozenset[Fault]] = {
    "article": frozenset({"guardrail", "prior", "velocity", "score"}),
    "code": frozenset({"prior", "double_sigma"}),
}


@dataclass(frozen=True, eq=False)
class PublishedFans(SpectralProcess):
    """A process that is sampled the way its authors do.

    Attributes:
        faults: the faults that are in force.
    """

    faults: frozenset[Fault]

    @property
    def sampler(self) -> Sampler:
        """The authors' own; others serve the process as they do any."""
        raise NotImplementedError

    def prior_power(self) -> Tensor:
        """Power of the state that sampling starts from: 1 with the fault ``prior``, else ``s_T^2``."""
        power = super().prior_power()
        return torch.ones_like(power) if "prior" in self.faults else power


@dataclass(frozen=True, eq=False)
class ArticleFans(PublishedFans):
    """Flow matching, ``x_t = (1 - u) x_0 + u sqrt(v_b(t)) eps`` with u = t / T, with Euler's step.

    Attributes:
        churn: level of the noise that the step adds, per square root of unit time; 0 is the plain flow.
    """

    churn: float

    @property
    def sampler(self) -> Sampler:
        """Euler's step as published."""
        return ArticleEuler(self.churn, "velocity" in self.faults, "score" in self.faults)


@dataclass(frozen=True, eq=False)
class ReleasedFans(PublishedFans):
    """DDPM with weights that sum to 1, ``x_t = a_t x_0 + sigma_t sqrt(w_b(t)) eps``.

    The fault ``double_sigma`` has ``sigma_t^2`` for ``sigma_t``.
    """

    @property
    def sampler(self) -> Sampler:
        """DDPM's step as released."""
        return ScalarDDPM("double_sigma" in self.faults)


@family
def fans_as_published(
    spectrum: Spectrum,
    *,
    size: Size,
    timesteps: int = 1000,
    release: Release = "article",
    faults: Collection[Fault] | None = None,
    alpha: float = 0.5,
    beta: float = 1.0,
    gamma: float = 1.0,
    ramp: Ramp = "linear",
    guardrail: float = 0.15,
    bands: int | None = None,
    churn: float = 0.0,
) -> PublishedFans:
    """FANS with its published faults, all of them unless ``faults`` says which.

    Args:
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        size: (H, W) of the images.
        timesteps: T.
        release: ``"article"`` (flow matching) or ``"code"`` (DDPM with the cosine schedule). The sampler of
            either is the attribute ``sampler`` of what is returned.
        faults: names from ``FAULTS[release]``; ``()`` is the repaired method.
        alpha, beta, gamma, ramp: of the band weights, as in ``fans``.
        guardrail: share of the time axis with equal band powers, ``"article"`` only.
        bands: number of rings, 8 up to frequency 0.5 (article) or 5 up to the corner (code) unless given.
        churn: level of the sampler's noise, ``"article"`` only; the article does not state its own.

    Raises:
        ValueError: a fault that the release does not have.
    """
    known("release", release, get_args(Release))
    chosen = FAULTS[release] if faults is None else frozenset(faults)
    if not chosen <= FAULTS[release]:
        raise ValueError(f"faults={sorted(chosen)}: the {release} has {', '.join(sorted(FAULTS[release]))}")
    check_weights(alpha, beta, gamma, ramp, guardrail)
    score = partial(band_scores, alpha=alpha, beta=beta, gamma=gamma, ramp=ramp)
    if release == "article":
        rings = radial_bands(size, 8 if bands is None else bands, corners="cut")
        return _article(
            spectrum, rings, timesteps, chosen, score, guardrail, positive("churn", churn, zero=True)
        )
    rings = radial_bands(size, 5 if bands is None else bands)
    score = partial(
        score, beta=beta / len(rings.count)
    )  # the code's inverse-power weights have sum 1, not mean 1
    return _code(spectrum, rings, timesteps, chosen, score)


def fault_errors(
    spectrum: Spectrum,
    *,
    size: tuple[int, int],
    timesteps: int = 1000,
    release: Release = "article",
    churn: float = 0.5,
    bands: int = 8,
    **options: Any,
) -> dict[str, Tensor]:
    """What each published fault of FANS does to the spectrum of samples, with the exact denoiser.

    Args:
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        size: (H, W) of the images.
        timesteps: T, each of which is a step of the sampler.
        release: ``"article"`` or ``"code"``.
        churn: noise level of the article's sampler, without which the fault ``score`` costs nothing.
        bands: number of rings up to frequency 0.5 in which errors are averaged.
        options: of ``fans_as_published``, e.g. ``gamma``.

    Returns:
        Error in dB per band, (bands,), under ``"published"`` (all faults), ``"repaired"`` (none) and, for
        each fault, ``"only <fault>"`` and ``"without <fault>"``.
    """
    present = FAULTS[release]
    cases = {"published": present, "repaired": frozenset()}
    cases |= {f"only {fault}": frozenset({fault}) for fault in sorted(present)}
    cases |= {f"without {fault}": present - {fault} for fault in sorted(present)}
    grid = torch.arange(timesteps, -1, -1)
    rings = radial_bands(size, bands, corners="cut")
    data = band_sum(as_spectrum(spectrum, size), rings)
    errors = {}
    for case, faults in cases.items():
        process = fans_as_published(
            spectrum, size=size, timesteps=timesteps, release=release, faults=faults, churn=churn, **options
        )
        output = sampled_spectrum(process, spectrum, timesteps=grid, sampler=process.sampler, start="prior")
        errors[case] = decibel(band_sum(output, rings), data)
    return errors


def _article(
    spectrum: Spectrum,
    rings: Bands,
    timesteps: int,
    faults: frozenset[Fault],
    score: Callable[[Tensor, Tensor], Tensor],
    knee: float,
    churn: float,
) -> ArticleFans:
    fraction = band_fractions(rings)
    unshaped = torch.full_like(fraction, 1 / len(fraction)) if "guardrail" in faults else fraction
    # outside all bands the index is -1, which takes the last
    constants = map(
        Constant, (band_shares(spectrum, rings), fraction, unshaped, torch.from_numpy(rings.index))
    )
    shares_, fraction_, unshaped_, index_ = constants

    def levels(t: Tensor) -> tuple[Tensor, Tensor]:
        tau = 1 - t[..., 0] / timesteps  # (..., 1)
        shaped, plain = torch.softmax(score(shares_.like(t), tau), -1), unshaped_.like(t)
        mixed = plain + guard(tau, knee) * (shaped - plain)  # (..., B)
        a, s = rectified(t, timesteps)
        return a, s * (mixed / fraction_.like(t)).sqrt()[..., index_.like(t)]

    return ArticleFans("FANS (article)", rings.size, timesteps, levels, faults, churn)


def _code(
    spectrum: Spectrum,
    rings: Bands,
    timesteps: int,
    faults: frozenset[Fault],
    score: Callable[[Tensor, Tensor], Tensor],
) -> ReleasedFans:
    signal = cosine(torch.arange(timesteps + 1, dtype=torch.float64), timesteps, start=0.008 / 1.008).signal
    alpha = (signal[1:] / signal[:-1]).square().clamp(min=0.001)
    alpha_bar = Constant(torch.cat([alpha.new_ones(1), alpha.cumprod(0)]))
    shares, index = Constant(band_shares(spectrum, rings)), Constant(torch.from_numpy(rings.index))

    def levels(t: Tensor) -> tuple[Tensor, Tensor]:
        a, sigma = interpolated_log(alpha_bar.like(t), t)
        shaped = torch.softmax(
            score(shares.like(t), t[..., 0] / timesteps), -1
        )  # its ramp runs with the noise
        level = sigma.square() if "double_sigma" in faults else sigma
        return a, level * shaped.sqrt()[..., index.like(t)]

    return ReleasedFans("FANS (code)", rings.size, timesteps, levels, faults)
