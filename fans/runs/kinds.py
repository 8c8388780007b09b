"""Which class runs which kind of experiment."""

from pathlib import Path

from fans.runs.beds import DiscriminatorBed, Gan, GeneratorBed
from fans.runs.config import Denoising, Experiment, Method, Options
from fans.runs.denoising import DenoisingRun
from fans.runs.gan import DiscriminatorRun, GanRun, GeneratorRun
from fans.runs.students import Compression, StudentRun
from fans.runs.train import Run

_KINDS: dict[type[Experiment], type[Run]] = {
    Denoising: DenoisingRun,
    Compression: StudentRun,
    GeneratorBed: GeneratorRun,
    DiscriminatorBed: DiscriminatorRun,
    Gan: GanRun,
}


def run_of(experiment: Experiment, arm: Method, seed: int, options: Options, home: Path | None) -> Run:
    """The run of an arm, of the class that its kind of experiment has.

    Raises:
        TypeError: a kind that has none.
    """
    kind = next((_KINDS[known] for known in type(experiment).__mro__ if known in _KINDS), None)
    if kind is None:
        names = ", ".join(known.__name__ for known in _KINDS)
        raise TypeError(f"{experiment.name!r} is a {type(experiment).__name__}: kinds that run are {names}")
    return kind(experiment, arm, seed, options, home)
