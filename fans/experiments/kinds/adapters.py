"""Experiments of low-rank adapters: a small vision-language model is pretrained, then adapted in many ways.

What is adapted is the arm ``base`` of a `Pretraining`, of seed 0, as published there; adaptations are stale
if it is another now. They are judged by loss and accuracy on the shifted task (``validation``, ``test``), on
pairs of shape and colour that it left out (``held-out``) and on the task of the pretraining (``first``), and
by the number of what is trained. Their curves have the norm of the gradient too: of everything before
clipping, of both factors, and every few steps of its parts from visual and from other tokens.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from fans.adapters import hub
from fans.adapters.initialisation import Method as Initialisation
from fans.adapters.models import Architecture, build, text_model
from fans.adapters.pretraining import pretrain
from fans.adapters.scenes import ASKED, Task, draw
from fans.adapters.task import Examples, drawing, examples, measure
from fans.adapters.training import Adaptation, adapt
from fans.experiments import results
from fans.experiments.config import Data, Experiment, Options
from fans.experiments.data import Images
from fans.experiments.machine import Alone
from fans.experiments.registry import kind
from fans.experiments.run import SHOWN, Measure, Run
from fans.spectrum import power_spectrum
from fans.training import Record

SCENES = Data("scenes", 24, 3, 4096)  # pictures of ``fans.adapters.scenes``, with an instruction each
BASE = "base"  # arm of the experiment that pretrains
TRAIN, VALIDATION, TEST, HELD_OUT, FIRST = 1, 2, 3, 4, 5  # seeds of the examples


@dataclass(frozen=True)
class BaseArm:
    """The one arm of a pretraining; options and grid are not used."""

    name: str = BASE
    options: Options = field(default_factory=dict)
    grid: tuple[Options, ...] = ()


@dataclass(frozen=True)
class AdapterArm:
    """One way to adapt.

    Attributes:
        name: in tables and legends.
        method: of ``fans.adapters.initialise``, or ``full`` for whole matrices.
        rank: of the adapters.
        gain: variance of the visual tokens, in units of that of the words.
        riemannian: of ``fans.adapters.training.Adaptation``.
        options: with the ``rate`` of learning.
        grid: rates of which validation chooses one.
    """

    name: str
    method: Initialisation | Literal["full"]
    rank: int = 8
    gain: float = 1.0
    riemannian: bool = False
    options: Options = field(default_factory=lambda: {"rate": 1e-2})
    grid: tuple[Options, ...] = ()


@dataclass(frozen=True)
class _Scenes(Experiment):
    """What both kinds have in common: pictures of scenes.

    Attributes:
        architecture: of the model.
    """

    data: Data = SCENES
    arms: tuple[Any, ...] = ()
    features: tuple[Any, ...] = ()
    architecture: Architecture = "qwen2.5-vl"

    def smoke(self) -> Self:
        """Also with pictures of their only size."""
        small = super().smoke()
        return replace(small, data=replace(SCENES, count=small.data.count), features=())


@dataclass(frozen=True)
class Pretraining(_Scenes):
    """A vision-language model that learns the first task; one seed, whose weights the others start from."""

    arms: tuple[BaseArm, ...] = (BaseArm(),)
    seeds: int = 1
    budgets: tuple[int, ...] = (4000,)
    batch: int = 64


@dataclass(frozen=True)
class Adapting(_Scenes):
    """A pretrained model, adapted to the shifted task in several ways.

    Attributes:
        base: name of the experiment that pretrained it; without one, as in the smoke form, its weights are
            random.
    """

    arms: tuple[AdapterArm, ...] = ()
    seeds: int = 5
    budgets: tuple[int, ...] = (200,)
    batch: int = 16
    samples: int = 512
    base: str = ""

    @property
    def grid_steps(self) -> int:
        """Rates are chosen by whole trainings."""
        return self.budgets[-1]

    def smoke(self) -> Self:
        """Also without a base."""
        return replace(super().smoke(), base="")


class _Course:
    """A training that is done in one go: before it nothing has changed, after it everything has."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step = steps, 0
        self.history: list[Record] = []
        self.accelerator = Alone()

    def run(self, *, until: int | None = None) -> list[Record]:
        """Train to the last step; until=0 leaves everything as it is."""
        until = self.steps if until is None else until
        if until not in (self.step, self.steps):
            raise ValueError(f"until={until}: this training has no step to stop at but {self.steps}")
        if until > self.step:
            self.history, self.step = self.train(), self.steps
        return self.history

    def train(self) -> list[Record]:
        """All steps."""
        raise NotImplementedError

    def weights(self) -> dict[str, Tensor]:
        """Nothing, unless a kind says otherwise."""
        return {}


@dataclass(frozen=True)
class _ScenesRun(Run):
    """Pictures of the shifted task."""

    def images(self) -> Images:
        """As many as are shown, as they are."""
        train, validate, test = (
            draw(SHOWN, torch.Generator().manual_seed(seed), task="shifted").pictures
            for seed in (TRAIN, VALIDATION, TEST)
        )
        spectrum = power_spectrum(train.double()).mean((0, 1))
        half = spectrum[:, : train.shape[-1] // 2 + 1].contiguous()
        return Images(0.0, 1.0, train, validate, test, half)


class PretrainingCourse(_Course):
    """The pretraining of one model."""

    def __init__(self, experiment: Pretraining, seed: int, steps: int) -> None:
        super().__init__(steps)
        self.experiment, self.seed = experiment, seed
        self.model = build(experiment.architecture, seed=seed)

    def train(self) -> list[Record]:
        """As ``pretrain`` does."""
        e = self.experiment
        self.model, history = pretrain(
            e.architecture, steps=self.steps, batch=e.batch, rate=e.rate, seed=self.seed
        )
        return history

    def weights(self) -> dict[str, Tensor]:
        """All."""
        found: dict[str, Tensor] = self.model.state_dict()
        return found


@kind(Pretraining)
@dataclass(frozen=True)
class PretrainingRun(_ScenesRun):
    """A model from random weights, judged by each question of the first task."""

    experiment: Pretraining

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Any:
        """The pretraining."""
        return PretrainingCourse(self.experiment, self.seed, steps)

    def judge(self, course: PretrainingCourse, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Loss and accuracy of all questions together, and accuracy of each."""
        scenes = draw(self.experiment.samples, torch.Generator().manual_seed(FIRST), split="test")
        given = examples(course.model, scenes)
        found: dict[str, float] = measure(course.model, given)
        for question in sorted(set(scenes.asked.tolist())):
            few = given.take(scenes.asked == question)
            found[f"accuracy {ASKED[question]}"] = measure(course.model, few)["accuracy"]
        place = (self.arm.name, self.seed, budget, None)
        return [Measure(*place, name, value) for name, value in found.items()], images.test


@lru_cache(maxsize=1)
def _material(
    architecture: Architecture, base: str, home: Path | None, count: int, samples: int
) -> tuple[Any, Examples, Mapping[str, Examples]]:
    """The frozen base, the examples to train on, and those of every set."""
    model = build(architecture)
    if base:
        model.load_state_dict(results.load(base, folder=home).weights(BASE))
    model.eval().requires_grad_(False)

    def some(number: int, seed: int, task: Task = "shifted", **split: Any) -> Examples:
        return examples(model, draw(number, torch.Generator().manual_seed(seed), task=task, **split))

    sets = {
        "validation": some(samples // 2, VALIDATION, split="test"),
        "test": some(samples, TEST, split="test"),
        "held-out": some(samples, HELD_OUT, split="held-out"),
        "first": some(samples // 2, FIRST, "first", split="test"),
    }
    return model, some(count, TRAIN), sets


class AdaptingCourse(_Course):
    """The adaptation of a copy of the base."""

    def __init__(self, run: "AdaptingRun", steps: int) -> None:
        super().__init__(steps)
        e = run.experiment
        base, self.examples, self.sets = _material(e.architecture, e.base, run.home, e.data.count, e.samples)
        self.model = copy.deepcopy(base)
        self.run_of = run

    def train(self) -> list[Record]:
        """As ``adapt`` does."""
        arm, batch = self.run_of.arm, self.run_of.experiment.batch
        return adapt(
            text_model(self.model),
            self.run_of.how(self.steps),
            drawing(self.model, self.examples, batch=batch, gain=arm.gain),
        )

    def measured(self, name: str) -> dict[str, float]:
        """Loss and accuracy on a set."""
        return measure(self.model, self.sets[name], gain=self.run_of.arm.gain)


@kind(Adapting)
@dataclass(frozen=True)
class AdaptingRun(_ScenesRun):
    """One adaptation with one seed of initialisation and data order."""

    experiment: Adapting
    arm: AdapterArm
    recorded: ClassVar[tuple[str, ...]] = ("loss", "norm", "A", "B", "visual", "text")

    def how(self, steps: int) -> Adaptation:
        """The adaptation of the arm."""
        return Adaptation(
            self.arm.method,
            rank=self.arm.rank,
            rate=self.options["rate"],
            seed=self.seed,
            steps=steps,
            riemannian=self.arm.riemannian,
        )

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Any:
        """The adaptation."""
        return AdaptingCourse(self, steps)

    def judge(self, course: Any, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Loss and accuracy on every set, and how much is trained."""
        place = (self.arm.name, self.seed, budget, None)
        found = {
            f"{name} {which}": value
            for which in course.sets
            for name, value in course.measured(which).items()
        }
        trained = sum(p.numel() for p in course.model.parameters() if p.requires_grad)
        rows = [Measure(*place, name, value) for name, value in found.items()]
        return [*rows, Measure(*place, "trainable", trained)], images.test[:0]

    def criterion(self) -> tuple[str, int | None]:
        """Rates are chosen by the loss on the validation set."""
        return "loss validation", None

    def distance(self, course: Any, images: Images) -> tuple[float, float]:
        """That loss, which has no floor but 0; a rate at which training fails is as bad as can be."""
        loss = course.measured("validation")["loss"]
        return (loss if math.isfinite(loss) else math.inf), 0.0

    def inherited(self) -> dict[str, float]:
        """The hash of the base's weights, in numbers that differ if it does."""
        if not self.experiment.base:
            return {}
        files = results.load(self.experiment.base, folder=self.home).manifest["files"]
        digest = files["weights.safetensors"]
        return {f"base {i}": int(digest[4 * i : 4 * i + 4], 16) / 0xFFFF for i in range(4)}


@dataclass(frozen=True)
class HubAdapting(Adapting):
    """The same at the scale of the sources, with a model and instructions of the hub.

    Attributes:
        model: of ``fans.adapters.hub.MODELS``; without one, as in the smoke form, the small model is adapted.
        accumulate: batches in a step.
    """

    model: str = ""
    accumulate: int = 1

    def smoke(self) -> Self:
        """Also with the small model."""
        return replace(super().smoke(), model="", accumulate=1)


@lru_cache(maxsize=1)
def _rows(count: int) -> Any:
    return hub.load_instructions(hub.Instructions(count=count))


class HubCourse(_Course):
    """The adaptation of a model of the hub; its sets are instructions that follow those for training."""

    def __init__(self, run: "HubAdaptingRun", steps: int) -> None:
        super().__init__(steps)
        e, self.run_of = run.experiment, run
        self.rows = _rows(e.data.count + 2 * e.samples)
        self.model, self.read = hub.load_model(e.model)
        first = e.data.count
        self.sets = {
            "validation": range(first, first + e.samples),
            "test": range(first + e.samples, first + 2 * e.samples),
        }

    def train(self) -> list[Record]:
        """As ``adapt`` does."""
        e = self.run_of.experiment
        how = replace(self.run_of.how(self.steps), accumulate=e.accumulate)
        rows = self.rows.select(range(e.data.count))
        return adapt(text_model(self.model), how, hub.drawing(self.model, self.read, rows, batch=e.batch))

    def measured(self, name: str) -> dict[str, float]:
        """Mean loss of the answers, without accuracy: they are free text."""
        loss = hub.loss(
            self.model, self.read, self.rows.select(self.sets[name]), batch=self.run_of.experiment.batch
        )
        return {"loss": loss}


@kind(HubAdapting)
@dataclass(frozen=True)
class HubAdaptingRun(AdaptingRun):
    """One adaptation of a model of the hub."""

    experiment: HubAdapting

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Any:
        """The adaptation."""
        return HubCourse(self, steps) if self.experiment.model else AdaptingCourse(self, steps)
