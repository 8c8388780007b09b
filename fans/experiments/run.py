"""One run of an experiment: an arm with a seed, trained through all budgets and judged after each.

What is trained, and how it is judged, says the kind of experiment by a class of its own: see ``Run``.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from fans.diffusion import SpectralProcess
from fans.experiments.config import Method, Options
from fans.experiments.data import Images, images_of
from fans.experiments.machine import on_main, one_thread
from fans.training import Record, checkpoints

T = TypeVar("T")
SHOWN = 16  # samples kept for figures


class Measure(NamedTuple):
    """One number about one arm; what does not apply is None."""

    arm: str
    seed: int
    budget: int
    steps: int | None
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    unit: str = ""


_NUMBER = int | float
_OPTIONAL = int | float | None
_KINDS = (
    str,
    int,
    int,
    int | None,
    str,
    _NUMBER,
    _OPTIONAL,
    _OPTIONAL,
    _OPTIONAL,
    str,
)  # of a measure in JSON


def slug(arm: Method) -> str:
    """The name of an arm as part of a file name."""
    return "-".join(arm.name.replace(",", "").lower().split())


class Course(Protocol):
    """A training run in progress, such as a ``fans.training.Trainer``.

    It resumes from its folder, and a run that was interrupted ends as one that was not.
    """

    step: int
    history: list[Record]
    accelerator: Any

    def run(self, *, until: int | None = None) -> list[Record]:
        """Train to a step, the last one unless given."""

    def weights(self) -> dict[str, Tensor]:
        """What is published of the networks as they are now."""


@dataclass(frozen=True)
class Run(ABC):
    """An arm with a seed; each kind of experiment has a class of its own.

    Attributes:
        experiment: which one.
        arm: of the experiment.
        seed: of the arm.
        options: of the arm, which validation may have chosen.
        home: folder of all results, for runs that build on those of another experiment; None in the smoke
            form, which builds on nothing.
        telling: beginnings of the names of measures that go into fingerprints.
        recorded: numbers of each step that are published as curves.
    """

    experiment: Any
    arm: Any
    seed: int
    options: Options
    home: Path | None = None
    telling: ClassVar[tuple[str, ...]] = ("",)
    recorded: ClassVar[tuple[str, ...]] = ("loss",)

    @property
    def folder(self) -> str:
        """Name of its folder among those of the experiment."""
        return f"{slug(self.arm)}-{self.seed}"

    def images(self) -> Images:
        """The images of the experiment."""
        return images_of(self.experiment.data, self.experiment.samples)

    @abstractmethod
    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Any:
        """The course of the training, resumed from its folder, in these or all launched processes."""

    @abstractmethod
    def judge(self, course: Any, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Every measure of the networks as they are now, and up to 16 images to show."""

    def distance(self, course: Any, images: Images) -> tuple[float, float]:
        """What a grid is chosen by: a distance to the validation images, and its floor.

        Raises:
            ValueError: arms of this kind cannot have a grid.
        """
        raise ValueError(f"{type(self).__name__} has no grid: leave {self.arm.name!r} without one")

    def criterion(self) -> tuple[str, int | None]:
        """Name of that distance, and the steps of its sampler, if it has one."""
        return "distance", None

    def denoiser(self, spectrum: Tensor, weights: Mapping[str, Tensor]) -> tuple[SpectralProcess, nn.Module]:
        """Process and trained network, from what was stored of them.

        Raises:
            ValueError: this kind trains no denoisers.
        """
        raise ValueError(f"{self.experiment.name} trains no denoisers: `weights` has what it trained")

    def inherited(self) -> dict[str, float]:
        """Numbers of other results that this run builds on, for the fingerprint."""
        return {}


def train(run: Run, folder: Path) -> None:
    """Train through all budgets, judge after each, and leave measures, curve, weights and samples.

    A budget that was judged before is not judged again. Of several processes, the main one judges and
    writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread(unless_cuda=True):
        images = run.images()
        course = run.trainer(images, folder, steps=run.experiment.budgets[-1])
        for budget in run.experiment.budgets_of(run.seed):
            course.run(until=budget)
            on_main(course.accelerator, partial(_judge, run, course, images, folder, budget))
        on_main(course.accelerator, partial(_finish, course, folder))


def _judge(run: Run, course: Course, images: Images, folder: Path, budget: int) -> None:
    done = folder / f"measures-{budget}.json"
    if done.exists():
        return
    if course.step != budget:
        raise ValueError(
            f"{done} is missing, but the run is at step {course.step} already: delete {folder} to train anew"
        )
    measures, shown = run.judge(course, images, budget)
    _write_tensors(folder / "samples.safetensors", {"samples": shown})
    checkpoints.write(done, json.dumps(measures).encode())


def _finish(course: Course, folder: Path) -> None:
    """Weights, and the curve last; the checkpoints, large for large networks, have served."""
    _write_tensors(folder / "weights.safetensors", course.weights())
    checkpoints.write(folder / "curve.json", json.dumps(course.history).encode())
    for path in checkpoints.every(folder):
        shutil.rmtree(path, ignore_errors=True)


class Outcome(NamedTuple):
    """What a finished run left.

    Attributes:
        measures: of all budgets.
        curve: records of the training loss.
        weights: averaged, after the last budget, in half precision.
        samples: 16 images after the last budget.
    """

    measures: list[Measure]
    curve: list[Record]
    weights: dict[str, Tensor]
    samples: Tensor


def outcome(run: Run, folder: Path) -> Outcome:
    """Read what a run left.

    Raises:
        FileNotFoundError: it has not finished.
        ValueError: a file is damaged; names it.
    """
    names = (f"measures-{budget}.json" for budget in run.experiment.budgets_of(run.seed))
    return Outcome(
        [row for name in names for row in read(folder / name, _measures)],
        read(folder / "curve.json", _curve),
        read(folder / "weights.safetensors", load),
        read(folder / "samples.safetensors", _shown),
    )


def read(path: Path, parse: Callable[[bytes], T]) -> T:
    """Read a file of a run.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; names it.
    """
    try:
        return parse(path.read_bytes())
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _measures(data: bytes) -> list[Measure]:
    rows = json.loads(data)
    if not isinstance(rows, list) or not all(map(_is_measure, rows)):
        raise ValueError(f"must be a list of measures, each with {', '.join(Measure._fields)}")
    return [Measure(*row) for row in rows]


def _is_measure(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == len(_KINDS)
        and all(isinstance(value, kind) for value, kind in zip(row, _KINDS, strict=True))
    )


def _curve(data: bytes) -> list[Record]:
    records = json.loads(data)
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and all(isinstance(record.get(key), int | float) for key in ("step", "loss"))
        for record in records
    ):
        raise ValueError("must be a list of records, each with step and loss")
    return records


def _shown(data: bytes) -> Tensor:
    tensors = load(data)
    if "samples" not in tensors:
        raise ValueError("has no tensor 'samples'")
    return tensors["samples"]


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Safetensors, single precision stored as half."""
    small = {
        name: (value.half() if value.dtype == torch.float32 else value).cpu().contiguous()
        for name, value in tensors.items()
    }
    checkpoints.write(path, save(small))
