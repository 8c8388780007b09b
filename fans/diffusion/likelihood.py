r"""A bound on the likelihood that can be compared between noises of different colour.

Along any path on which the signal-to-noise ratio :math:`\rho_t(w)` of no coefficient rises, the density of
the data obeys (Guo, Shamai and Verdú 2005; Kingma et al. 2021)

.. math:: -\mathrm E \log p(x_0) \le h_G - \frac12 \sum_w \int
    \Bigl(\frac{C}{1 + \rho C} - \mathrm E |x_0 - \hat x_0|^2\Bigr) \mathrm d\rho,

where :math:`h_G` is the entropy of a Gaussian field with the spectrum C of the data, for which the bracket is
zero with the exact denoiser. The bound is tight for the best denoiser. What is computed here is the second
term per dimension: *nats per dimension beyond the Gaussian field*, below zero for a model that knows more of
the data than their spectrum, above for one that knows less. Colours and schedules that end at other noise
levels are comparable, since the linear denoiser takes over where a path has not begun or has ended.
"""

from math import log10, prod
from typing import NamedTuple

import torch
from torch import Tensor

from fans.diffusion import Generators, Prediction, SpectralProcess, Spectrum
from fans.diffusion.sampling import Denoiser
from fans.diffusion.wiener import WienerDenoiser
from fans.spectrum import band_sum, radial_bands


class Bound(NamedTuple):
    """Nats per dimension beyond the Gaussian field, and its share from each band; the shares add up to it."""

    value: float
    error: float
    bands: Tensor


@torch.no_grad()
def bound(
    process: SpectralProcess,
    denoiser: Denoiser,
    images: Tensor,
    spectrum: Spectrum,
    *,
    generator: Generators,
    points: int = 40,
    prediction: Prediction = "v_prediction",
    bands: int = 8,
) -> Bound:
    """Nats per dimension by which the model's bound exceeds the entropy of a Gaussian field.

    The denoiser and the best linear one see the same noised images, and only the difference of their errors
    is integrated, by the trapezoidal rule over log rho: it is zero for the linear denoiser whatever the
    images, and scatters little.

    Args:
        process: noising process whose SNR rises nowhere (``process.check()`` is empty).
        denoiser: as for ``fans.diffusion.sampling.sample``.
        images: (N, C, H, W), held out, centred as in training.
        spectrum: power of the data per coefficient.
        generator: of the noise.
        points: about as many timesteps for the integral, half of them equally spaced from 1 to T, half
            with equal ratios, since the SNR of every schedule is steep near t = 0.
        prediction: what the denoiser returns.
        bands: number of rings of equal width that the sum is divided into.

    Returns:
        The bound, its standard error over images (the same noise levels are used for all), the shares.

    >>> from fans.diffusion import white
    >>> process, C = white(size=(8, 8)), torch.full((8, 5), 0.04)
    >>> x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 5
    >>> oracle = WienerDenoiser(process, C, "v_prediction")
    >>> round(bound(process, oracle, x, C, generator=torch.Generator().manual_seed(1)).value, 5)
    0.0
    """
    t = _grid(process.timesteps, points)
    excess = torch.stack(
        [_excess(process, denoiser, images, spectrum, int(u), generator, prediction) for u in t]
    )
    weight = process.snr(t).clamp(min=1e-300)  # rho, (P, h, w); zero signal at T counts nothing
    integrand = weight[:, None] * excess  # rho times the excess error, (P, N, H, W//2 + 1)
    distance = -weight.log().diff(dim=0)[:, None]
    usable = (weight[1:] > 1e-299)[:, None]
    trapezoid = torch.where(usable, (integrand[1:] + integrand[:-1]) / 2 * distance, 0.0).sum(0) / 2
    rings = radial_bands(process.size, bands)
    each = band_sum(trapezoid, rings) / prod(process.size)  # (N, B)
    total = each.sum(1)
    return Bound(float(total.mean()), float(total.std() / len(total) ** 0.5), each.mean(0))


def _grid(timesteps: int, points: int) -> Tensor:
    """Timesteps 1 ... T in order, int64."""
    even = torch.linspace(1, timesteps, points - points // 2, dtype=torch.float64)
    ratio = torch.logspace(0, log10(timesteps), points // 2, dtype=torch.float64)
    grid: Tensor = torch.unique(torch.cat([even, ratio]).round().long())
    return grid


def _excess(
    process: SpectralProcess,
    denoiser: Denoiser,
    images: Tensor,
    spectrum: Spectrum,
    t: int,
    generator: Generators,
    prediction: Prediction,
) -> Tensor:
    """Squared error of the denoiser less that of the best linear one, (N, H, W//2 + 1); mean of channels."""
    epsilon = process.white_noise(images.shape, generator, device=images.device)
    x_t = process.add_noise(images, epsilon, t)
    steps = torch.full((len(images),), t, device=images.device)
    linear = WienerDenoiser(process, spectrum, "sample")
    learned = process.predicted_sample(x_t, denoiser(x_t, steps), t, prediction)
    errors = (
        torch.fft.rfft2((estimate - images).cpu().double(), norm="ortho").abs().square().mean(1)
        for estimate in (learned, linear(x_t, t))
    )
    excess: Tensor = next(errors) - next(errors)
    return excess
