r"""The best denoiser of data that are not Gaussian: images, each of one of several Gaussian fields.

An image is drawn from component k with probability ``p_k``; its coefficients are then Gaussian with power
``C_k(w)``. What was noised says which component it may be of,

.. math:: \pi_k(x_t) \propto p_k \prod_w P_k(w)^{-1/2} e^{-|x_t(w)|^2 / 2 P_k(w)}, \qquad
    P_k = a_t^2 C_k + s_t^2,

and the posterior mean is the mean of the components' Wiener filters with these weights. It is exact, needs
no training, and is not linear: a filter that adapts to each image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from fans.diffusion.checks import Timestep, as_spectrum
from fans.diffusion.plane import filtered
from fans.diffusion.process import Prediction, SpectralProcess
from fans.spectrum import multiplicity


def log_likelihood(x: Tensor, power: Tensor) -> Tensor:
    """Log density of images under Gaussian fields, up to one constant; (B, K).

    Coefficients at which no field has power are left out.

    Args:
        x: images (B, ..., H, W); everything between the first and the last two axes is independent.
        power: of each field per coefficient, (K, H, W//2 + 1), float64.

    >>> power = torch.ones(2, 4, 3).double() * torch.tensor([1.0, 4.0])[:, None, None]
    >>> log_likelihood(torch.full((1, 4, 4), 2.0), power).argmax().item()
    1
    """
    size = (x.shape[-2], x.shape[-1])
    count = torch.tensor(multiplicity(size), dtype=torch.float64)
    seen = power.amax(0) > 0
    energy = torch.fft.rfft2(x.cpu().double(), norm="ortho").abs().square()
    energy = energy.reshape(len(x), -1, *energy.shape[-2:])  # (B, C, H, W//2 + 1)
    weighted = (energy.sum(1) * count)[:, seen]
    spent = weighted @ power[:, seen].reciprocal().T
    volume = (count[seen] * power[:, seen].log()).sum(1)
    score: Tensor = -(spent + energy.shape[1] * volume) / 2
    return score


@dataclass(frozen=True, eq=False)
class MixtureDenoiser:
    """The exact denoiser of a mixture of Gaussian fields, in place of a network.

    Attributes:
        process: noising process.
        spectra: power of each component per coefficient, (K, H, W//2 + 1).
        weights: probability of each component, (K,); equal by default.
        prediction: what it returns, as for ``fans.diffusion.sampling.sample``.

    Raises:
        ValueError: spectra or weights that are none.

    >>> from fans.diffusion import white
    >>> C = torch.ones(2, 8, 5) * torch.tensor([0.1, 1.0])[:, None, None]
    >>> bayes = MixtureDenoiser(white(size=(8, 8)), C)
    >>> bayes.responsibilities(torch.zeros(1, 1, 8, 8), 200).argmax().item()
    0
    >>> bayes(torch.ones(3, 1, 8, 8), 500).shape
    torch.Size([3, 1, 8, 8])
    """

    process: SpectralProcess
    spectra: Tensor
    weights: Tensor | None = field(default=None)
    prediction: Prediction = "sample"

    def __post_init__(self) -> None:
        size = self.process.size
        components = [as_spectrum(spectrum, size) for spectrum in self.spectra]
        object.__setattr__(self, "spectra", torch.stack(components))
        given = torch.ones(len(components)) if self.weights is None else torch.as_tensor(self.weights)
        weights = given.double()
        if weights.shape != (len(components),) or not (weights > 0).all() or not weights.isfinite().all():
            raise ValueError(
                f"weights={given.tolist()}: {len(components)} spectra need as many positive weights"
            )
        object.__setattr__(self, "weights", weights / weights.sum())

    @property
    def spectrum(self) -> Tensor:
        """Mean power of the data per coefficient, (H, W//2 + 1)."""
        mean: Tensor = torch.tensordot(self._weights, self.spectra, 1)
        return mean

    def responsibilities(self, x_t: Tensor, t: Timestep) -> Tensor:
        """Probability of each component given x_t, float64 (B, K); at t = 0 it classifies clean images.

        Args:
            x_t: images (B, ..., H, W).
            t: timestep, one for all or one per image.
        """
        return self._each_time(x_t, t, self._posterior)

    def __call__(self, x_t: Tensor, t: Timestep) -> Tensor:
        """Predict from images (B, ..., H, W) at timestep t > 0, one for all or one per image."""
        return self._each_time(x_t, t, self._predict)

    @cached_property
    def _weights(self) -> Tensor:
        return torch.as_tensor(self.weights)

    def _powers(self, t: int) -> Tensor:
        """Power of x_t for each component, (K, H, W//2 + 1)."""
        return self.process.signal(t).square() * self.spectra + self.process.noise(t).square()

    def _posterior(self, x_t: Tensor, t: int) -> Tensor:
        odds = log_likelihood(x_t, self._powers(t)) + self._weights.log()
        return odds.softmax(1)

    def _predict(self, x_t: Tensor, t: int) -> Tensor:
        c, d = self.process.mixture(t, self.prediction)
        estimate = c * self.process.signal(t) * self.spectra + d * self.process.noise(t)
        gains: Tensor = estimate / self._powers(t)  # (K, H, W//2 + 1)
        mean: Tensor = torch.tensordot(self._posterior(x_t, t), gains, 1)  # (B, H, W//2 + 1)
        return filtered(x_t, mean)

    def _each_time(self, x_t: Tensor, t: Timestep, f: Callable[[Tensor, int], Tensor]) -> Tensor:
        """``f`` of all images if they share a timestep, else of each."""
        times = torch.as_tensor(t, device="cpu").reshape(-1)
        if (times == times[0]).all():
            return f(x_t, int(times[0]))
        return torch.cat([f(x, int(time)) for x, time in zip(torch.split(x_t, 1), times, strict=True)])
