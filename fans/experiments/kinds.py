"""Which class runs which kind of experiment."""

from pathlib import Path

from fans.experiments.beds import DiscriminatorBed, Gan, GeneratorBed
from fans.experiments.config import Denoising, Experiment, Method, Options
from fans.experiments.denoising import DenoisingRun
from fans.experiments.gan import DiscriminatorRun, GanRun, GeneratorRun
from fans.experiments.run import Run
from fans.experiments.students import Compression, StudentRun

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
