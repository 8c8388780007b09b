"""The best linear denoiser of a spectral process, and the exact spectrum that a sampler makes with it.

For data of power ``C(w)`` per coefficient, the best linear denoiser of ``x_t = a x_0 + s eps`` multiplies
each coefficient with Wiener's ``G = a C / (a^2 C + s^2)``; for Gaussian data it is the best denoiser of
all. A sampler that uses it is linear, so that the spectrum of its output follows from a recursion over its
steps, without any sampling. What samples of a network show beyond that is the network's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fans.diffusion import (
    FAULTS,
    Method,
    Prediction,
    Release,
    SpectralProcess,
    Spectrum,
    Timestep,
    as_spectrum,
    fans_as_published,
    filtered,
    radius,
)
from fans.diffusion.sampling import blocks, check_grid
from fans.spectrum import bands as partition
from fans.spectrum import multiplicity


def _quotient(numerator: Tensor, power: Tensor) -> Tensor:
    """Zero where x_t has no power at all."""
    return torch.where(power > 0, numerator / power, 0.0)


def reconstruction_filter(process: SpectralProcess, spectrum: Spectrum, t: Timestep) -> Tensor:
    """G, which estimates the image from x_t: ``a C / (a^2 C + s^2)``, shape ``(*t.shape, H, W//2 + 1)``.

    >>> from fans.diffusion import white
    >>> reconstruction_filter(white(size=(4, 4)), torch.ones(4, 3), 500).unique().tolist() == [0.5**0.5]
    True
    """
    return _quotient(process.signal(t) * as_spectrum(spectrum, process.size), process.power(t, spectrum))


def noise_filter(process: SpectralProcess, spectrum: Spectrum, t: Timestep) -> Tensor:
    """H, which estimates the white noise eps from x_t: ``s / (a^2 C + s^2) = (1 - a G) / s``."""
    return _quotient(process.noise(t), process.power(t, spectrum))


def denoised_spectrum(process: SpectralProcess, spectrum: Spectrum, t: Timestep) -> Tensor:
    """Expected power of the denoised image, ``G^2 (a^2 C + s^2) = C a^2 C / (a^2 C + s^2)``; at most C."""
    return reconstruction_filter(process, spectrum, t).square() * process.power(t, spectrum)


def crossover(process: SpectralProcess, spectrum: Spectrum, t: Timestep) -> Tensor:
    """Highest radial frequency (cycles per pixel) with ``a^2 C >= s^2``, or 0; of the shape of t."""
    above = process.snr(t, spectrum) >= 1
    return torch.where(above, radius(process.size), 0.0).amax((-2, -1))


def decibel(power: Tensor, reference: Tensor) -> Tensor:
    """``10 log10(power / reference)``; NaN where the reference is zero."""
    return 10 * torch.log10(power / torch.where(reference > 0, reference, torch.nan))


@dataclass(frozen=True)
class WienerDenoiser:
    """The exact denoiser as a function of images and timesteps, in place of a network.

    Attributes:
        process: noising process.
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        prediction: what it returns, as for ``fans.diffusion.sampling.sample``.

    >>> from fans.diffusion import white
    >>> WienerDenoiser(white(size=(4, 4)), torch.ones(4, 3))(torch.ones(1, 1, 4, 4), 1000).abs().max().item()
    0.0
    """

    process: SpectralProcess
    spectrum: Spectrum
    prediction: Prediction = "sample"

    def __call__(self, x_t: Tensor, t: Timestep) -> Tensor:
        """Predict from images (..., H, W) at timestep t, one for all or one per image."""
        c, d = self.process.mixture(t, self.prediction)
        estimate = c * reconstruction_filter(self.process, self.spectrum, t)
        return filtered(x_t, estimate + d * noise_filter(self.process, self.spectrum, t))


def sampled_spectrum(
    process: SpectralProcess,
    spectrum: Spectrum,
    *,
    timesteps: Sequence[int] | Tensor,
    method: Method = "ddim",
    start: Literal["marginal", "prior"] | Tensor = "marginal",
    eta: float = 1.0,
) -> Tensor:
    """Exact expected spectrum of samples drawn with the exact denoiser.

    A step ``x_s = A x0_hat + B x_t + S n`` with ``x0_hat = G x_t`` changes the power by
    ``P_s = (A G + B)^2 P_t + S^2``.

    Args:
        process: noising process.
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        timesteps: descending grid, T ... 0.
        method, eta: sampler, as for ``fans.diffusion.sampling.sample``.
        start: power of the first state: ``"marginal"`` is that of x_T, ``"prior"`` the practical ``s_T^2``;
            or power per coefficient, (..., H, W//2 + 1), e.g. of given images.

    Returns:
        float64 of shape (H, W//2 + 1), or that of ``start``.

    >>> from fans.diffusion import white
    >>> power = sampled_spectrum(white(size=(4, 4)), torch.ones(4, 3), timesteps=[1000, 500, 0])
    >>> round(float(power[0, 0]), 3)  # cos(pi/4)^4
    0.25
    """
    grid = check_grid(process, timesteps)
    if isinstance(start, Tensor):
        power = start.to(torch.float64)
    elif start == "prior":
        power = process.prior_power()
    elif start == "marginal":
        power = process.power(process.timesteps, spectrum)
    else:
        raise ValueError(f"start={start!r}: must be 'marginal', 'prior' or a tensor of power per coefficient")
    for t, s in blocks(grid):
        factors, added = _linear_steps(process, spectrum, t, s, method, eta)
        for factor, extra in zip(factors, added, strict=True):
            power = factor.square() * power + extra
    return power


def _linear_steps(
    process: SpectralProcess, spectrum: Spectrum, t: Tensor, s: Tensor, method: Method, eta: float
) -> tuple[Tensor, Tensor]:
    """Factor on the state and power added, each (K, H, W//2 + 1), for steps from t to s, (K,)."""
    first: Method = "euler" if method == "heun" else method
    step = process.transition(t, s, method=first, eta=eta, spectrum=spectrum)
    factor = step.sample * reconstruction_filter(process, spectrum, t) + step.state
    if method == "heun":
        again = process.euler(s.clamp(min=1), s - t)
        second = again.sample * reconstruction_filter(process, spectrum, s) + again.state
        factor = torch.where(s[:, None, None] > 0, (1 + second * factor) / 2, factor)
    return factor, step.noise.square().expand_as(factor)


def cosine_law(process: SpectralProcess, spectrum: Spectrum, timesteps: Sequence[int] | Tensor) -> Tensor:
    """DDIM's output power over the data's, ``prod_k cos^2(theta_k - theta_{k+1})``.

    ``tan theta = s / (a sqrt C)``. It is computed from
    ``cos(theta_t - theta_s) = (a_t a_s C + s_t s_s) / sqrt(P_t P_s)``, in which nothing cancels. NaN where
    the data have no power.
    """
    grid = check_grid(process, timesteps)
    log_ratio = torch.zeros((), dtype=torch.float64)
    for t, s in blocks(grid):
        mixed = process.signal(t) * process.signal(s) * as_spectrum(spectrum, process.size)
        mixed = (mixed + process.noise(t) * process.noise(s)).square()
        log_ratio = log_ratio + (mixed / process.power(t, spectrum) / process.power(s, spectrum)).log().sum(0)
    return log_ratio.exp()


def prior_cost(
    process: SpectralProcess,
    spectrum: Spectrum,
    *,
    timesteps: Sequence[int] | Tensor,
    method: Method = "ddim",
    eta: float = 1.0,
) -> Tensor:
    """What starting from the practical prior instead of x_T's own distribution does to the output, in dB.

    ``ddim`` remembers its start and shows the full cost; ``ancestral`` forgets most of it.
    """
    practical, exact = (
        sampled_spectrum(process, spectrum, timesteps=timesteps, method=method, start=start, eta=eta)
        for start in ("prior", "marginal")
    )
    return decibel(practical, exact)


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
    method: Method = "euler" if release == "article" else "ancestral"
    grid = torch.arange(timesteps, -1, -1)
    rings = partition(size, bands, corners="cut")
    member = torch.from_numpy(rings.index) == torch.arange(bands)[:, None, None]
    weight = member * torch.tensor(multiplicity(size))  # (bands, H, W//2 + 1)
    data = (weight * as_spectrum(spectrum, size)).sum((1, 2))
    errors = {}
    for case, faults in cases.items():
        process = fans_as_published(
            spectrum, size=size, timesteps=timesteps, release=release, faults=faults, churn=churn, **options
        )
        output = sampled_spectrum(process, spectrum, timesteps=grid, method=method, start="prior")
        errors[case] = decibel((weight * output).sum((1, 2)), data)
    return errors
