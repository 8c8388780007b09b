"""What each scheduler of diffusers takes its state and its network's output to be.

A scheduler's state is ``x_t = a x_0 + s eps``; its network returns ``c x0_hat + d eps_hat``. The four
numbers of a call are all that a convention says. The families:

========  ==============================================  =======================
family    state                                           network
========  ==============================================  =======================
vp        a = sqrt(alpha_bar[t]), s^2 = 1 - a^2            epsilon, sample or v
sigma     a = 1, s = sigma (input scaled to vp)            epsilon, sample or v
solver    a, s from the scheduler's own sigma              epsilon, sample, v, flow
flow      a = 1 - sigma, s = sigma                         velocity eps - x_0
edm       a = 1, s = sigma, input and output scaled        preconditioned
========  ==============================================  =======================

and a few schedulers with one of their own. The denoiser is told the level of the state that it is given.
Where a scheduler rounds the timestep that it shows the network, a trained network is told a little less.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TOKENS = "denoises discrete tokens, which have no spectrum"
INVERSION = "runs from image to noise"
UNSCANNED = {
    "AmusedScheduler": TOKENS,
    "BlockRefinementScheduler": TOKENS,
    "DiscreteDDIMScheduler": TOKENS,
    "EntropyBoundScheduler": TOKENS,
    "VQDiffusionScheduler": TOKENS,
    "DDIMInverseScheduler": INVERSION,
    "DPMSolverMultistepInverseScheduler": INVERSION,
    "RFD4ProteinaScheduler": "denoises coordinates of protein backbones, not images",
}


class NetworkCall(NamedTuple):
    """``x_t = a x_0 + s eps``, and the network returns ``c x0_hat + d eps_hat``."""

    a: float
    s: float
    c: float
    d: float


Level = Callable[[Any, Any], NetworkCall]


@dataclass(frozen=True)
class Convention:
    """How a scheduler is run.

    Attributes:
        level: the state at a timestep, from scheduler and timestep.
        loop: which loop of ``fans.hub.loops`` its pipeline runs.
        defaults: options that differ from the scheduler's own, so that it is linear.
        start: standard deviation of the first state; None is the scheduler's ``init_noise_sigma``, or 1.
    """

    level: Level
    loop: str = "plain"
    defaults: dict[str, Any] = field(default_factory=dict)
    start: Callable[[Any], float] | None = None


def _output(prediction: str, a: float, s: float) -> tuple[float, float]:
    """(c, d) of a network with the given prediction, for a variance preserving or flow level (a, s)."""
    outputs = {
        "epsilon": (0.0, 1.0),
        "sample": (1.0, 0.0),
        "v_prediction": (-s, a),
        "flow_prediction": (-1.0, 1.0),
    }
    if prediction not in outputs:
        raise ValueError(f"prediction_type={prediction!r}: must be one of {', '.join(outputs)}")
    return outputs[prediction]


def _prediction(scheduler: Any) -> str:
    return str(scheduler.config.get("prediction_type", "epsilon"))


def _index(scheduler: Any, t: Any) -> int:
    """Number of the call, found as the scheduler's own ``step`` finds it."""
    if scheduler._step_index is None:
        if not hasattr(scheduler, "_init_step_index"):
            return 0
        scheduler._init_step_index(t)
    return int(scheduler._step_index)


def vp(scheduler: Any, t: Any) -> NetworkCall:
    """Variance preserving, ``alpha_bar`` from the scheduler's table."""
    alpha_bar = float(scheduler.alphas_cumprod[int(t)])
    a, s = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    return NetworkCall(a, s, *_output(_prediction(scheduler), a, s))


def _sigma(scheduler: Any, t: Any) -> float:
    """The level of the state: between two entries of the table in the second stage of a step."""
    index = _index(scheduler, t)
    if not getattr(scheduler, "state_in_first_order", True):
        if hasattr(scheduler, "sigmas_interpol"):
            late = 1 if "Ancestral" in type(scheduler).__name__ else 0
            return float(scheduler.sigmas_interpol[index - late])
        if hasattr(scheduler, "mid_point_sigma"):
            return float(scheduler.mid_point_sigma)
    return float(scheduler.sigmas[index])


def sigma(scheduler: Any, t: Any) -> NetworkCall:
    """Variance exploding state whose network sees it scaled to variance one: ``x / sqrt(1 + sigma^2)``."""
    level = _sigma(scheduler, t)
    scale = math.hypot(1, level)
    return NetworkCall(1.0, level, *_output(_prediction(scheduler), 1 / scale, level / scale))


def solver(scheduler: Any, t: Any) -> NetworkCall:
    """The solvers' own translation of sigma: variance preserving, or a flow with ``use_flow_sigmas``."""
    a, s = (float(v) for v in scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[_index(scheduler, t)]))
    return NetworkCall(a, s, *_output(_prediction(scheduler), a, s))


def flow(scheduler: Any, t: Any) -> NetworkCall:
    """Rectified flow, ``x = (1 - sigma) x_0 + sigma eps``, velocity ``eps - x_0``."""
    level = float(scheduler.sigmas[_index(scheduler, t)])
    return NetworkCall(1 - level, level, -1.0, 1.0)


def _preconditioned(a: float, s: float, skip: float, out: float) -> NetworkCall:
    """A network F with ``x0_hat = skip x + out F``; solve for F, x being ``a x0_hat + s eps_hat``."""
    return NetworkCall(a, s, (1 - skip * a) / out, -skip * s / out)


def edm(scheduler: Any, t: Any) -> NetworkCall:
    """Karras et al. (2022): c_skip and c_out are read off the scheduler's own ``precondition_outputs``."""
    level = float(scheduler.sigmas[_index(scheduler, t)])
    skip, out = (float(scheduler.precondition_outputs(x, F, level)) for x, F in ((1.0, 0.0), (0.0, 1.0)))
    return _preconditioned(1.0, level, skip, out)


def _consistency(scheduler: Any, t: Any) -> NetworkCall:
    level = float(scheduler.sigmas[_index(scheduler, t)])
    skip, out = scheduler.get_scalings_for_boundary_condition(scheduler.sigmas[_index(scheduler, t)].double())
    return _preconditioned(1.0, level, float(skip), float(out))


def _consistency_decoder(scheduler: Any, t: Any) -> NetworkCall:
    a, s = float(scheduler.sqrt_alphas_cumprod[t]), float(scheduler.sqrt_one_minus_alphas_cumprod[t])
    return _preconditioned(a, s, float(scheduler.c_skip[t]), float(scheduler.c_out[t]))


def _trigonometric(scheduler: Any, t: Any) -> NetworkCall:
    angle, data = float(t), float(scheduler.config.sigma_data)
    return _preconditioned(math.cos(angle), data * math.sin(angle), math.cos(angle), -math.sin(angle))


def _ipndm(scheduler: Any, t: Any) -> NetworkCall:
    index = _index(scheduler, t)
    a, s = float(scheduler.alphas[index]), float(scheduler.betas[index])
    return NetworkCall(a, s, -s, a)


def _wuerstchen(scheduler: Any, t: Any) -> NetworkCall:
    alpha_bar = float(scheduler._alpha_cumprod(t, "cpu"))
    return NetworkCall(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), 0.0, 1.0)


def _reversed_flow(scheduler: Any, t: Any) -> NetworkCall:
    state = flow(scheduler, t)
    return NetworkCall(state.a, state.s, 1.0, -1.0)


def _score_ve(scheduler: Any, t: Any) -> NetworkCall:
    level = float(scheduler.discrete_sigmas[int(t * (len(scheduler.timesteps) - 1))])
    return NetworkCall(1.0, level, 0.0, -1 / level)


def _score_vp(scheduler: Any, t: Any) -> NetworkCall:
    config = scheduler.config
    log_a = -0.25 * float(t) ** 2 * (config.beta_max - config.beta_min) - 0.5 * float(t) * config.beta_min
    return NetworkCall(math.exp(log_a), math.sqrt(-math.expm1(2 * log_a)), 0.0, 1.0)


def _karras_ve(scheduler: Any, level: Any) -> NetworkCall:
    return NetworkCall(1.0, float(level), 0.0, -1.0)


def _helios_dmd(scheduler: Any, t: Any) -> NetworkCall:
    nearest = (scheduler.timesteps - int(t)).abs().argmin()
    level = float(scheduler.sigmas[nearest])
    return NetworkCall(1 - level, level, -1.0, 1.0)


_UNCLIPPED = {"clip_sample": False}
_ONE_STAGE = {"stages": 1}  # more stages change the size of the picture on the way

CONVENTIONS: dict[str, Convention] = {
    "CMStochasticIterativeScheduler": Convention(_consistency, defaults={"clip_denoised": False}),
    "CogVideoXDDIMScheduler": Convention(vp, defaults=_UNCLIPPED),
    "CogVideoXDPMScheduler": Convention(vp, "cogvideox", _UNCLIPPED),
    "ConsistencyDecoderScheduler": Convention(_consistency_decoder),
    "CosineDPMSolverMultistepScheduler": Convention(edm),
    "DDIMParallelScheduler": Convention(vp, defaults=_UNCLIPPED),
    "DDIMScheduler": Convention(vp, defaults=_UNCLIPPED),
    "DDPMParallelScheduler": Convention(vp, defaults=_UNCLIPPED),
    "DDPMScheduler": Convention(vp, defaults=_UNCLIPPED),
    "DDPMWuerstchenScheduler": Convention(_wuerstchen, "batched_time"),
    "DEISMultistepScheduler": Convention(solver),
    "DPMSolverMultistepScheduler": Convention(solver),
    "DPMSolverSDEScheduler": Convention(sigma),
    "DPMSolverSinglestepScheduler": Convention(solver),
    "EDMDPMSolverMultistepScheduler": Convention(edm),
    "EDMEulerScheduler": Convention(edm),
    "EulerAncestralDiscreteScheduler": Convention(sigma),
    "EulerDiscreteScheduler": Convention(sigma),
    "FlowMapEulerDiscreteScheduler": Convention(flow),
    "FlowMatchEulerDiscreteScheduler": Convention(flow),
    "FlowMatchHeunDiscreteScheduler": Convention(flow),
    "FlowMatchLCMScheduler": Convention(flow),
    "HeliosDMDScheduler": Convention(_helios_dmd, "renoised", _ONE_STAGE),
    "HeliosScheduler": Convention(solver, defaults=_ONE_STAGE),
    "HeunDiscreteScheduler": Convention(sigma),
    "IPNDMScheduler": Convention(_ipndm),
    "KDPM2AncestralDiscreteScheduler": Convention(sigma),
    "KDPM2DiscreteScheduler": Convention(sigma),
    "KarrasVeScheduler": Convention(_karras_ve, "karras_ve"),
    "LCMScheduler": Convention(vp, defaults=_UNCLIPPED),
    "LMSDiscreteScheduler": Convention(sigma),
    "LTXEulerAncestralRFScheduler": Convention(flow),
    "MiniMaxH3Scheduler": Convention(_reversed_flow),
    "PNDMScheduler": Convention(vp),
    "PiflowScheduler": Convention(flow, "widened"),
    "RePaintScheduler": Convention(vp, "repaint", _UNCLIPPED | {"jump_n_sample": 1}),
    "SASolverScheduler": Convention(solver),
    "SCMScheduler": Convention(
        _trigonometric,
        "ends_at_zero",
        {"intermediate_timesteps": None},
        start=lambda scheduler: float(scheduler.config.sigma_data),
    ),
    "ScoreSdeVeScheduler": Convention(_score_ve, "score_ve"),
    "ScoreSdeVpScheduler": Convention(_score_vp, "score_vp"),
    "TCDScheduler": Convention(vp, defaults=_UNCLIPPED),
    "UnCLIPScheduler": Convention(vp, "unclip", _UNCLIPPED),
    "UniPCMultistepScheduler": Convention(solver),
}
