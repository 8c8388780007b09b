"""Which sampler loses which frequencies: the exact spectrum of every scheduler of diffusers.

With the exact denoiser of Gaussian data each frequency is a scalar of its own, and a scheduler is linear in
it. So the scheduler, unmodified, is run on a "picture" whose pixels are frequencies, once from the prior
and once from a unit impulse at each draw of noise, all in one batch. What comes out of the prior is the
gain, and the squares of the responses to the impulses are the power that noise adds. There is no sampling
and no network.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fans.diffusion import SpectralProcess
from fans.diffusion.grids import uniform
from fans.diffusion.samplers import resolve
from fans.diffusion.wiener import sampled_spectrum
from fans.hub.conventions import NetworkCall
from fans.hub.impulses import Count, Impulses, noise_from
from fans.hub.prepare import Prepared
from fans.spectrum import decibel

Network = Literal["denoiser", "consistency"]


@dataclass(frozen=True)
class Scan:
    """What a sampler does to each frequency.

    Attributes:
        name: of the scheduler.
        steps: number of steps asked for.
        options: given to the scheduler.
        calls: number of calls of the network.
        spectrum: C, power of the data.
        power: power of samples, ``(gain * start)^2 + added``.
        gain: from the first state to the sample.
        added: power from the noise drawn on the way.
        start: standard deviation of the first state.
        marginal: power that the first state should have, ``a^2 C + s^2``.

    All tensors are float64 of the shape of the spectrum.
    """

    name: str
    steps: int
    options: Mapping[str, Any]
    calls: int
    spectrum: Tensor
    power: Tensor
    gain: Tensor
    added: Tensor
    start: Tensor
    marginal: Tensor

    @property
    def error(self) -> Tensor:
        """``10 log10(power / C)`` in dB; NaN where the data have no power."""
        error: Tensor = decibel(self.power, self.spectrum)
        return error

    @property
    def rms(self) -> float:
        """Root mean square of the error in dB over all frequencies with power."""
        return float(self.error.square().nanmean().sqrt())

    @property
    def worst(self) -> float:
        """Largest absolute error in dB."""
        return float(self.error.abs().nan_to_num().max())

    @property
    def prior_mismatch(self) -> Tensor:
        """What starting from the practical prior instead of the true distribution costs, in dB."""
        exact = self.gain.square() * self.marginal + self.added
        mismatch: Tensor = decibel(self.power, exact)
        return mismatch


def response(state: NetworkCall, spectrum: Tensor, network: Network = "denoiser") -> Tensor:
    """Output of the exact network over its input, per frequency, in the scheduler's convention.

    The denoiser has ``x0_hat = a C / (a^2 C + s^2) x`` and ``eps_hat = s / (a^2 C + s^2) x`` (Wiener). A
    consistency model goes to the end of the probability flow instead, ``x0_hat = sqrt(C / (a^2 C + s^2)) x``
    and ``eps_hat = (x - a x0_hat) / s``.

    >>> response(NetworkCall(1.0, 1.0, 0.0, 1.0), torch.ones(1)).item()
    0.5
    """
    a, s, c, d = state
    power = a * a * spectrum + s * s
    if network == "denoiser":
        x_0, eps = a * spectrum / power, s / power
    elif network == "consistency":
        x_0 = (spectrum / power).sqrt()
        eps = (1 - a * x_0) / s
    else:
        raise ValueError(f"network={network!r}: must be 'denoiser' or 'consistency'")
    return torch.nan_to_num(c * x_0) + torch.nan_to_num(d * eps)


def scan(
    scheduler: Any,
    spectrum: Any,
    steps: int | None = None,
    *,
    network: Network = "denoiser",
    **options: Any,
) -> Scan:
    """Exact spectrum of the samples that a scheduler of diffusers makes with the exact network.

    Args:
        scheduler: name of a class of ``diffusers.schedulers``, the class, or an instance, whose
            configuration is taken over; or a spectral process of our own.
        spectrum: C, power of the data per frequency, of any shape, in the units of the images.
        steps: number of steps, unless ``timesteps`` or ``sigmas`` are listed.
        network: what the network is: the exact ``"denoiser"``, or for distilled schedulers a
            ``"consistency"`` model, which predicts the end of the probability flow.
        options: of the scheduler's constructor, of its ``set_timesteps`` or of its ``step``. Clipping and
            thresholding are off. For a process: ``sampler`` and ``timesteps`` of
            ``fans.diffusion.wiener.sampled_spectrum``.

    Returns:
        The scan; schedulers that compute in float32 give it to seven digits, others to more.

    Raises:
        ValueError: a scheduler that cannot be scanned, an option that it does not have.

    >>> result = scan("DDIMScheduler", [1.0, 0.01], 10)
    >>> result.calls, [round(float(e), 1) for e in result.error]
    (10, [-1.6, -8.7])
    """
    C = torch.as_tensor(spectrum, dtype=torch.float64)
    if not bool((C >= 0).all()) or not bool(C.isfinite().all()):
        raise ValueError("spectrum must be finite and nowhere negative: it is a power per frequency")
    if isinstance(scheduler, SpectralProcess):
        return _scan_process(scheduler, C, steps, options)
    flat = C.reshape(1, 1, -1)
    prepared, count = Prepared(scheduler, steps, options), Count()
    _propagate(deepcopy(prepared), flat[..., :1], network, count)
    rows = _propagate(prepared, flat, network, Impulses(count), 1 + count.rows)
    gain = rows[0].reshape(C.shape) / prepared.start
    added = rows[1:].square().sum(0).reshape(C.shape)
    assert prepared.first is not None
    return Scan(
        name=type(prepared.scheduler).__name__,
        steps=prepared.steps,
        options=options,
        calls=prepared.calls,
        spectrum=C,
        power=(gain * prepared.start).square() + added,
        gain=gain,
        added=added,
        start=torch.full_like(C, prepared.start),
        marginal=prepared.first.a**2 * C + prepared.first.s**2,
    )


def _scan_process(process: SpectralProcess, C: Tensor, steps: int | None, options: Mapping[str, Any]) -> Scan:
    """The same of a process with one of our own samplers, from the exact recursion of its power."""
    options = {"sampler": "ddim"} | dict(options)
    sampler, grid = resolve(options["sampler"], C), options.pop("timesteps", None)
    if grid is None:
        if steps is None:
            raise ValueError("say how many steps=, or list timesteps=")
        grid = uniform(process, steps)
    large = 1e12  # so that what is left of the first state does not drown in the power added
    added, both = (
        sampled_spectrum(process, C, timesteps=grid, start=torch.full_like(C, first), **options)
        for first in (0.0, large)
    )
    gain = ((both - added) / large).sqrt()
    start, count = process.prior_power().sqrt(), len(grid) - 1
    return Scan(
        name=process.name,
        steps=count,
        options=options,
        calls=sampler.calls(count),
        spectrum=C,
        power=(gain * start).square() + added,
        gain=gain,
        added=added,
        start=start.expand_as(C),
        marginal=process.power(process.timesteps, C),
    )


def _propagate(
    prepared: Prepared, C: Tensor, network: Network, hook: Count | Impulses, rows: int = 1
) -> Tensor:
    """Run the prior in row 0 and impulses in the others."""
    x = torch.zeros(rows, *C.shape, dtype=torch.float64)
    x[0] = prepared.start
    with noise_from(prepared.scheduler, hook):
        out = prepared.run(x, lambda x, state: (response(state, C, network) * x).to(x.dtype))
    return out.double()


def simulate(
    scheduler: Any,
    spectrum: Tensor,
    steps: int | None = None,
    *,
    size: tuple[int, int],
    count: int,
    seed: int = 0,
    network: Network = "denoiser",
    **options: Any,
) -> Tensor:
    """NoiseDraw images with the same scheduler and network; their mean power is what ``scan`` says.

    Args:
        scheduler, steps, network, options: as for ``scan``.
        spectrum: C, (H, W//2 + 1).
        size: (H, W).
        count: number N of images.
        seed: of the global generator, from which schedulers draw; its state is put back.

    Returns:
        Images, float64 of shape (N, H, W).
    """
    C = torch.as_tensor(spectrum, dtype=torch.float64)
    prepared = Prepared(scheduler, steps, options)

    def apply(x: Tensor, state: NetworkCall) -> Tensor:
        images = x.reshape(count, *size)
        filtered: Tensor = torch.fft.irfft2(response(state, C, network) * torch.fft.rfft2(images), s=size)
        return filtered.reshape(x.shape).to(x.dtype)

    # the widened network's outputs lie side by side along the last axis, so pixels must be tokens
    shape = (count, size[0] * size[1], 1) if prepared.convention.loop == "widened" else (count, 1, *size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(shape, dtype=torch.float64) * prepared.start
        images = prepared.run(x, apply).double()
    return images.reshape(count, *size)
