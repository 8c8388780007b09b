"""Experiments by name, and which class runs which kind of them.

A kind of experiment is a frozen dataclass that says what is compared, and a `Run` that trains and judges::

    @dataclass(frozen=True)
    class Mine(Experiment): ...

    @kind(Mine)
    @dataclass(frozen=True)
    class MineRun(Run): ...

    register(Mine("mine", Data("rings"), arms=(...)))

Whatever is registered here, inside the package or outside, can be reproduced, checked and loaded by name.
"""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar, get_args

from fans._validation import known
from fans.experiments.config import Experiment, Method, Options, Scale
from fans.experiments.run import Run

R = TypeVar("R", bound=type[Run])
_FID_FEATURES = 2048  # which samples must outnumber
_KINDS: dict[type[Experiment], type[Run]] = {}
_NAMED: dict[str, dict[str, Experiment]] = {"cpu": {}, "gpu": {}}


def kind(experiment: type[Experiment]) -> Callable[[R], R]:
    """Decorate a class of runs: it runs the experiments of a class, and of those derived from it.

    Both belong into one module, so that worker processes, which import the module of what they are to run,
    know them too.
    """

    def decorate(run: R) -> R:
        _KINDS[experiment] = run
        return run

    return decorate


def run_of(experiment: Experiment, arm: Method, seed: int, options: Options, home: Path | None) -> Run:
    """The run of an arm, of the class that its kind of experiment has.

    Raises:
        TypeError: a kind that has none.
    """
    found = next((_KINDS[known] for known in type(experiment).__mro__ if known in _KINDS), None)
    if found is None:
        names = ", ".join(known.__name__ for known in _KINDS)
        raise TypeError(
            f"{experiment.name!r} is a {type(experiment).__name__}: kinds that run are {names}; decorate a"
            " class of runs with @kind"
        )
    return found(experiment, arm, seed, options, home)


def register(*experiments: Experiment, scale: Literal["cpu", "gpu"] = "cpu", again: bool = False) -> None:
    """Make experiments known by their names.

    Args:
        experiments: to be found by `get`.
        scale: what they need; their smoke forms are known at scale ``smoke``.
        again: replace others of the same names, as in a notebook whose cell is run once more.

    Raises:
        ValueError: another experiment has the name, or no such scale.
        TypeError: nobody runs such an experiment.
    """
    known("scale", scale, tuple(_NAMED))
    table = _NAMED[scale]
    for experiment in experiments:
        if not again and table.get(experiment.name, experiment) != experiment:
            raise ValueError(
                f"another experiment is called {experiment.name!r} at scale {scale!r}: choose another name,"
                " or replace it with again=True"
            )
        for arm in experiment.arms[:1]:
            run_of(experiment, arm, 0, arm.options, None)
        table[experiment.name] = experiment


def names(scale: Scale = "cpu") -> tuple[str, ...]:
    """Experiments that exist at a scale; ``smoke`` has those of both others.

    Raises:
        ValueError: no such scale.

    >>> "fans-pltb" in names()
    True
    """
    return tuple(_known(scale))


def _known(scale: Scale) -> dict[str, Experiment]:
    known = {**_NAMED, "smoke": _NAMED["gpu"] | _NAMED["cpu"]}
    if scale not in known:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(get_args(Scale))}")
    return known[scale]


def get(name: str, scale: Scale = "cpu", *, fid: bool = False) -> Experiment:
    """An experiment by name; at ``smoke``, its form that runs in seconds.

    Args:
        name: one of ``names(scale)``.
        scale: ``cpu``, ``gpu`` or ``smoke``.
        fid: adds the features ``inception``, which only torch-fidelity has and no experiment asks for itself,
            to those that compare features.

    Raises:
        ValueError: no such experiment at this scale, or too few samples for the FID.

    >>> get("fans-pltb", "smoke").budgets
    (0, 2)
    """
    known = _known(scale)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no experiment {name!r} at scale {scale!r}: {hint}there are {', '.join(known)}")
    found = known[name].smoke() if scale == "smoke" else known[name]
    if not (fid and found.features):
        return found  # test beds know which image each should be, and compare no features
    if found.samples <= _FID_FEATURES:
        raise ValueError(
            f"the FID needs more than {_FID_FEATURES} samples, and {name!r} at scale {scale!r} has"
            f" {found.samples}: leave fid out, or take scale 'gpu'"
        )
    # First, since the last features are those that grids are chosen by.
    return replace(found, features=("inception", *found.features))
