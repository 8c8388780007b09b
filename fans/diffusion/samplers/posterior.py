"""Samplers that keep the marginals of every time: DDIM, DDPM's, those between, and the exact variance.

With ``eps_hat = (x_t - a_t x0_hat) / s_t`` and any ``0 <= sigma <= s_s``,

    x_s = a_s x0_hat + sqrt(s_s^2 - sigma^2) eps_hat + sigma n

has the marginal of time s if x0_hat is the image. What the samplers choose is sigma, per frequency.
"""

from dataclasses import dataclass, field

from torch import Tensor

from fans.diffusion.checks import as_spectrum
from fans.diffusion.plane import Spectrum
from fans.diffusion.process import SpectralProcess
from fans.diffusion.samplers.plan import Sampler, Stages


@dataclass(frozen=True)
class Eta(Sampler):
    """Between DDIM (0) and ancestral sampling (1), ``sigma^2 = eta^2 s_s^2 (1 - rho_t / rho_s)``.

    ``rho = a^2 / s^2``; first order. Song, Meng and Ermon (2021), Denoising diffusion implicit models,
    eq. 16, per frequency.

    Attributes:
        eta: from 0 to 1.

    Raises:
        ValueError: eta outside; in use, if eta > 0, a process whose SNR rises somewhere, so that no Markov
            chain exists.
    """

    eta: float

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta={self.eta}: must lie between 0 (ddim) and 1 (ancestral)")

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t = times
        ratio = _snr_ratio(process, s, t)
        if self.eta > 0:
            _check_markov(process, ratio, s, t)
        return _step(process, s, t, self.eta**2 * process.noise(s).square() * (1 - ratio.clamp(max=1)))


@dataclass(frozen=True)
class DDIM(Sampler):
    """Deterministic, ``x_s = a_s x0_hat + s_s eps_hat``; first order.

    Song, Meng and Ermon (2021), Denoising diffusion implicit models, per frequency; it is DPM-Solver++ of
    first order. With the exact denoiser a step multiplies the power by the squared cosine of
    ``theta_t - theta_s`` (``fans.diffusion.wiener.cosine_law``).
    """

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t = times
        state = process.noise(s) / process.noise(t)
        return Stages(t, (state,), (process.signal(s) - state * process.signal(t),))


@dataclass(frozen=True)
class Ancestral(Sampler):
    """DDPM's, which samples the Markov chain backwards: ``sigma^2 = s_s^2 (1 - rho_t / rho_s)``; first order.

    Equivalently the posterior of x_s given x_t and x0_hat. Ho, Jain and Abbeel (2020), Denoising diffusion
    probabilistic models, eq. 6-7 with the variance beta-tilde, per frequency.

    Raises:
        ValueError: in use, a process whose SNR rises somewhere, so that no Markov chain exists.
    """

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        return Eta(1.0).stages(process, times)


@dataclass(frozen=True, eq=False)
class Exact(Sampler):
    """Ancestral, plus the variance that x0_hat lacks: the right spectrum in any number of steps.

    With r = rho_t / rho_s, at most 1, and ``B = a_s - sqrt(s_s^2 r) a_t / s_t``,

        S^2 = s_s^2 (1 - r) + B^2 C s_t^2 / (a_t^2 C + s_t^2).

    Bao, Li, Zhu and Zhang (2022), Analytic-DPM, with the posterior variance of Gaussian data of power C, per
    frequency. It needs no Markov chain: where the SNR rises, r is 1.

    Attributes:
        spectrum: power C of the data per coefficient, (H, W//2 + 1).
    """

    spectrum: Spectrum = field(repr=False)

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """Coefficients of steps from t to s."""
        s, t = times
        ratio = _snr_ratio(process, s, t).clamp(max=1)
        C, variance = as_spectrum(self.spectrum, process.size), process.noise(s).square() * (1 - ratio)
        step = _step(process, s, t, variance)
        lacking = step.estimates[0].square() * process.posterior_variance(t, C)
        return step._replace(noise=(variance + lacking).sqrt())


def _snr_ratio(process: SpectralProcess, s: Tensor, t: Tensor) -> Tensor:
    """``rho_t / rho_s``."""
    return (process.signal(t) * process.noise(s) / (process.signal(s) * process.noise(t))).square()


def _step(process: SpectralProcess, s: Tensor, t: Tensor, variance: Tensor) -> Stages:
    """The step that adds noise of the given variance sigma^2."""
    state = (process.noise(s).square() - variance).clamp(min=0).sqrt() / process.noise(t)
    return Stages(t, (state,), (process.signal(s) - state * process.signal(t),), variance.sqrt())


def _check_markov(process: SpectralProcess, ratio: Tensor, s: Tensor, t: Tensor) -> None:
    rises = ratio > 1 + 1e-9  # rounding of equal ratios is no rise
    if rises.any():
        step, row, column = rises.nonzero()[0].tolist()
        raise ValueError(
            f"process {process.name!r} has no Markov chain: its SNR rises from t={int(s[step])} to"
            f" t={int(t[step])} at coefficient ({row}, {column}); check() lists all such places. Use a"
            " sampler without a chain, such as 'ddim' or 'exact'"
        )
