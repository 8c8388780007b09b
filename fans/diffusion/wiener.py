"""The best linear denoiser of a spectral process, and the exact spectrum that a sampler makes with it.

For data of power ``C(w)`` per coefficient, the best linear denoiser of ``x_t = a x_0 + s eps`` multiplies
each coefficient with Wiener's ``G = a C / (a^2 C + s^2)``; for Gaussian data it is the best denoiser of
all. A sampler that uses it is linear, so that the spectrum of its output follows from a recursion over its
steps, without any sampling. What samples of a network show beyond that is the network's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fans.diffusion.checks import Timestep, as_spectrum
from fans.diffusion.grids import check_grid
from fans.diffusion.plane import Spectrum, filtered, radius
from fans.diffusion.process import Prediction, SpectralProcess
from fans.diffusion.samplers import SamplerLike, Stages, combined, resolve, stacked, with_gains
from fans.spectrum import decibel

_BLOCK = 64  # steps whose levels are held at once


def _quotient(numerator: Tensor, power: Tensor) -> Tensor:
    """Zero where x_t has no power at all."""
    return torch.where(power > 0, numerator / power, 0.0)


def reconstruction_filter(process: SpectralProcess, spectrum: Spectrum, t: Timestep) -> Tensor:
    """G, which estimates the image from x_t: ``a C / (a^2 C + s^2)``, shape ``(*t.shape, H, W//2 + 1)``.

    >>> from fans.diffusion import white
    >>> round(reconstruction_filter(white(size=(4, 4)), torch.ones(4, 3), 500)[0, 0].item(), 9)
    0.707106781
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
    sampler: SamplerLike = "ddim",
    start: Literal["marginal", "prior"] | Tensor = "marginal",
) -> Tensor:
    """Exact expected spectrum of samples drawn with the exact denoiser, by any sampler.

    A step ``x_s = A x_t + B x0_hat + S n`` with ``x0_hat = G x_t`` changes the power by
    ``P_s = (A + B G)^2 P_t + S^2``; for multi-step methods see ``carried``.

    Args:
        process: noising process.
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        timesteps: descending grid, T ... 0.
        sampler: as for ``fans.diffusion.sampling.sample``.
        start: power of the first state: ``"marginal"`` is that of x_T, ``"prior"`` the practical ``s_T^2``;
            or power per coefficient, (..., H, W//2 + 1), e.g. of given images.

    Returns:
        float64 of shape (H, W//2 + 1), or that of ``start``.

    >>> from fans.diffusion import white
    >>> power = sampled_spectrum(white(size=(4, 4)), torch.ones(4, 3), timesteps=[1000, 500, 0])
    >>> round(float(power[0, 0]), 3)  # cos(pi/4)^4
    0.25
    """
    if isinstance(start, Tensor):
        power = start.to(torch.float64)
    elif start == "prior":
        power = process.prior_power()
    elif start == "marginal":
        power = process.power(process.timesteps, spectrum)
    else:
        raise ValueError(f"start={start!r}: must be 'marginal', 'prior' or a tensor of power per coefficient")
    plan = resolve(sampler, spectrum).plan(process, timesteps)
    return carried(plan, lambda t: reconstruction_filter(process, spectrum, t), power)


def carried(plan: Iterable[Stages], gain: Callable[[Tensor], Tensor], power: Tensor) -> Tensor:
    """Power of the last state of a plan, if every estimate is ``g x`` with a known gain g.

    With ``F_i = A_i + B_i g_{k-i}``, stage k gives ``x_{k+1} = sum_i F_i x_{k-i} + S n``, so that the second
    moments of the last few states follow from one another, exactly:

        E x_{k+1} x_{k-j} = sum_i F_i E x_{k-i} x_{k-j},
        E x_{k+1}^2 = sum_ij F_i F_j E x_{k-i} x_{k-j} + S^2.

    Args:
        plan: of a sampler.
        gain: from the times (K,) of stages to g, (K, H, W//2 + 1); called with all stages in order.
        power: of the first state per coefficient, (..., H, W//2 + 1).
    """
    moments: Tensor | None = None  # E x_{k-i} x_{k-j}, (n, n, ..., H, W//2 + 1)
    for block, gains in with_gains(plan, lambda t: gain(t)[None]):
        F = stacked(combined(block, [g[0] for g in gains]), 1)  # (K, n, H, W//2 + 1)
        added = torch.zeros(len(F), 1, 1) if block.noise is None else block.noise.square()
        if moments is None:
            first = power + torch.zeros_like(F[0, 0])
            moments = first.new_zeros(F.shape[1], F.shape[1], *first.shape)
            moments[0, 0] = first
        for factors, extra in zip(F, added, strict=True):
            moments = _advanced(moments, factors, extra)
    assert moments is not None  # a grid has a step at least
    return moments[0, 0]


def _advanced(moments: Tensor, factors: Tensor, extra: Tensor) -> Tensor:
    """Second moments one stage later."""
    weight = factors.reshape(len(factors), *[1] * (moments.ndim - 4), *factors.shape[1:])
    with_new = (weight[:, None] * moments).sum(0)  # E x_{k+1} x_{k-j}
    power = (weight * with_new).sum(0) + extra
    if len(moments) == 1:
        return power[None, None]
    advanced = torch.empty_like(moments)
    advanced[0, 0], advanced[1:, 1:] = power, moments[:-1, :-1]
    advanced[0, 1:] = advanced[1:, 0] = with_new[:-1]
    return advanced


def cosine_law(process: SpectralProcess, spectrum: Spectrum, timesteps: Sequence[int] | Tensor) -> Tensor:
    """DDIM's output power over the data's, ``prod_k cos^2(theta_k - theta_{k+1})``.

    ``tan theta = s / (a sqrt C)``. It is computed from
    ``cos(theta_t - theta_s) = (a_t a_s C + s_t s_s) / sqrt(P_t P_s)``, in which nothing cancels. NaN where
    the data have no power.
    """
    grid = check_grid(process, timesteps)
    log_ratio = torch.zeros((), dtype=torch.float64)
    for t, s in zip(torch.split(grid[:-1], _BLOCK), torch.split(grid[1:], _BLOCK), strict=True):
        mixed = process.signal(t) * process.signal(s) * as_spectrum(spectrum, process.size)
        mixed = (mixed + process.noise(t) * process.noise(s)).square()
        log_ratio = log_ratio + (mixed / process.power(t, spectrum) / process.power(s, spectrum)).log().sum(0)
    return log_ratio.exp()


def prior_cost(
    process: SpectralProcess,
    spectrum: Spectrum,
    *,
    timesteps: Sequence[int] | Tensor,
    sampler: SamplerLike = "ddim",
) -> Tensor:
    """What starting from the practical prior instead of x_T's own distribution does to the output, in dB.

    ``ddim`` remembers its start and shows the full cost; ``ancestral`` forgets most of it.
    """
    practical, exact = (
        sampled_spectrum(process, spectrum, timesteps=timesteps, sampler=sampler, start=start)
        for start in ("prior", "marginal")
    )
    cost: Tensor = decibel(practical, exact)
    return cost
