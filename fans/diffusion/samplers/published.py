"""The steps of FANS as its article and its released code have them, each fault a switch.

They serve the processes of ``fans.diffusion.fans_as_published``, whose attribute ``sampler`` is one of them.
"""

from dataclasses import dataclass

from torch import Tensor

from fans.diffusion.process import SpectralProcess
from fans.diffusion.samplers.flow import column, euler_step
from fans.diffusion.samplers.plan import Sampler, Stages


@dataclass(frozen=True)
class ArticleEuler(Sampler):
    """Euler's step of the flow ``x_t = (1 - u) x_0 + u sqrt(v(t)) eps``, u = t / T, plus noise; first order.

    Attributes:
        churn: level of the noise, per square root of unit time; 0 is the plain flow.
        constant_colour: a fault, the change of v is left out of the velocity.
        no_drift: a fault, the noise comes without the drift ``(churn^2 / 2) Sigma score`` that balances it.
    """

    churn: float = 0.0
    constant_colour: bool = True
    no_drift: bool = True

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t = times
        state, estimate = self._velocity(process, s, t)
        if self.churn == 0:
            return Stages(t, (state,), (estimate,))
        duration, u = column(t - s) / process.timesteps, column(t) / process.timesteps
        noise = self.churn * duration.sqrt() * process.noise(t) / u
        # Sigma = (s / u)^2 and score = -(x_t - a x0_hat) / s^2
        drift = 0 if self.no_drift else duration * (self.churn / u).square() / 2
        return Stages(t, (state - drift,), (estimate + drift * process.signal(t),), noise)

    def _velocity(self, process: SpectralProcess, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        if not self.constant_colour:
            return euler_step(process, t, s - t)
        h = column(s - t)
        return 1 + h / column(t), h * (-1 / process.timesteps - process.signal(t) / column(t))


@dataclass(frozen=True)
class ScalarDDPM(Sampler):
    """DDPM's step with its scalar coefficients and shaped noise, as released; first order.

    Attributes:
        double_sigma: a fault, the noise level multiplies the noise twice.
    """

    double_sigma: bool = True

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t = times
        a_t, a_s = process.signal(t), process.signal(s)
        alpha, variance = (a_t / a_s).square(), 1 - a_t.square()  # variance is sigma_t^2
        pull = (1 - alpha) / variance  # on the network's (x_t - a_t x_0) / sigma_t
        level = (pull * (1 - a_s.square()) / variance).sqrt()
        noise = (level.square() if self.double_sigma else level) * process.noise(t)
        return Stages(t, ((1 - pull) / alpha.sqrt(),), (pull * a_t / alpha.sqrt(),), noise)
