"""What numbers say of a statement: an effect, its interval, and the effects that confirm or refute it.

A statement about an effect comes with two thresholds: the smallest effect that would confirm it, and the
largest that would refute it. An interval beyond the one confirms, an interval beyond the other refutes, and
one that reaches further than either leaves the question open. So a narrower interval within the old one never
turns a verdict, and an effect that was not found is not called absent.

>>> above("gain (dB)", Estimate(0.8, 0.5, 1.1), 0.3, refuted=0.0, why="seeds differ by 0.3 dB").says
'holds'
>>> above("gain (dB)", Estimate(0.8, -0.2, 1.8), 0.3, refuted=0.0, why="seeds differ by 0.3 dB").says
'open'
"""

from dataclasses import dataclass, replace
from math import inf, isnan
from typing import Any, Literal, NamedTuple, Protocol

Outcome = Literal["holds", "refuted", "open"]
ROUNDING = 1e-9  # relative; double precision leaves less in every formula of the book


class Interval(Protocol):
    """Anything with a value and the ends of its interval, such as ``fans.experiments.tables.Difference``."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Estimate(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """A measured effect against the effects that confirm and those that refute a statement.

    Attributes:
        what: the effect in words, with its unit.
        effect: value and interval; an exact number has both ends at its value.
        holds: lowest and highest effect that confirm.
        refuted: ranges of effects that refute.
        why: where the thresholds come from.
        grain: what is smaller is rounding and printed as 0, since no two machines share it.
    """

    what: str
    effect: Estimate
    holds: tuple[float, float]
    refuted: tuple[tuple[float, float], ...]
    why: str
    grain: float = ROUNDING

    @property
    def says(self) -> Outcome:
        """``holds`` or ``refuted`` if the whole interval lies there, else ``open``."""
        _, low, high = self.effect
        if self.holds[0] <= low and high <= self.holds[1]:
            return "holds"
        if any(first <= low and high <= last for first, last in self.refuted):
            return "refuted"
        return "open"

    def __str__(self) -> str:
        value, low, high = (_digits(end, self.grain) for end in self.effect)
        interval = "" if low == high else f" [{low}, {high}]"
        confirmed = f"confirmed {_range(*self.holds, self.grain)} ({self.why})"
        return f"{self.what}: {value}{interval}, {confirmed}: {self.says}"


def above(what: str, effect: Any, least: float, *, refuted: float | None = None, why: str) -> Evidence:
    """The effect is at least ``least``.

    Args:
        what: the effect in words, with its unit.
        effect: a number, or an `Interval`.
        least: the smallest effect that confirms.
        refuted: the largest effect that refutes; below ``least`` unless given, which only a number without an
            interval may leave out.
        why: where both come from.

    Raises:
        ValueError: an effect that is not a number, an interval without ``refuted``, thresholds in the wrong
            order, no reason.
    """
    estimate = _estimate(what, effect)
    limit = _limit(what, estimate, least, refuted, why)
    if limit > least:
        raise ValueError(f"{what}: refuted={limit} must not exceed the {least} that confirms")
    return Evidence(what, estimate, (least, inf), ((-inf, limit),), why)


def below(what: str, effect: Any, most: float, *, refuted: float | None = None, why: str) -> Evidence:
    """The effect is at most ``most``; arguments as for `above`."""
    estimate = _estimate(what, effect)
    limit = _limit(what, estimate, most, refuted, why)
    if limit < most:
        raise ValueError(f"{what}: refuted={limit} must not lie below the {most} that confirms")
    return Evidence(what, estimate, (-inf, most), ((limit, inf),), why)


def near(what: str, effect: Any, value: float, *, within: float, why: str) -> Evidence:
    """The effect is ``value``, give or take ``within``: a test of equivalence.

    It holds if the whole interval lies within, and is refuted if the whole interval lies on one side without.

    >>> near("ratio", Estimate(1.01, 0.98, 1.04), 1.0, within=0.05, why="two machines differ by 0.03").says
    'holds'
    """
    estimate = _estimate(what, effect)
    _limit(what, estimate, within, within, why)
    low, high = value - within, value + within
    return Evidence(what, estimate, (low, high), ((-inf, low), (high, inf)), why)


def exact(what: str, error: Any, *, rounding: float = ROUNDING) -> Evidence:
    """Two things are equal: their difference is rounding, 1e-5 or so where images are in single precision."""
    found = near(what, error, 0.0, within=rounding, why="give or take rounding")
    return replace(found, grain=rounding)


def fact(what: str, found: bool) -> Evidence:
    """A comparison that is true or false, such as the shape of an array or the wording of a formula."""
    if type(found).__name__ not in {"bool", "bool_"}:
        raise ValueError(f"{what}: {found!r} is no comparison; give True or False")
    return near(what, float(found), 1.0, within=0.5, why="1 is true, 0 false")


def _estimate(what: str, effect: Any) -> Estimate:
    if hasattr(effect, "low"):
        found = Estimate(float(effect.value), float(effect.low), float(effect.high))
    else:
        found = Estimate(float(effect), float(effect), float(effect))
    if any(map(isnan, found)) or not found.low <= found.high:
        raise ValueError(f"{what}: {effect} is no effect with an interval from low to high")
    return found


def _limit(what: str, effect: Estimate, confirms: float, refuted: float | None, why: str) -> float:
    if not why:
        raise ValueError(f"{what}: say in why= where its thresholds come from")
    if refuted is None and effect.low != effect.high:
        raise ValueError(f"{what}: an effect with an interval needs refuted=, the effect that would refute")
    return confirms if refuted is None else refuted


def _range(low: float, high: float, grain: float) -> str:
    if low == -inf:
        return f"up to {_digits(high, grain)}"
    if high == inf:
        return f"from {_digits(low, grain)}"
    ends = [_digits(low, grain), _digits(high, grain)]
    return f"at {ends[0]}" if ends[0] == ends[1] else "from " + " to ".join(ends)


def _digits(value: float, grain: float) -> str:
    """Three digits with a proper minus sign."""
    return "0" if abs(value) <= grain else f"{value:.3g}".replace("-", "−")


def together(evidence: tuple[Evidence, ...]) -> Outcome:
    """All of it: refuted if any part is, open if any part is, else holds."""
    found = {part.says for part in evidence}
    return "refuted" if "refuted" in found else "open" if "open" in found else "holds"
