"""Scalar schedules: how much signal and noise every frequency gets before any colour is added.

A schedule is a pair of tables over the integer timesteps ``0 ... T``: the signal level ``a_t`` and the noise
level ``s_t``, with ``a_0 = 1`` and ``s_0 = 0``. All but ``rectified`` keep ``a_t^2 + s_t^2 = 1``, so that
``alpha_bar = a_t^2``. A schedule that ends at ``a_T = 0`` leaves nothing of the image; predictions that
divide by ``a_t`` (epsilon, score) then need another ending, e.g. ``partial(cosine, end=0.99)``.
"""

from collections.abc import Callable
from math import pi
from typing import Literal, NamedTuple

import torch
from torch import Tensor

ScheduleName = Literal["linear", "cosine", "sigmoid", "rectified"]


class Schedule(NamedTuple):
    """Signal and noise level at every timestep, each float64 of shape (T + 1,)."""

    signal: Tensor
    noise: Tensor


ScheduleLike = ScheduleName | Callable[[int], Schedule]


def linear(timesteps: int = 1000, *, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """DDPM: ``alpha_bar_t = prod_{i <= t} (1 - beta_i)``, beta linear from ``beta_start`` to ``beta_end``.

    The betas belong to one timestep and are not rescaled with T, as in ``diffusers``.

    >>> round(float(linear().signal[-1] ** 2), 7)
    4.04e-05
    """
    if not 0 < beta_start < 1 or not 0 < beta_end < 1:
        raise ValueError(f"beta_start={beta_start}, beta_end={beta_end}: must lie strictly between 0 and 1")
    beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    log_alpha_bar = torch.cat([beta.new_zeros(1), torch.log1p(-beta).cumsum(0)])
    return Schedule((log_alpha_bar / 2).exp(), (-torch.expm1(log_alpha_bar)).sqrt())


def cosine(timesteps: int = 1000, *, start: float = 0.0, end: float = 1.0) -> Schedule:
    """``alpha_bar = cos^2(p) / cos^2(p_0)``, the phase p running from ``start`` to ``end`` quarter turns.

    ``start=0.008 / 1.008`` is the offset of Nichol and Dhariwal.

    >>> cosine(4).signal.tolist()[-1]
    0.0
    """
    if not 0 <= start < end <= 1:
        raise ValueError(f"start={start}, end={end}: must satisfy 0 <= start < end <= 1")
    phase = pi / 2 * torch.linspace(start, end, timesteps + 1, dtype=torch.float64)
    # sin(pi/2 - p) and the product form of cos^2(p_0) - cos^2(p) are exact at both ends, where cos is not
    cos_p = torch.sin(pi / 2 - phase)
    cos_0 = cos_p[0]
    return Schedule(cos_p / cos_0, (torch.sin(phase - phase[0]) * torch.sin(phase + phase[0])).sqrt() / cos_0)


def sigmoid(timesteps: int = 1000, *, start: float = -3.0, end: float = 3.0) -> Schedule:
    """``1 - alpha_bar`` is the logistic function on [start, end], stretched to run from 0 to 1.

    >>> sigmoid(2).noise.square().round(decimals=6).tolist()
    [0.0, 0.5, 1.0]
    """
    if not start < end:
        raise ValueError(f"start={start}, end={end}: must satisfy start < end")
    rise = torch.linspace(start, end, timesteps + 1, dtype=torch.float64).sigmoid()
    fall = torch.linspace(-start, -end, timesteps + 1, dtype=torch.float64).sigmoid()
    span = rise[-1] - rise[0]
    return Schedule(((fall - fall[-1]).clamp(min=0) / span).sqrt(), ((rise - rise[0]) / span).sqrt())


def rectified(timesteps: int = 1000, *, end: float = 1.0) -> Schedule:
    """Straight line between image and noise: ``a_t = 1 - u, s_t = u``, u running from 0 to ``end``.

    >>> rectified(2).noise.tolist()
    [0.0, 0.5, 1.0]
    """
    if not 0 < end <= 1:
        raise ValueError(f"end={end}: must lie in (0, 1]")
    u = torch.linspace(0, end, timesteps + 1, dtype=torch.float64)
    return Schedule(1 - u, u)


_NAMED: dict[str, Callable[[int], Schedule]] = {
    "linear": linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "rectified": rectified,
}


def tables(schedule: ScheduleLike, timesteps: int) -> Schedule:
    """Look up a schedule by name, or call one, for ``timesteps`` steps.

    >>> from functools import partial
    >>> tables(partial(cosine, end=0.5), 10).signal.shape
    torch.Size([11])
    """
    if timesteps < 2:
        raise ValueError(f"timesteps={timesteps}: a process needs at least 2")
    if isinstance(schedule, str):
        if schedule not in _NAMED:
            raise ValueError(f"schedule={schedule!r}: must be {', '.join(_NAMED)} or a function of timesteps")
        schedule = _NAMED[schedule]
    result = schedule(timesteps)
    if result.signal.shape != (timesteps + 1,) or result.noise.shape != (timesteps + 1,):
        raise ValueError(
            f"schedule gave {len(result.signal)} signal levels: must give {timesteps + 1} of each"
        )
    return result
