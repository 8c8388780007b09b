"""Reading the table of an experiment: scores by seed, terms by band, differences with their intervals."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from fans.experiments.results import Result
from fans.metrics.intervals import Floats


class Difference(NamedTuple):
    """Mean difference of paired scores, and the interval of Student's t."""

    value: float
    low: float
    high: float


def scores(
    result: Result,
    measure: str,
    arm: str,
    *,
    budget: int | None = None,
    steps: int | None = None,
    missing: bool = False,
) -> Floats:
    """The scores of an arm, one for each seed in order.

    Args:
        result: of an experiment.
        measure: such as ``bound``, ``FD_scattering`` or ``band error 0.00-0.09``.
        arm: by name.
        budget: training steps, the last budget unless given.
        steps: of the sampler, the first of the experiment unless given; measures without a sampler have none.
        missing: return an empty array where there are none, as for the bound of a process without Markov
            chain.

    Raises:
        ValueError: no such measure, arm, budget or number of steps.
    """
    table = result.table
    rows = table[(table.measure == measure) & (table.arm == arm)]
    rows = rows[rows.budget == (result.experiment.budgets[-1] if budget is None else budget)]
    if rows.steps.notna().any():
        rows = rows[rows.steps == (rows.steps.iloc[0] if steps is None else steps)]
    if rows.empty and not missing:
        raise ValueError(
            f"{result.experiment.name} has no {measure!r} of {arm!r} at budget={budget}, steps={steps}; its"
            f" arms are {', '.join(table.arm.unique())}"
        )
    return np.asarray(rows.sort_values("seed").value, dtype=np.float64)


def floor(result: Result, measure: str) -> float:
    """What as many real images score, which is the same for all arms."""
    rows = result.table[
        (result.table.measure == measure) & result.table.seed.isin(range(result.experiment.seeds))
    ]
    return float(rows.floor.mean())


def terms(
    result: Result, arm: str, *, budget: int | None = None, steps: int | None = None
) -> dict[str, Floats]:
    """Sampler, gain and stray terms of an arm's error in each band, dB, (S, B) for S seeds."""
    bands = sorted(
        int(name.split()[1]) for name in result.table.measure.unique() if name.startswith("total ")
    )
    return {
        term: np.stack(
            [scores(result, f"{term} {band}", arm, budget=budget, steps=steps) for band in bands], axis=1
        )
        for term in ("sampler", "gain", "stray")
    }


def compare(
    result: Result,
    measure: str,
    a: str,
    b: str,
    *,
    budget: int | None = None,
    change: Callable[[Floats], Floats] = np.asarray,
) -> Difference:
    """Mean difference of two arms, paired by seed; not a number where one has no such measure.

    Args:
        result, measure, budget: as for ``scores``.
        a, b: arms.
        change: what is done to the scores first, such as a logarithm.
    """
    x, y = (scores(result, measure, arm, budget=budget, missing=True) for arm in (a, b))
    if len(x) != len(y) or not len(x):
        return Difference(float("nan"), float("nan"), float("nan"))
    return paired(change(x), change(y))


def paired(a: Floats, b: Floats, *, confidence: float = 0.95) -> Difference:
    """Mean of ``a - b`` over pairs, such as seeds, and its interval.

    >>> paired(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.5, 1.5])).value
    1.0
    """
    if np.ptp(a - b) == 0:  # equal networks, of which Student's t knows nothing
        return Difference(float(np.mean(a - b)), float(np.mean(a - b)), float(np.mean(a - b)))
    interval = stats.ttest_rel(a, b).confidence_interval(confidence)
    return Difference(float(np.mean(a - b)), float(interval.low), float(interval.high))
