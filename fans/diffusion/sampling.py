"""From noise to images with any denoiser, for every spectral process and every sampler, by one loop.

The state is kept in the Fourier domain, so that a stage of a coloured process costs two FFTs for the
denoiser's input and output, and one for noise if the sampler adds any. Where neither process nor sampler has
colour no FFT is needed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fans.diffusion.denoisers import check_trained, unwrapped
from fans.diffusion.grids import Grid, resolve_grid
from fans.diffusion.plane import Generators, Spectrum
from fans.diffusion.process import Prediction, SpectralProcess
from fans.diffusion.samplers import SamplerLike, Stages, combined, resolve, stacked, with_gains

Denoiser = Callable[[Tensor, Tensor], Tensor]
Start = Literal["prior", "marginal"] | Tensor


@torch.no_grad()
def sample(
    process: SpectralProcess,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    generator: Generators,
    steps: int = 50,
    sampler: SamplerLike = "ddim",
    grid: Grid = "uniform",
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
        sampler: ``"ddim"``; ``"ancestral"`` (DDPM); ``"exact"`` (ancestral, plus the variance that x0_hat
            lacks: the right spectrum in any number of steps, for Gaussian data); ``"euler"`` or ``"heun"``
            on the probability flow; ``"dpmpp_2m"`` or ``"unipc"`` in few steps; or an instance from
            ``fans.diffusion.samplers``, such as ``Eta(0.5)``, or one of your own.
        grid: ``"uniform"``, ``"equal_angle"``, or descending timesteps T ... 0.
        prediction: what the denoiser returns (``SpectralProcess.mixture``).
        spectrum: power of the data per coefficient, needed by ``exact``, ``equal_angle`` and ``marginal``.
        start: ``"prior"`` draws x_T from N(0, s_T^2), ``"marginal"`` from N(0, a_T^2 C + s_T^2); or x_T
            itself.
        dtype: of the images.
        device: of the images.
        progress: wraps the sequence of calls of the denoiser, e.g. ``tqdm.tqdm``.

    Returns:
        Images of the given shape.

    Raises:
        ValueError: an option that does not fit the process, or a denoiser trained for something else.
        TypeError: a generator or sampler that is none.
        FloatingPointError: the denoiser returned a value that is not finite; says at which step.

    >>> from fans.diffusion import streams, white
    >>> sample(white(size=(8, 8)), lambda x, t: 0 * x, (2, 3, 8, 8), generator=streams(0, 2), steps=4).shape
    torch.Size([2, 3, 8, 8])
    """
    check_trained(denoiser, process, prediction, shape)
    _check_generator(generator)
    method, timesteps = resolve(sampler, spectrum), resolve_grid(process, grid, steps, spectrum)
    updates = _updates(process, method.plan(process, timesteps), prediction, device, dtype)
    first = next(updates)
    to_state, to_image = _transforms(process, first.has_colour)

    def predict(x: Tensor, t: int) -> Tensor:
        return to_state(_checked(denoiser, to_image(x), t, timesteps))

    x = to_state(_start(process, shape, start, generator, spectrum, dtype, device))
    states: list[Tensor] = []
    predictions: list[Tensor] = []
    calls: Sequence[int] = range(method.calls(len(timesteps) - 1))
    for _, update in zip(progress(calls) if progress else calls, chain([first], updates), strict=True):
        states = [x, *states][: len(update.states)]
        predictions = [predict(x, update.t), *predictions][: len(update.predictions)]
        x = update(states, predictions)
        if update.noise is not None:
            n = to_state(process.white_noise(shape, generator, dtype=dtype, device=device))
            x.add_(n.mul_(update.noise))
    return to_image(x)


class _Update(NamedTuple):
    """One stage in terms of states and predictions, the latest first; None stands for zeros."""

    t: int
    states: list[Tensor | None]
    predictions: list[Tensor | None]
    noise: Tensor | None
    has_colour: bool

    def __call__(self, states: list[Tensor], predictions: list[Tensor]) -> Tensor:
        """The new state, without noise."""
        # early stages have less to look back to than the coefficients, which are zero there
        pairs = *zip(states, self.states, strict=False), *zip(predictions, self.predictions, strict=False)
        terms = (x * factor for x, factor in pairs if factor is not None)
        total = next(terms, None)
        if total is None:
            return torch.zeros_like(states[0])
        for term in terms:
            total.add_(term)
        return total


def _updates(
    process: SpectralProcess,
    plan: Iterable[Stages],
    prediction: Prediction,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Iterator[_Update]:
    """Put ``x0_hat = f x_t + g p`` into a plan, and bring it into the precision and to the device of x."""

    def inversion(t: Tensor) -> Tensor:
        return stacked(process.inversion(t, prediction), 0)

    for block, gains in with_gains(plan, inversion):
        by_state = combined(block, [f for f, _ in gains])
        by_prediction = [B * g for B, (_, g) in zip(block.estimates, gains, strict=True)]
        noise = torch.zeros(len(block.t), 1, 1) if block.noise is None else block.noise
        coefficients = [*by_state, *by_prediction, noise]
        has_colour = any(c.shape[1:] != (1, 1) for c in coefficients)
        columns = [_rows(c, device, dtype) for c in coefficients]
        for t, row in zip(block.t.tolist(), map(list, zip(*columns, strict=True)), strict=True):
            yield _Update(t, row[: len(by_state)], row[len(by_state) : -1], row[-1], has_colour)


def _rows(coefficients: Tensor, device: torch.device | str, dtype: torch.dtype) -> list[Tensor | None]:
    """One row a stage, None where it is zero."""
    needed = coefficients.flatten(1).any(1).tolist()
    rows = coefficients.to(device, dtype)
    return [row if any_ else None for row, any_ in zip(rows, needed, strict=True)]


def _transforms(
    process: SpectralProcess, has_colour: bool
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """From images to the state and back; the state is the image if nothing has colour."""
    if not has_colour:
        return (lambda x: x), (lambda x: x)
    return partial(torch.fft.rfft2, norm="ortho"), partial(torch.fft.irfft2, s=process.size, norm="ortho")


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


def _checked(denoiser: Denoiser, x: Tensor, t: int, grid: Tensor) -> Tensor:
    """Call the denoiser, and stop at the first value that is not finite."""
    prediction = unwrapped(denoiser(x, torch.full((x.shape[0],), t, device=x.device))).to(x.dtype)
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


def _check_generator(generator: Generators) -> None:
    several = [generator] if isinstance(generator, torch.Generator) else generator
    if not isinstance(several, Sequence) or not all(isinstance(one, torch.Generator) for one in several):
        raise TypeError(
            f"generator is {type(generator).__name__}: must be a torch.Generator, or one per image, as"
            " fans.diffusion.streams(seed, count) makes them"
        )
