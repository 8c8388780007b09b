"""Solvers of the probability flow in time, ``dx/dt = a'_t x0_hat + s'_t eps_hat``, per frequency.

Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 13, for any
Gaussian path; Lipman et al. (2023), Flow matching, eq. 15. Derivatives are differences of the levels at
neighbouring timesteps, of second order.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fans.diffusion.process import SpectralProcess
from fans.diffusion.samplers.plan import Sampler, Stages, stacked


@dataclass(frozen=True)
class Euler(Sampler):
    """``x_s = x_t + (s - t) (a'_t x0_hat + s'_t eps_hat)``; first order."""

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t = times
        state, estimate = euler_step(process, t, s - t)
        return Stages(t, (state,), (estimate,))


@dataclass(frozen=True)
class Heun(Sampler):
    """Euler's step, then the mean of its slope and the slope at its end; second order, two calls a step.

    Karras et al. (2022), Elucidating the design space of diffusion-based generative models, algorithm 1. The
    last step is Euler's, since the slope at t = 0 is not defined.
    """

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Two stages for each step from t to s: at t, and at s with half of the state before."""
        s, t = times
        A, B = euler_step(process, t, s - t)
        again_A, again_B = euler_step(process, s.clamp(min=1), s - t)
        zero, half = (column(0 * t) + c for c in (0, 0.5))
        at, states, before, estimates = (
            stacked(pair, 1).flatten(0, 1)
            for pair in ((t, s), (A, again_A / 2), (zero, half), (B, again_B / 2))
        )
        real = at > 0
        return Stages(at[real], (states[real], before[real]), (estimates[real],))

    def calls(self, steps: int) -> int:
        """Two a step, one for the last."""
        return 2 * steps - 1


def euler_step(process: SpectralProcess, t: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (A, B) of Euler's step from times t > 0, on the state and on the estimate."""
    slope = derivative(process.noise, t, process.timesteps) / process.noise(t)
    h = column(step)
    return 1 + h * slope, h * (derivative(process.signal, t, process.timesteps) - process.signal(t) * slope)


def derivative(level: Callable[[Tensor], Tensor], t: Tensor, last: int) -> Tensor:
    """Derivative of a level per timestep for t > 0: central differences, at the last time one-sided."""
    inner = t.clamp(max=last - 1)
    before, here, after = level(inner - 1), level(inner), level(inner + 1)
    return (after - before) / 2 + column(t - inner) * (after - 2 * here + before)


def column(t: Tensor) -> Tensor:
    """Times (K,) as float64 (K, 1, 1), to go with levels."""
    return t.to(torch.float64)[:, None, None]
