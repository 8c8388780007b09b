"""Samplers: from noise to images with any denoiser, for every spectral process, by one loop.

The state is kept in the Fourier domain, so that a step of a coloured process costs two FFTs for the
denoiser's input and output, and one for noise if the method needs any (``heun``: four and none). White
processes need no FFT, except for ``exact``, whose noise has the colour of the data.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fans.diffusion import (
    Generators,
    Method,
    Prediction,
    SpectralProcess,
    Spectrum,
    Transition,
    as_spectrum,
)

Denoiser = Callable[[Tensor, Tensor], Tensor]
Grid = Literal["uniform", "equal_angle"] | Sequence[int] | Tensor
Start = Literal["prior", "marginal"] | Tensor
_BLOCK = 64  # steps whose coefficients are computed at once: few calls, little memory


def uniform(process: SpectralProcess, steps: int) -> Tensor:
    """Timesteps T ... 0 at equal distance, int64 of shape (steps + 1,).

    >>> from fans.diffusion import white
    >>> uniform(white(size=(8, 8)), 4).tolist()
    [1000, 750, 500, 250, 0]
    """
    _check_steps(process, steps)
    return torch.linspace(process.timesteps, 0, steps + 1, dtype=torch.float64).round().long()


def equal_angle(process: SpectralProcess, spectrum: Spectrum, steps: int) -> Tensor:
    """Timesteps T ... 0 that share the largest change of ``theta = atan2(s, a sqrt C)`` equally.

    A DDIM step with the exact denoiser multiplies the power at each frequency by the squared cosine of its
    change of theta. The grid is the best one where all frequencies change together (EqualSNR); elsewhere it
    puts steps where some frequency changes fastest. Timesteps are integers, since networks know no others,
    and differ.

    Args:
        process: noising process.
        spectrum: power of the data per coefficient; frequencies without power are left out.
        steps: number K of steps.

    Returns:
        int64 of shape (K + 1,).

    >>> from fans.diffusion import equal_snr
    >>> C = torch.ones(8, 5)
    >>> equal_angle(equal_snr(C, size=(8, 8)), C, 4).tolist()
    [1000, 750, 500, 250, 0]
    """
    _check_steps(process, steps)
    amplitude = as_spectrum(spectrum, process.size).sqrt()
    theta = torch.atan2(process.noise_table, process.signal_table * amplitude)
    change = torch.where(amplitude > 0, theta.diff(dim=0).abs(), 0.0).amax((1, 2))  # (T,)
    travelled = torch.cat([change.new_zeros(1), change.cumsum(0)])
    wanted = torch.linspace(0, float(travelled[-1]), steps + 1, dtype=torch.float64)
    midpoints = (travelled[1:] + travelled[:-1]) / 2
    nearest = torch.searchsorted(midpoints, wanted)
    order = torch.arange(steps + 1)
    apart = (nearest - order).cummax(0).values.clamp(0, process.timesteps - steps) + order
    apart[0], apart[-1] = 0, process.timesteps
    return apart.flip(0)


def check_grid(process: SpectralProcess, timesteps: Sequence[int] | Tensor) -> Tensor:
    """The grid as int64 on the CPU, if it descends from T to 0."""
    grid = torch.as_tensor(timesteps, device="cpu")
    ends = [process.timesteps, 0]
    if (
        grid.is_floating_point()
        or grid.ndim != 1
        or grid[[0, -1]].tolist() != ends
        or (grid.diff() >= 0).any()
    ):
        raise ValueError(f"timesteps must be integers that descend from T = {ends[0]} to 0, got {timesteps}")
    return grid


def blocks(grid: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The steps (t, s) of a grid, in blocks of limited length."""
    yield from zip(torch.split(grid[:-1], _BLOCK), torch.split(grid[1:], _BLOCK), strict=True)


@torch.no_grad()
def sample(
    process: SpectralProcess,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    generator: Generators,
    steps: int = 50,
    method: Method = "ddim",
    grid: Grid = "uniform",
    eta: float = 1.0,
    prediction: Prediction = "sample",
    spectrum: Spectrum | None = None,
    start: Start = "prior",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[Sequence[int]], Iterable[int]] | None = None,
) -> Tensor:
    """Draw images.

    Args:
        process: noising process.
        denoiser: called with x_t, of the given shape, and timesteps, int64 of shape (B,).
        shape: (B, C, H, W).
        generator: one generator, or one per image (``fans.diffusion.streams``), so that image i does not
            depend on the batch size.
        steps: number of steps, unless ``grid`` lists the timesteps.
        method: ``ddim``; ``ancestral`` (DDPM); ``eta`` (between the two); ``exact`` (ancestral, plus the
            variance that x0_hat lacks: the right spectrum in any number of steps, for Gaussian data);
            ``euler`` or ``heun`` on the probability flow.
        grid: ``"uniform"``, ``"equal_angle"``, or descending timesteps T ... 0.
        eta: 0 (ddim) to 1 (ancestral), for ``method="eta"``.
        prediction: what the denoiser returns (``SpectralProcess.mixture``).
        spectrum: power of the data per coefficient, needed by ``exact``, ``equal_angle`` and ``marginal``.
        start: ``"prior"`` draws x_T from N(0, s_T^2), ``"marginal"`` from N(0, a_T^2 C + s_T^2); or x_T
            itself.
        dtype: of the images.
        device: of the images.
        progress: wraps the sequence of steps, e.g. ``tqdm.tqdm``.

    Returns:
        Images of the given shape.

    Raises:
        ValueError: an option that does not fit the process.
        FloatingPointError: the denoiser returned a value that is not finite; says at which step.

    >>> from fans.diffusion import streams, white
    >>> sample(white(size=(8, 8)), lambda x, t: 0 * x, (2, 3, 8, 8), generator=streams(0, 2), steps=4).shape
    torch.Size([2, 3, 8, 8])
    """
    timesteps = _grid(process, steps, grid, spectrum)
    x_T = _start(process, shape, start, generator, spectrum, dtype, device)
    to_state, to_image = _transforms(process, method)

    def predict(x: Tensor, t: int) -> Tensor:
        return to_state(_checked(denoiser, to_image(x), t, timesteps))

    x = to_state(x_T)
    plan = _plan(process, timesteps, method, eta, prediction, spectrum, x)
    numbers: Sequence[int] = range(len(timesteps) - 1)
    for _, step in zip(progress(numbers) if progress else numbers, plan, strict=True):
        y = step.first(x, predict(x, step.t))
        if step.second:
            y = (x + step.second(y, predict(y, step.s))) / 2
        if step.noise is not None:
            n = to_state(process.white_noise(shape, generator, dtype=dtype, device=device))
            y.add_(n.mul_(step.noise))
        x = y
    return to_image(x)


class _Stage(NamedTuple):
    """A deterministic update, ``state * x + prediction * p``, into which the meaning of p is folded."""

    state: Tensor
    prediction: Tensor

    def __call__(self, x: Tensor, p: Tensor) -> Tensor:
        return (x * self.state).add_(p * self.prediction)


class _Step(NamedTuple):
    """A step from t to s: a stage, Heun's second stage or none, and the level of added noise or none."""

    t: int
    s: int
    first: _Stage
    second: _Stage | None
    noise: Tensor | None


def _plan(
    process: SpectralProcess,
    grid: Tensor,
    method: Method,
    eta: float,
    prediction: Prediction,
    spectrum: Spectrum | None,
    x: Tensor,
) -> Iterator[_Step]:
    """The coefficients of each step, in the precision and on the device of the state x."""
    single: Method = "euler" if method == "heun" else method
    for t, s in blocks(grid):
        step = process.transition(t, s, method=single, eta=eta, spectrum=spectrum)
        first: list[_Stage] = _stages(process, t, step, prediction, x)
        second: list[_Stage | None] = [None] * len(t)
        if method == "heun":
            late = s.clamp(min=1)  # the slope at t = 0 is not needed: the last step is Euler's
            second = [*_stages(process, late, process.euler(late, s - t), prediction, x)]
        noisy = step.noise.flatten(1).any(1).tolist()
        levels = step.noise.to(x.device, x.real.dtype)
        for k, (now, then) in enumerate(zip(t.tolist(), s.tolist(), strict=True)):
            yield _Step(now, then, first[k], second[k] if then > 0 else None, levels[k] if noisy[k] else None)


def _stages(
    process: SpectralProcess, t: Tensor, step: Transition, prediction: Prediction, x: Tensor
) -> list[_Stage]:
    """Put ``x0_hat = f x_t + g p`` into ``step.sample * x0_hat + step.state * x_t``."""
    f, g = process.inversion(t, prediction)
    state, predicted = (c.to(x.device, x.real.dtype) for c in (step.state + step.sample * f, step.sample * g))
    return [_Stage(*pair) for pair in zip(state, predicted, strict=True)]


def _grid(process: SpectralProcess, steps: int, grid: Grid, spectrum: Spectrum | None) -> Tensor:
    if not isinstance(grid, str):
        return check_grid(process, grid)
    if grid == "uniform":
        return uniform(process, steps)
    if grid != "equal_angle":
        raise ValueError(f"grid={grid!r}: must be 'uniform', 'equal_angle' or descending timesteps T ... 0")
    if spectrum is None:
        raise ValueError("grid='equal_angle' needs spectrum=, the power of the data per coefficient")
    return equal_angle(process, spectrum, steps)


def _start(
    process: SpectralProcess,
    shape: Sequence[int],
    start: Start,
    generator: Generators,
    spectrum: Spectrum | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    if isinstance(start, Tensor):
        if start.shape != torch.Size(shape) or tuple(shape[-2:]) != process.size:
            raise ValueError(f"start has shape {tuple(start.shape)}: must be {(*shape[:-2], *process.size)}")
        return start.to(device, dtype)
    if start not in ("prior", "marginal") or (start == "marginal" and spectrum is None):
        raise ValueError(f"start={start!r}: must be 'prior', a tensor, or 'marginal' together with spectrum=")
    known = spectrum if start == "marginal" else None
    return process.prior(shape, generator, spectrum=known, dtype=dtype, device=device)


def _transforms(
    process: SpectralProcess, method: Method
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """From images to the state of the sampler and back."""
    if process.is_white and method != "exact":
        return (lambda x: x), (lambda x: x)
    return partial(torch.fft.rfft2, norm="ortho"), partial(torch.fft.irfft2, s=process.size, norm="ortho")


def _checked(denoiser: Denoiser, x: Tensor, t: int, grid: Tensor) -> Tensor:
    """Call the denoiser, and stop at the first value that is not finite."""
    prediction = denoiser(x, torch.full((x.shape[0],), t, device=x.device)).to(x.dtype)
    if prediction.shape != x.shape:
        raise ValueError(f"the denoiser returned shape {tuple(prediction.shape)} for images {tuple(x.shape)}")
    # NaN and infinity survive a sum, which is far cheaper than a look at every value
    if not prediction.sum().isfinite() and not prediction.isfinite().all():
        step = int((grid > t).sum()) + 1
        raise FloatingPointError(
            f"the denoiser returned NaN or infinity at step {step} of {len(grid) - 1} (t = {t}): check its"
            " weights and the range of its input; no images were made"
        )
    return prediction


def _check_steps(process: SpectralProcess, steps: int) -> None:
    if not 1 <= steps <= process.timesteps:
        raise ValueError(f"steps={steps}: must lie between 1 and the process's T = {process.timesteps}")
