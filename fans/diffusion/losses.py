"""Training losses of spectral diffusion: a weight over time and frequency, and a squared error.

A network predicts ``p = c x_0 + d eps`` (``SpectralProcess.mixture``). Every loss here is the mean over
timesteps, images and coefficients of ``w_t(f) |p_hat - p|^2``; they differ in the function w alone. Errors of
the prediction, the image and the white noise are multiples of each other, so that each loss exists for every
prediction:

>>> from fans.diffusion import white
>>> both = [weights(white(size=(8, 8)), "whitened", kind) for kind in ("epsilon", "sample")]
>>> [round(weight.rows(500).item(), 6) for weight in both]  # at a = s the errors are equal
[1.0, 1.0]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fans._validation import known
from fans.diffusion.checks import Timestep, as_spectrum, as_time, check_images
from fans.diffusion.digests import digest
from fans.diffusion.plane import Constant, Spectrum, at_least_single, like, plane_mean, plane_sum
from fans.diffusion.process import Prediction, SpectralProcess, inversion, prediction_parts
from fans.diffusion.schedules import interpolated

Loss = Literal["flat", "whitened", "velocity", "whitened_velocity", "elbo", "unit"]
Importance = Literal["uniform", "wiener"]
_EXPLORED = 0.1  # share of timesteps that "wiener" draws uniformly, so that no weight exceeds 1 / _EXPLORED


@dataclass(frozen=True, eq=False)
class Weights:
    """The weight w_t(f) of a loss, computed for the timesteps asked for.

    Attributes:
        process: noising process.
        formula: from times, float of shape (B, 1, 1), 0 < t <= T, to weights (B, H, W//2 + 1) or (B, 1, 1).
        config: what it is, for JSON.
    """

    process: SpectralProcess
    formula: Callable[[Tensor], Tensor] = field(repr=False)
    config: Mapping[str, Any]

    def rows(
        self, t: Timestep, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Tensor:
        """The weights at times t, ``(*t.shape, H, W//2 + 1)``, or ``(*t.shape, 1, 1)`` without colour; t > 0.

        Args:
            t: number, or tensor of any shape, on any device.
            dtype: of the weights; they are computed in float64.
            device: where they are computed.
        """
        time = as_time(t, self.process.timesteps, noisy=True).to(device)
        return self.formula(time[..., None, None]).to(dtype)

    def table(self) -> Tensor:
        """All of them, float64 (T + 1, H, W//2 + 1) or (T + 1, 1, 1); row 0 is 0."""
        rows = self.rows(torch.arange(1, self.process.timesteps + 1))
        return torch.cat([torch.zeros_like(rows[:1]), rows])


def weights(
    process: SpectralProcess, loss: Loss, kind: Prediction, *, spectrum: Spectrum | None = None
) -> Weights:
    """The weight w that defines a loss, on the squared error of the prediction.

    - ``flat``: 1, the error of what is predicted.
    - ``whitened``: the error of the white noise eps, ``(a / (d a - c s))^2``; flat for ``epsilon``.
    - ``velocity``: the error of the image over the mean power of the noise,
      ``|x_0 - x0_hat|^2 / mean_f s^2``: that of the velocity of a straight path, ``x_0`` less noise, flat in
      pixels. FANS trains with it.
    - ``whitened_velocity``: the same over the noise power of each frequency, ``|x_0 - x0_hat|^2 / s^2``: flat
      where the noise is white, EqualSNR's division by the data's spectrum.
    - ``elbo``: the evidence bound. ``SpectralProcess.elbo_weight`` on the error of the image, times T - 1, so
      that the mean over t = 2 ... T is the sum of the bound's terms, in nats per dimension. The term t = 1
      is that of reconstruction, and has weight 0.
    - ``unit``: divided by ``residual_power``: the best linear denoiser costs 1 at every t and f, and so does
      a preconditioned network that has learned nothing.

    Args:
        process: noising process.
        loss: one of the above.
        kind: what the network predicts.
        spectrum: power of the data per coefficient, positive; needed by ``unit``.

    Raises:
        ValueError: unknown loss or kind, no spectrum, or a loss of the image where the prediction does not
            determine it.
    """
    known("loss", loss, get_args(Loss))
    known("prediction", kind, get_args(Prediction))
    if loss in ("velocity", "whitened_velocity", "elbo"):
        process.inversion(process.timesteps, kind)
    config: dict[str, Any] = {"loss": loss, "prediction": kind}
    if loss != "unit":
        return Weights(process, _formula(process, loss, kind, None), config)
    if spectrum is None:
        raise ValueError("loss='unit' needs spectrum=, the power of the data per coefficient")
    data = as_spectrum(spectrum, process.size, positive=True)
    return Weights(process, _formula(process, loss, kind, data), config | {"spectrum": digest(data)})


def _formula(
    process: SpectralProcess, loss: Loss, kind: Prediction, spectrum: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """The weights of ``weights`` as a function of time."""
    size, last = process.size, process.timesteps

    def levels(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, s = process.formula(t)
        return a, s, *prediction_parts(a, s, kind, size)

    def whitened(t: Tensor) -> Tensor:
        a, s, c, d = levels(t)
        return torch.where(c == 0, 1 / d, a / (d * a - c * s)).square()  # 1/d even where a is 0

    def of_image(t: Tensor) -> Tensor:
        return inversion(*levels(t))[1].square()

    def velocity(t: Tensor) -> Tensor:
        return of_image(t) / plane_mean(process.formula(t)[1].square(), size)

    def elbo(t: Tensor) -> Tensor:
        before, now = ((a / s).square() for a, s in map(process.formula, ((t - 1).clamp(min=0), t)))
        return torch.where(t > 1, (last - 1) * (before - now) / 2 * of_image(t), 0.0)

    def unit(t: Tensor) -> Tensor:
        return 1 / residual(*levels(t), data.like(t))

    data = Constant(torch.ones(1, 1) if spectrum is None else spectrum)
    formulas: dict[str, Callable[[Tensor], Tensor]] = {
        "flat": torch.ones_like,
        "whitened": whitened,
        "velocity": velocity,
        "whitened_velocity": lambda t: of_image(t) / process.formula(t)[1].square(),
        "elbo": elbo,
        "unit": unit,
    }
    return formulas[loss]


def as_weights(weight: Tensor | Weights, process: SpectralProcess) -> Weights:
    """Weights of your own: a table (T + 1, H, W//2 + 1) or (T + 1, 1, 1), if it fits the process.

    Row 0 is not used. Between whole timesteps rows are interpolated linearly; before t = 1 they are row 1.

    Raises:
        TypeError: no table of real numbers.
        ValueError: another shape, or values that are negative, not finite, or zero throughout; or weights of
            another process.
    """
    if isinstance(weight, Weights):
        if weight.process is not process and weight.process.digest() != process.digest():
            raise ValueError(
                f"these weights are of process {weight.process.name!r}: make them for {process.name!r}"
            )
        return weight
    if not isinstance(weight, Tensor) or weight.is_complex() or weight.dtype == torch.bool:
        raise TypeError(f"weight={weight!r}: must be a table of real numbers, or what losses.weights returns")
    plane = (process.size[0], process.size[1] // 2 + 1)
    rows = process.timesteps + 1
    if weight.shape not in ((rows, *plane), (rows, 1, 1)):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}: must be (T + 1, H, W//2 + 1) = {(rows, *plane)}, or"
            f" {(rows, 1, 1)} if equal at all frequencies; row 0 is not used"
        )
    used = weight[1:].detach().to("cpu", torch.float64).clone()
    if not used.isfinite().all() or (used < 0).any() or not used.any():
        raise ValueError("weight must be finite, not negative, and positive somewhere in rows 1 ... T")
    table = Constant(used)
    config = {"loss": "custom", "table": digest(used)}
    return Weights(process, lambda t: interpolated(table.like(t), (t[..., 0, 0] - 1).clamp(min=0)), config)


def residual_power(process: SpectralProcess, spectrum: Spectrum, t: Timestep, kind: Prediction) -> Tensor:
    """Power of a prediction that the best linear denoiser leaves, ``C (d a - c s)^2 / (a^2 C + s^2)``; t > 0.

    >>> from fans.diffusion import white
    >>> left = residual_power(white(size=(4, 4)), torch.ones(4, 3), 500, "sample")
    >>> round(left.mean().item(), 6)
    0.5
    """
    a, s = process.at(as_time(t, process.timesteps, noisy=True))
    return residual(a, s, *prediction_parts(a, s, kind, process.size), as_spectrum(spectrum, process.size))


def residual(a: Tensor, s: Tensor, c: Tensor, d: Tensor, spectrum: Tensor) -> Tensor:
    """``residual_power`` from levels, mixture and spectrum."""
    return spectrum * (d * a - c * s).square() / (a.square() * spectrum + s.square())


def weighted_error(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over channels and coefficients of ``w |E|^2`` per image, by Parseval: at most one FFT.

    Args:
        error: images (B, C, H, W).
        weight: (B, H, W//2 + 1), or (B, 1, 1), which needs no FFT.

    Returns:
        Shape (B,), in float32 for errors of half precision, whose squares would overflow.

    >>> error = torch.randn(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    >>> by_fft = weighted_error(error, torch.ones(2, 6, 3))
    >>> bool(torch.allclose(by_fft, error.square().mean((1, 2, 3))))
    True
    """
    error = at_least_single(error)
    weight = weight.to(error.device, error.dtype)
    if weight.shape[-2:] == (1, 1):
        return error.square().mean((1, 2, 3)) * weight[:, 0, 0]
    spectrum = torch.view_as_real(torch.fft.rfft2(error, norm="ortho"))
    power = spectrum.square().sum(-1).mean(1)  # (B, H, W//2 + 1)
    size = (error.shape[-2], error.shape[-1])
    return plane_sum(power * weight, size) / (size[0] * size[1])


def noised(
    process: SpectralProcess, x_0: Tensor, epsilon: Tensor, t: Tensor, kind: Prediction
) -> tuple[Tensor, Tensor]:
    """``add_noise`` and ``target`` at once, with four FFTs instead of eight; none without colour."""
    time = as_time(t, process.timesteps, noisy=True)
    for label, x in (("x_0", x_0), ("epsilon", epsilon)):
        check_images(label, x, process.size, time)
    a, s = process.at(time, device=x_0.device)
    levels = (a, s, *prediction_parts(a, s, kind, process.size))
    image, noise = at_least_single(x_0), at_least_single(epsilon)
    a, s, c, d = (like(level, image) for level in levels)
    if process.is_white:
        return (a * image + s * noise).to(x_0.dtype), (c * image + d * noise).to(x_0.dtype)
    image, noise = (torch.fft.rfft2(x, norm="ortho") for x in (image, noise))
    both = torch.stack([a * image + s * noise, c * image + d * noise])
    x_t, target = torch.fft.irfft2(both, s=process.size, norm="ortho").to(x_0.dtype)
    return x_t, target


def wiener_loss(process: SpectralProcess, spectrum: Spectrum, kind: Prediction, weight: Weights) -> Tensor:
    """Expected loss of the best linear denoiser per timestep; for Gaussian data no denoiser does better.

    Args:
        process: noising process.
        spectrum: power of the data per coefficient.
        kind: what is predicted.
        weight: from ``weights`` or ``as_weights``.

    Returns:
        float64 of shape (T + 1,), 0 at t = 0.

    >>> from fans.diffusion import white
    >>> process, C = white(size=(8, 8)), torch.ones(8, 5)
    >>> unit = weights(process, "unit", "sample", spectrum=C)
    >>> float(wiener_loss(process, C, "sample", unit)[1:].mean())
    1.0
    """
    means = [
        plane_mean(residual_power(process, spectrum, t, kind) * weight.rows(t), process.size)[:, 0, 0]
        for t in process.blocks(first=1)
    ]
    return torch.cat([torch.zeros(1, dtype=torch.float64), *means])


def timestep_probability(
    process: SpectralProcess,
    weight: Weights,
    importance: Importance,
    kind: Prediction,
    spectrum: Spectrum | None = None,
) -> Tensor:
    """How often training draws each timestep, float64 of shape (T + 1,).

    ``uniform`` draws those with any weight equally often. ``wiener`` draws them in proportion to the loss of
    the best linear denoiser there, one in ten uniformly, and training divides by the probability: the same
    expected loss with less scatter.
    """
    known("importance", importance, get_args(Importance))
    some = [(weight.rows(t) > 0).flatten(1).any(1) for t in process.blocks(first=1)]
    allowed = torch.cat([torch.zeros(1, dtype=torch.bool), *some]).to(torch.float64)
    uniform = allowed / allowed.sum()
    if importance == "uniform":
        return uniform
    if spectrum is None:
        raise ValueError("importance='wiener' needs spectrum=, the power of the data per coefficient")
    expected = wiener_loss(process, spectrum, kind, weight)
    return (1 - _EXPLORED) * expected / expected.sum() + _EXPLORED * uniform


def correction(probability: Tensor) -> Tensor:
    """What the loss is multiplied with for a timestep drawn so often: uniform probability over drawn."""
    drawn = probability > 0
    return torch.where(drawn, 1 / (probability * drawn.sum()), 0.0)


def timesteps_at(probability: Tensor, quantile: Tensor) -> Tensor:
    """The timesteps at quantiles in [0, 1) of a distribution over 0 ... T, int64.

    >>> timesteps_at(torch.tensor([0.0, 0.25, 0.75]), torch.tensor([0.0, 0.2, 0.3, 0.9])).tolist()
    [1, 1, 2, 2]
    """
    total = probability.cumsum(0)
    last = int(probability.nonzero().max())  # where rounding may not go beyond
    return torch.searchsorted(total, quantile * total[-1], right=True).clamp(max=last)
