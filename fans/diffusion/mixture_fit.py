"""A mixture of Gaussian fields fitted to images: what a perfect denoiser would know of them, and no more."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fans._validation import whole
from fans.diffusion.mixtures import log_likelihood
from fans.spectrum import multiplicity

PRIOR_IMAGES = (
    4.0  # weight of a component's rescaled mean spectrum, so that no small component loses a frequency
)

FAINTEST = 1e-5  # contrast of a component: photographs have patches of one value


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture, its components in the order of their power.

    Attributes:
        spectra: power of each component per coefficient, (K, H, W//2 + 1).
        weights: probability of each, (K,).
        contrasts: power of each over the mean's, zero frequency left out, whitened by the mean; (K,).
        spectrum: mean power of the images, (H, W//2 + 1).
    """

    spectra: Tensor
    weights: Tensor
    contrasts: Tensor
    spectrum: Tensor

    def log_density(self, images: Tensor) -> Tensor:
        """Log density of each image per pixel and channel, up to a constant of the size; (N,)."""
        odds = log_likelihood(images, self.spectra) + self.weights.log()
        values: Tensor = odds.logsumexp(1) / images[0].numel()
        return values


def fit_mixture(
    images: Tensor, components: int = 8, *, shared: bool = False, iterations: int = 60
) -> Mixture:
    """Fit spectra and weights by expectation and maximisation, from groups of equal whitened energy.

    Args:
        images: (N, C, H, W), of mean 0 over the set.
        components: number K.
        shared: whether components differ in contrast only, ``C_k = c_k C``; the power at zero frequency,
            which is brightness, is then common to all.
        iterations: of the algorithm.

    Raises:
        ValueError: fewer than ten images for a component, images not (N, C, H, W).

    >>> fit = fit_mixture(torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)), 1)
    >>> fit.contrasts.round(decimals=6).tolist(), fit.weights.tolist()
    ([1.0], [1.0])
    """
    components = whole("components", components, low=1)
    if images.ndim != 4 or len(images) < 10 * components:
        raise ValueError(
            f"images have shape {tuple(images.shape)}: need (N, C, H, W) with ten images or more for each of"
            f" {components} components"
        )
    energy = torch.fft.rfft2(images.double(), norm="ortho").abs().square().mean(1)  # (N, H, W//2 + 1)
    mean = energy.mean(0)
    count = torch.tensor(multiplicity((images.shape[-2], images.shape[-1])), dtype=torch.float64)
    count[0, 0] = 0
    seen = (count > 0) & (mean > 0)
    level = (energy[:, seen] / mean[seen]) @ (count[seen] / count[seen].sum())  # (N,)
    group = level.argsort().argsort() * components // len(level)
    share = torch.nn.functional.one_hot(group, components).double()
    for _ in range(iterations if components > 1 else 1):
        weights, contrasts, spectra = _maximise(share, level, energy, mean, shared)
        share = (log_likelihood(images, spectra) + weights.log()).softmax(1)
    order = contrasts.argsort()
    return Mixture(spectra[order], weights[order], contrasts[order], mean)


def _maximise(
    share: Tensor, level: Tensor, energy: Tensor, mean: Tensor, shared: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, contrasts and spectra for given shares of each image in each component, (N, K)."""
    images = share.sum(0)
    contrasts = ((share.T @ level) / images).clamp(min=FAINTEST)
    spectra = contrasts[:, None, None] * mean
    spectra[:, 0, 0] = mean[0, 0]
    if not shared:
        total = torch.tensordot(share.T, energy, 1)
        spectra = (total + PRIOR_IMAGES * spectra) / (images + PRIOR_IMAGES)[:, None, None]
    return (images / images.sum()).clamp(min=1e-12), contrasts, spectra
