"""Multi-step solvers in half the log-SNR, ``lambda_t(w) = log(a_t / s_t)``, of each frequency for itself.

In lambda the probability flow is linear in the state but for x0_hat, and is solved exactly for an x0_hat that
is a polynomial. One call of the denoiser a step; earlier estimates say how x0_hat changes. Where lambda rose
by less than a tenth of what is to come there is nothing to extrapolate from, and a step is one of DDIM: so is
the first step everywhere, and the last one, to lambda = inf.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fans.diffusion.process import SpectralProcess
from fans.diffusion.samplers.plan import Sampler, Stages

_FURTHEST = 10.0  # times the last step that is extrapolated to; further, the estimates' noise would grow


@dataclass(frozen=True)
class DPMSolverPP2M(Sampler):
    """DPM-Solver++ 2M in its midpoint form; second order.

    With ``h = lambda_s - lambda_t`` and q = h over the h of the step before,

        x_s = (s_s / s_t) x_t + a_s (1 - exp(-h)) ((1 + q / 2) x0_hat_k - (q / 2) x0_hat_{k-1}).

    Lu et al. (2022), DPM-Solver++, algorithm 2. As ``DPMSolverMultistepScheduler`` of diffusers with its
    defaults (``final_sigmas_type="zero"``, which makes the last step one of first order).
    """

    reach: ClassVar[int] = 3

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t, before = times
        h = _gain(process, s, t)
        q = _ratio(h, _gain(process, t, before))
        w = -process.signal(s) * torch.expm1(-h)
        return Stages(t, (process.noise(s) / process.noise(t),), (w * (1 + q / 2), -w * q / 2))


@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC-2 with B(h) = exp(h) - 1: DPM-Solver++ 2M, whose steps are corrected when their end is denoised.

    With the estimates at e, b, t, the last three stages, and h and q of the step from b to t, the state at t
    is first moved by

        a_t (1 - exp(-h)) (c_t (x0_t - x0_b) + (c_e + q / 2) (x0_e - x0_b)),

    where c_t, c_e make a quadratic x0_hat exact. The correction costs no call, and raises the order to three.
    Zhao et al. (2023), UniPC, algorithms 5 and 6; ``UniPCMultistepScheduler`` of diffusers with its defaults.
    """

    reach: ClassVar[int] = 4

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s, the correction of x_t included."""
        _, t, before, _ = times
        step = DPMSolverPP2M().stages(process, times[:3])
        of_t, of_b, of_e = self._correction(process, times[1:])
        kept = step.states[0] * (before > t)[:, None, None]  # the first state needs no correction
        of_t, of_b, of_e = (torch.where(kept > 0, kept * c, 0.0) for c in (of_t, of_b, of_e))
        now, earlier = step.estimates
        return Stages(t, step.states, (now + of_t, earlier + of_b, of_e))

    def _correction(self, process: SpectralProcess, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is added to x_t, as coefficients of x0_hat at t and at the two stages before."""
        t, before, earliest = times
        h = _gain(process, t, before)
        q = _ratio(h, _gain(process, before, earliest))
        w = -process.signal(t) * torch.expm1(-h)
        linear, square = _moments(-h)
        c_e = -(q**2) * (linear - square) / (1 + q)
        c_t = torch.where(q == 0, 0.5, linear + c_e / q.where(q != 0, 1.0))
        of_t, of_e = w * c_t, w * (c_e + q / 2)
        return of_t, -of_t - of_e, of_e


def _gain(process: SpectralProcess, s: Tensor, t: Tensor) -> Tensor:
    """``lambda_s - lambda_t``, (K, h, w); infinite at s = 0, or where there is no signal at t."""
    ratio = process.signal(s) * process.noise(t) / (process.signal(t) * process.noise(s))
    return ratio.abs().log()  # levels of zero may have a sign


def _ratio(h: Tensor, before: Tensor) -> Tensor:
    """``h / before`` if it is good for extrapolation, or 0."""
    return torch.where((h > 0) & (h < _FURTHEST * before), h / before, 0.0)


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Means of u and u^2, u = 0 ... 1, with weight exp(z (1 - u)); by their series near z = 0."""
    inverse = 1 / torch.expm1(z)
    linear = 1 / z - inverse
    near = z.abs() < 0.02
    return (
        torch.where(near, 1 / 2 - z / 12 + z**3 / 720, linear),
        torch.where(near, 1 / 3 - z / 12 + z**2 / 360 + z**3 / 720, 2 * linear / z - inverse),
    )
