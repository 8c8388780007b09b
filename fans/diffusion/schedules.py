"""Scalar schedules: how much signal and noise every frequency gets before any colour is added.

A schedule is a function of time ``t``, whole or real, from 0 (clean) to T: the signal level ``a_t`` and the
noise level ``s_t``, with ``a_0 = 1`` and ``s_0 = 0``. All but ``rectified`` keep ``a_t^2 + s_t^2 = 1``, so
that ``alpha_bar = a_t^2``. A schedule that ends at ``a_T = 0`` leaves nothing of the image; predictions that
divide by ``a_t`` (epsilon, score) then need another ending, e.g. ``partial(cosine, end=0.99)``.

Levels have the shape, precision and device of t.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from inspect import signature
from math import cosh, pi
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from fans._validation import known

ScheduleName = Literal["linear", "cosine", "sigmoid", "rectified"]


class Schedule(NamedTuple):
    """Signal and noise level, each of the shape of the times asked for."""

    signal: Tensor
    noise: Tensor


ScheduleFunction = Callable[[Tensor, int], Schedule]
ScheduleLike = ScheduleName | ScheduleFunction | Mapping[str, Any]


def linear(t: Tensor, timesteps: int = 1000, *, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """DDPM: ``alpha_bar_t = prod_{i <= t} (1 - beta_i)``, beta linear from ``beta_start`` to ``beta_end``.

    The betas belong to one timestep and are not rescaled with T, as in ``diffusers``. Between whole timesteps
    ``log alpha_bar`` is interpolated linearly in a table of T + 1 numbers, so that whole ones are exact.

    >>> round(float(linear(torch.tensor(1000.0)).signal ** 2), 7)
    4.04e-05
    """
    if not 0 < beta_start < 1 or not 0 < beta_end < 1:
        raise ValueError(f"beta_start={beta_start}, beta_end={beta_end}: must lie strictly between 0 and 1")
    return _from_log(interpolated(_log_alpha_bar(timesteps, beta_start, beta_end, t.dtype, t.device), t))


def cosine(t: Tensor, timesteps: int = 1000, *, start: float = 0.0, end: float = 1.0) -> Schedule:
    """``alpha_bar = cos^2(p) / cos^2(p_0)``, the phase p running from ``start`` to ``end`` quarter turns.

    ``start=0.008 / 1.008`` is the offset of Nichol and Dhariwal.

    >>> cosine(torch.tensor(4.0), 4).signal.item()
    0.0
    """
    if not 0 <= start < end <= 1:
        raise ValueError(f"start={start}, end={end}: must satisfy 0 <= start < end <= 1")
    phase, first = pi / 2 * _line(start, end, t / timesteps), pi / 2 * torch.full_like(t, start)
    # sin(pi/2 - p) and the product form of cos^2(p_0) - cos^2(p) are exact at both ends, where cos is not
    cos_p, cos_0 = torch.sin(pi / 2 - phase), torch.sin(pi / 2 - first)
    return Schedule(cos_p / cos_0, (torch.sin(phase - first) * torch.sin(phase + first)).sqrt() / cos_0)


def sigmoid(t: Tensor, timesteps: int = 1000, *, start: float = -3.0, end: float = 3.0) -> Schedule:
    """``1 - alpha_bar`` is the logistic function on [start, end], stretched to run from 0 to 1.

    >>> sigmoid(torch.arange(3.0), 2).noise.square().round(decimals=6).tolist()
    [0.0, 0.5, 1.0]
    """
    if not -torch.inf < start < end < torch.inf:
        raise ValueError(f"start={start}, end={end}: must be finite and satisfy start < end")
    u = _line(start, end, t / timesteps)
    # sigmoid(y) - sigmoid(x) = sinh((y - x) / 2) / (2 cosh(x / 2) cosh(y / 2)), where nothing cancels
    left = torch.sinh((end - u) / 2) * cosh(start / 2)
    gone = torch.sinh((u - start) / 2) * cosh(end / 2)
    return Schedule((left / (left + gone)).sqrt(), (gone / (left + gone)).sqrt())


def rectified(t: Tensor, timesteps: int = 1000, *, end: float = 1.0) -> Schedule:
    """Straight line between image and noise: ``a_t = 1 - u, s_t = u``, u running from 0 to ``end``.

    >>> rectified(torch.arange(3.0), 2).noise.tolist()
    [0.0, 0.5, 1.0]
    """
    if not 0 < end <= 1:
        raise ValueError(f"end={end}: must lie in (0, 1]")
    u = end * (t / timesteps)
    return Schedule(1 - u, u)


_NAMED: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "rectified": rectified,
}


def schedule_of(schedule: ScheduleLike) -> ScheduleFunction:
    """The function of a schedule: of its name, of its configuration (``schedule_config``), or itself.

    Raises:
        ValueError: unknown name or option.
        TypeError: none of the three.

    >>> round(schedule_of({"name": "cosine", "end": 0.5})(torch.tensor(10.0), 10).signal.item() ** 2, 6)
    0.5
    """
    if callable(schedule):
        return schedule
    options = {"name": schedule} if isinstance(schedule, str) else schedule
    if not isinstance(options, Mapping) or "name" not in options:
        raise TypeError(
            f"schedule={schedule!r}: must be one of {', '.join(_NAMED)}, a configuration like"
            ' {"name": "cosine", "end": 0.99}, or a function of times and T'
        )
    known("schedule", options["name"], tuple(_NAMED))
    function = _NAMED[options["name"]]
    for name in options.keys() - {"name"}:
        known(f"option of schedule {options['name']!r}", name, tuple(_defaults(function)))
    return partial(function, **{name: value for name, value in options.items() if name != "name"})


def schedule_config(schedule: ScheduleLike) -> dict[str, Any]:
    """Name and all options of a schedule, for JSON.

    Raises:
        ValueError: a function of your own, which has no name.

    >>> schedule_config(partial(cosine, end=0.99))
    {'name': 'cosine', 'start': 0.0, 'end': 0.99}
    """
    function, options = schedule_of(schedule), dict[str, Any]()
    while isinstance(function, partial):
        options = function.keywords | options
        function = function.func
    names = [name for name, named in _NAMED.items() if named is function]
    if not names or not options.keys() <= _defaults(function).keys():
        raise ValueError(
            f"schedule {schedule!r} is a function of your own: only named ones have a configuration"
        )
    return {"name": names[0]} | _defaults(function) | options


def interpolated(table: Tensor, t: Tensor) -> Tensor:
    """Rows of a table (T + 1, ...) at times t from 0 to T, linear between them: ``(*t.shape, ...)``."""
    low = t.floor().clamp(0, len(table) - 2).long()
    share = (t - low).reshape(t.shape + (1,) * (table.ndim - 1))
    return torch.lerp(table[low], table[low + 1], share)


def interpolated_log(alpha_bar: Tensor, t: Tensor) -> Schedule:
    """The schedule of a table of alpha_bar at whole times (T + 1,), log-linear between them."""
    return _from_log(interpolated(alpha_bar.log(), t))


def _from_log(log_alpha_bar: Tensor) -> Schedule:
    return Schedule((log_alpha_bar / 2).exp(), (-torch.expm1(log_alpha_bar)).sqrt())


@lru_cache(maxsize=32)
def _log_alpha_bar(
    timesteps: int, beta_start: float, beta_end: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The table of ``linear``, (T + 1,)."""
    beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    table = torch.cat([beta.new_zeros(1), torch.log1p(-beta).cumsum(0)])
    return table.to(device, dtype)


def _line(start: float, end: float, u: Tensor) -> Tensor:
    """From start to end, exact at both."""
    return torch.lerp(torch.full_like(u, start), torch.full_like(u, end), u)


def _defaults(function: Callable[..., Schedule]) -> dict[str, Any]:
    """The options of a named schedule and their defaults."""
    return {name: p.default for name, p in signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
