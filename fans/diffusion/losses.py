"""Training losses of spectral diffusion: a weight over time and frequency, and a squared error.

A network predicts ``p = c x_0 + d eps`` (``SpectralProcess.mixture``). Every loss here is the mean over
timesteps, images and coefficients of ``w_t(f) |p_hat - p|^2``; they differ in the table w alone. Errors of
the prediction, the image and the white noise are multiples of each other, so that each loss exists for every
prediction:

>>> from fans.diffusion import white
>>> tables = [weights(white(size=(8, 8)), "whitened", kind) for kind in ("epsilon", "sample")]
>>> [round(table[500].item(), 6) for table in tables]  # at a = s the errors are equal
[1.0, 1.0]
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from fans.diffusion import Prediction, SpectralProcess, Spectrum, Timestep, as_spectrum, plane_mean
from fans.diffusion.plane import like
from fans.spectrum import multiplicity

Loss = Literal["flat", "whitened", "velocity", "whitened_velocity", "elbo", "unit"]
Importance = Literal["uniform", "wiener"]
_EXPLORED = 0.1  # share of timesteps that "wiener" draws uniformly, so that no weight exceeds 1 / _EXPLORED


def residual_power(process: SpectralProcess, spectrum: Spectrum, t: Timestep, kind: Prediction) -> Tensor:
    """Power of a prediction that the best linear denoiser leaves, ``C (d a - c s)^2 / (a^2 C + s^2)``; t > 0.

    >>> from fans.diffusion import white
    >>> left = residual_power(white(size=(4, 4)), torch.ones(4, 3), 500, "sample")
    >>> round(left.mean().item(), 6)
    0.5
    """
    a, s = process.signal(t), process.noise(t)
    c, d = process.mixture(t, kind)
    data = as_spectrum(spectrum, process.size)
    return data * (d * a - c * s).square() / (a.square() * data + s.square())


def weights(
    process: SpectralProcess, loss: Loss, kind: Prediction, *, spectrum: Spectrum | None = None
) -> Tensor:
    """The table w that defines a loss, on the squared error of the prediction.

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
        loss: one of the above. Any other table of the same shape is a loss too.
        kind: what the network predicts.
        spectrum: power of the data per coefficient, positive; needed by ``unit``.

    Returns:
        float64 of shape (T + 1, H, W//2 + 1), or (T + 1, 1, 1) if equal at all frequencies; row 0 is 0.

    Raises:
        ValueError: unknown loss, no spectrum, or ``elbo`` where the prediction does not determine the image.
    """
    t = torch.arange(1, process.timesteps + 1)
    if loss == "flat":
        table = torch.ones(len(t), 1, 1, dtype=torch.float64)
    elif loss == "whitened":
        table = _noise_per_prediction(process, t, kind).square()
    elif loss in ("velocity", "whitened_velocity"):
        _, g = process.inversion(t, kind)
        power = process.noise(t).square()
        table = g.square() / (plane_mean(power, process.size) if loss == "velocity" else power)
    elif loss == "elbo":
        _, g = process.inversion(t[1:], kind)
        terms = (len(t) - 1) * process.elbo_weight(t[1:]) * g.square()
        table = torch.cat([torch.zeros_like(terms[:1]), terms])
    elif loss == "unit" and spectrum is not None:
        table = 1 / residual_power(process, as_spectrum(spectrum, process.size, positive=True), t, kind)
    else:
        needs = "; 'unit' needs spectrum=, the power of the data per coefficient"
        raise ValueError(f"loss={loss!r}: must be one of {', '.join(get_args(Loss))}{needs}")
    return torch.cat([torch.zeros_like(table[:1]), table])


def _noise_per_prediction(process: SpectralProcess, t: Timestep, kind: Prediction) -> Tensor:
    """Error of eps per error of the prediction, ``a / (d a - c s)``; 1/d where c = 0, even where a is 0."""
    a, s = process.signal(t), process.noise(t)
    c, d = process.mixture(t, kind)
    return torch.where(c == 0, 1 / d, a / (d * a - c * s))


def check_weights(weight: Tensor, process: SpectralProcess) -> Tensor:
    """A table of weights in float64 on the CPU, row 0 set to 0, if it fits the process.

    Raises:
        ValueError: another shape, or values that are negative, not finite, or zero throughout.
    """
    plane = (process.size[0], process.size[1] // 2 + 1)
    rows = process.timesteps + 1
    if weight.shape not in ((rows, *plane), (rows, 1, 1)):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}: must be (T + 1, H, W//2 + 1) = {(rows, *plane)}, or"
            f" {(rows, 1, 1)} if equal at all frequencies; row 0 is not used"
        )
    table = weight.detach().to("cpu", torch.float64).clone()
    table[0] = 0
    if not table.isfinite().all() or (table < 0).any() or not table.any():
        raise ValueError("weight must be finite, not negative, and positive somewhere in rows 1 ... T")
    return table


def weighted_error(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over channels and coefficients of ``w |E|^2`` per image, by Parseval: at most one FFT.

    Args:
        error: images (B, C, H, W).
        weight: (B, H, W//2 + 1), or (B, 1, 1), which needs no FFT.

    Returns:
        Shape (B,).

    >>> error = torch.randn(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    >>> by_fft = weighted_error(error, torch.ones(2, 6, 3))
    >>> bool(torch.allclose(by_fft, error.square().mean((1, 2, 3))))
    True
    """
    weight = weight.to(error.device, error.dtype)
    if weight.shape[-2:] == (1, 1):
        return error.square().mean((1, 2, 3)) * weight[:, 0, 0]
    size = (error.shape[-2], error.shape[-1])
    count = torch.tensor(multiplicity(size), device=error.device, dtype=error.dtype)
    spectrum = torch.view_as_real(torch.fft.rfft2(error, norm="ortho"))
    power = spectrum.square().sum(-1).mean(1)  # (B, H, W//2 + 1)
    return (power * weight * count).sum((-2, -1)) / (size[0] * size[1])


def noised(
    process: SpectralProcess, x_0: Tensor, epsilon: Tensor, t: Tensor, kind: Prediction
) -> tuple[Tensor, Tensor]:
    """``add_noise`` and ``target`` at once, with four FFTs instead of eight; none without colour."""
    if process.is_white:
        return process.add_noise(x_0, epsilon, t), process.target(x_0, epsilon, t, kind)
    c, d = process.mixture(t, kind)
    a, s, c, d = (like(gain, x_0) for gain in (process.signal(t), process.noise(t), c, d))
    image, noise = (torch.fft.rfft2(x, norm="ortho") for x in (x_0, epsilon))
    both = torch.stack([a * image + s * noise, c * image + d * noise])
    x_t, target = torch.fft.irfft2(both, s=process.size, norm="ortho")
    return x_t, target


def wiener_loss(process: SpectralProcess, spectrum: Spectrum, kind: Prediction, weight: Tensor) -> Tensor:
    """Expected loss of the best linear denoiser per timestep; for Gaussian data no denoiser does better.

    Args:
        process: noising process.
        spectrum: power of the data per coefficient.
        kind: what is predicted.
        weight: table of ``weights``.

    Returns:
        float64 of shape (T + 1,), 0 at t = 0.

    >>> from fans.diffusion import white
    >>> process, C = white(size=(8, 8)), torch.ones(8, 5)
    >>> unit = weights(process, "unit", "sample", spectrum=C)
    >>> float(wiener_loss(process, C, "sample", unit)[1:].mean())
    1.0
    """
    t = torch.arange(1, process.timesteps + 1)
    left = residual_power(process, spectrum, t, kind) * weight[1:]
    return torch.cat([torch.zeros(1, dtype=torch.float64), plane_mean(left, process.size)[:, 0, 0]])


def timestep_probability(
    process: SpectralProcess,
    weight: Tensor,
    importance: Importance,
    kind: Prediction,
    spectrum: Spectrum | None = None,
) -> Tensor:
    """How often training draws each timestep, float64 of shape (T + 1,).

    ``uniform`` draws those with any weight equally often. ``wiener`` draws them in proportion to the loss of
    the best linear denoiser there, one in ten uniformly, and training divides by the probability: the same
    expected loss with less scatter.
    """
    allowed = (weight.flatten(1) > 0).any(1).to(torch.float64)
    uniform = allowed / allowed.sum()
    if importance == "uniform":
        return uniform
    if importance != "wiener" or spectrum is None:
        raise ValueError(f"importance={importance!r}: must be 'uniform', or 'wiener' together with spectrum=")
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
