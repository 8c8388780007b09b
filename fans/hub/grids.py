"""Where to put the steps: noise levels for pipelines, and how far each choice is from the best possible.

A grid is ``sigma_0 > ... > sigma_(K-1) > sigma_K = 0``, sigma = s / a being the ratio of noise to signal,
whatever the process. With the exact denoiser of data of power C, DDIM (Euler's method in sigma, or along a
straight flow) turns each frequency by the angle ``theta = atan(sigma / sqrt C)`` and multiplies its power by
``prod_k cos^2(theta_k - theta_(k+1))``. Whatever the grid, K steps that turn an angle of Theta lose at least
``-10 K log10 cos^2(Theta / K)`` dB; no grid reaches this at frequencies whose angles do not turn together.
"""

from typing import Any, Literal

import numpy as np
import torch
from scipy import optimize, stats
from torch import Tensor

from fans._validation import known as known_option
from fans._validation import whole

Criterion = Literal["worst", "rms", "wasserstein", "kl"]
Solver = Literal["ddim", "heun", "dpm2m"]


def karras(sigma_max: float, sigma_min: float, steps: int, *, rho: float = 7.0) -> Tensor:
    """Karras et al. (2206.00364): ``sigma^(1/rho)`` evenly spaced, then 0.

    >>> karras(80.0, 0.002, 3).tolist()[-1]
    0.0
    """
    ramp = _even(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps)
    return _to_zero(ramp**rho)


def log_snr(sigma_max: float, sigma_min: float, steps: int) -> Tensor:
    """The logarithm of the SNR evenly spaced (exponential sigmas), then 0.

    >>> [round(s, 3) for s in log_snr(10.0, 0.1, 3).tolist()]
    [10.0, 1.0, 0.1, 0.0]
    """
    return _to_zero(_even(np.log(sigma_max), np.log(sigma_min), steps).exp())


def uniform_in_time(table: Any, steps: int) -> Tensor:
    """Evenly spaced timesteps of a training schedule, the last step ending at 0.

    Args:
        table: sigma of each timestep, rising, (T,); see ``sigma_table``.
        steps: number K of steps.
    """
    return _at_times(table, torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1])


def beta(table: Any, steps: int, *, concentration: float = 0.6) -> Tensor:
    """Beta sampling (Lee et al., 2407.12173): timesteps at the quantiles of a Beta(c, c) distribution.

    With c < 1 steps gather at both ends. 0.6 is the value that diffusers uses. Its own beta sigmas take the
    quantiles in sigma instead of in time, which is not the same.
    """
    quantiles = stats.beta.ppf(np.linspace(1, 0, steps + 1)[:-1], concentration, concentration)
    return _at_times(table, torch.as_tensor(quantiles))


def tangent(sigma_max: float, scale: float, steps: int) -> Tensor:
    """``sigma = c tan(phi)``, phi evenly spaced from ``atan(sigma_max / c)`` to 0.

    Best possible for data of one variance c^2 (Align Your Steps, Sabour et al., 2404.14507, theorem 3.1).
    Sun, Poor and Zhang (2601.13602) have a tangent law for any covariance, its coefficient being a function
    of the eigenvalues.

    >>> [round(s, 3) for s in tangent(1.0, 1.0, 2).tolist()]
    [1.0, 0.414, 0.0]
    """
    phi = torch.linspace(np.arctan(sigma_max / scale), 0, steps + 1, dtype=torch.float64)
    return _to_zero(scale * phi[:-1].tan())


def equal_angle_levels(spectrum: Any, sigma_max: float, steps: int) -> Tensor:
    """Share the largest change of the angle over all frequencies equally (as ``diffusion.sampling``).

    ``d theta / d log sigma = sigma sqrt C / (sigma^2 + C)``, whose largest value over the frequencies is
    summed up along sigma.
    """
    amplitude = _powers(spectrum).sqrt()
    low = float(amplitude.min()) * 1e-4  # below it no frequency turns by more than 1e-4
    fine = torch.linspace(np.log(sigma_max), np.log(low), 4001, dtype=torch.float64).exp()
    theta = torch.atan(fine[:, None] / amplitude)
    travelled = torch.cat([torch.zeros(1, dtype=torch.float64), -theta.diff(dim=0).amin(1).cumsum(0)])
    wanted = torch.linspace(0, float(travelled[-1]), steps + 1, dtype=torch.float64)[:-1]
    return _to_zero(torch.as_tensor(np.interp(wanted, travelled, fine.log())).exp())


def optimal(
    spectrum: Any,
    sigma_max: float,
    steps: int,
    *,
    criterion: Criterion = "worst",
    solver: Solver = "ddim",
    start: list[Tensor] | None = None,
) -> Tensor:
    """The grid that minimises a criterion, found numerically.

    ``"wasserstein"`` and ``"kl"`` are the criteria of Benita, Elad and Keshet (2502.00180), whose schedules
    are likewise found by numerical minimisation.

    Args:
        spectrum: C, power of the data per frequency.
        sigma_max: where sampling starts.
        steps: number K of steps.
        criterion: ``"worst"`` (largest error in dB over all frequencies), ``"rms"`` (in dB),
            ``"wasserstein"`` or ``"kl"`` (see ``loss``).
        solver: ``"ddim"``, ``"heun"`` or ``"dpm2m"``.
        start: more grids to start from, beside those of this module that need no table.

    Returns:
        (K + 1,), never worse under the criterion than any of the grids that it started from.
    """
    known_option("criterion", criterion, ("worst", "rms", "wasserstein", "kl"))
    C = _powers(spectrum)
    low = float(C.min().sqrt())
    starts = [equal_angle_levels(C, sigma_max, steps), *(start or [])]
    starts += [tangent(sigma_max, c, steps) for c in np.geomspace(low, float(C.max().sqrt()), 7)]
    starts += [log_snr(sigma_max, low * r, steps) for r in (0.05, 0.2, 0.6)] if steps > 1 else []

    def value(grid: Tensor) -> Tensor:
        return loss(grid, C, criterion=criterion, solver=solver)

    best = sorted(starts, key=lambda grid: float(value(grid)))[:2]
    refined = [_descend(grid, C, criterion, solver) for grid in best]
    found: Tensor = min([*best, *refined], key=lambda grid: float(value(grid)))
    return found


def loss(grid: Tensor, spectrum: Any, *, criterion: Criterion = "worst", solver: Solver = "ddim") -> Tensor:
    """Worth of a grid: worst or rms error in dB, Wasserstein distance, or KL divergence per frequency.

    For Gaussian fields the distance is ``sqrt(mean (sqrt P - sqrt C)^2)`` and the divergence of the samples
    from the data ``mean (P / C - 1 - log(P / C)) / 2``.
    """
    C = _powers(spectrum)
    ratio = gain(grid, C, solver=solver).square() * (C + grid[0] ** 2) / C
    if criterion == "wasserstein":
        return (C * (ratio.sqrt() - 1).square()).mean().sqrt()
    if criterion == "kl":
        return (ratio - 1 - ratio.log()).mean() / 2
    error = 10 * torch.log10(ratio)
    return error.abs().max() if criterion == "worst" else error.square().mean().sqrt()


def gain(grid: Tensor, spectrum: Any, *, solver: Solver = "ddim") -> Tensor:
    """Gain of each frequency, from x at ``sigma_0`` (data plus noise) to the sample, with the exact denoiser.

    ``"ddim"``: Euler's method in sigma. ``"heun"``: its second-order correction, but in the last step
    (2 K - 1 calls). ``"dpm2m"``: DPM-Solver++(2M), first order in the first and in the last step.
    """
    known_option("solver", solver, ("ddim", "heun", "dpm2m"))
    C = _powers(spectrum)
    denoise = [C / (C + s * s) for s in grid]  # x0_hat = denoise x
    x = torch.ones_like(C)
    old = None
    for k in range(len(grid) - 1):
        s, after = grid[k], grid[k + 1]
        x_0 = denoise[k] * x
        last = k == len(grid) - 2
        moved = after / s * x + (1 - after / s) * x_0
        if solver == "heun" and not last:
            slope, late = (x - x_0) / s, (1 - denoise[k + 1]) * moved / after
            moved = x + (after - s) * (slope + late) / 2
        if solver == "dpm2m" and not last and old is not None:
            r = (grid[k - 1] / s).log() / (s / after).log()
            moved = moved + (1 - after / s) * (x_0 - old) / (2 * r)
        x, old = moved, x_0
    return x


def least_loss(spectrum: Any, sigma_max: float, steps: int) -> Tensor:
    """Least possible loss of DDIM in K steps, ``10 K log10 cos^2(Theta / K)`` dB, at each frequency.

    Theta is ``atan(sigma_max / sqrt C)``, nearly pi / 2.

    >>> round(float(least_loss([1e-9], 80.0, 10)), 2)
    -1.08
    """
    angle = torch.atan(sigma_max / torch.as_tensor(spectrum, dtype=torch.float64).sqrt())
    return 20 * steps * torch.log10(torch.cos(angle / whole("steps", steps, low=2)))


def sigma_table(scheduler: Any) -> Tensor:
    """sigma of every training timestep of a scheduler with ``alphas_cumprod``, rising, (T,)."""
    alpha_bar: Tensor = scheduler.alphas_cumprod.double()
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def to_timesteps(grid: Tensor, scheduler: Any) -> list[int]:
    """The nearest training timesteps, all different, for ``timesteps=`` of a pipeline.

    Raises:
        ValueError: more steps than timesteps.
    """
    levels = sigma_table(scheduler).log()
    wanted = grid[:-1].log()
    if len(wanted) > len(levels):
        raise ValueError(f"{len(wanted)} steps: the scheduler has {len(levels)} timesteps; take fewer")
    nearest = (levels[None] - wanted[:, None]).abs().argmin(1)
    order = torch.arange(len(wanted) - 1, -1, -1)  # how many steps follow
    apart = (nearest - order).flip(0).cummax(0).values.flip(0).clamp(0, len(levels) - len(wanted)) + order
    return [int(t) for t in apart]


def to_sigmas(grid: Tensor, scheduler: Any) -> list[float]:
    """The grid for ``sigmas=`` of a pipeline, in the scheduler's own convention.

    Flows have ``sigma / (1 + sigma)``. Some schedulers append the last zero, others expect it: a grid without
    the zero that Euler expects, which nothing warns of, ends in a sample with noise left in it.

    Raises:
        ValueError: a scheduler that takes no noise levels.
    """
    name = type(scheduler).__name__
    if name not in _TAKES_SIGMAS:
        allowed = ", ".join(_TAKES_SIGMAS)
        raise ValueError(f"{name} takes no noise levels: use to_timesteps, or one of {allowed}")
    straight, with_zero = _TAKES_SIGMAS[name]
    levels = grid / (1 + grid) if straight else grid
    return [float(s) for s in (levels if with_zero else levels[:-1])]


_TAKES_SIGMAS = {  # whether along a straight flow, and whether the last zero is part of the list
    "EulerDiscreteScheduler": (False, True),
    "FlowMapEulerDiscreteScheduler": (True, False),
    "FlowMatchEulerDiscreteScheduler": (True, False),
    "FlowMatchLCMScheduler": (True, False),
    "LTXEulerAncestralRFScheduler": (True, True),
    "MiniMaxH3Scheduler": (True, True),
}


def _descend(grid: Tensor, C: Tensor, criterion: Criterion, solver: Solver) -> Tensor:
    """Minimise over the logarithms of the ratios of neighbouring levels, all of which stay above zero."""
    if len(grid) < 3:
        return grid
    sharpness = (8.0, 32.0, 128.0) if criterion == "worst" else (1.0,)
    z = (grid[:-2].log() - grid[1:-1].log()).log().numpy()
    for p in sharpness:

        def value(z: Any, p: float = p) -> tuple[float, Any]:
            free = torch.tensor(z, requires_grad=True)
            result = _smooth(_levels(grid[0], free), C, criterion, solver, p)
            (slope,) = torch.autograd.grad(result, free)
            return float(result.detach()), slope.numpy()

        z = optimize.minimize(value, z, jac=True, method="L-BFGS-B", options={"maxiter": 400}).x
    return _levels(grid[0], torch.as_tensor(z))


def _levels(first: Tensor, z: Tensor) -> Tensor:
    steps = z.exp().cumsum(0)
    return torch.cat([first[None], (first.log() - steps).exp(), torch.zeros(1, dtype=torch.float64)])


def _smooth(grid: Tensor, C: Tensor, criterion: Criterion, solver: Solver, p: float) -> Tensor:
    """The criterion, or for the worst frequency the p-norm of the errors, which has a gradient."""
    if criterion != "worst":
        return loss(grid, C, criterion=criterion, solver=solver)
    error = 20 * torch.log10(gain(grid, C, solver=solver).abs() * (1 + grid[0] ** 2 / C).sqrt()).abs()
    top = error.max().detach()
    return top * (error / top).pow(p).mean().pow(1 / p)


def _powers(spectrum: Any) -> Tensor:
    C = torch.as_tensor(spectrum, dtype=torch.float64).flatten()
    return C[C > 0]


def _even(first: float, last: float, steps: int) -> Tensor:
    return torch.linspace(first, last, whole("steps", steps, low=1), dtype=torch.float64)


def _to_zero(levels: Tensor) -> Tensor:
    return torch.cat([levels, levels.new_zeros(1)])


def _at_times(table: Any, share: Tensor) -> Tensor:
    """Interpolate log sigma at shares of the training time, 1 being the last timestep."""
    levels = np.log(np.asarray(table, dtype=np.float64))
    times = share.numpy() * len(levels) - 1
    return _to_zero(torch.as_tensor(np.exp(np.interp(times, np.arange(len(levels)), levels))))
