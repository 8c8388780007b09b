"""Small denoisers, the large one that teaches them, and what they can do without it.

A teacher is the arm ``large`` of another experiment, of seed 0, as published there; students are stale if it
is another now. They are judged like all denoisers, and by what they cost: ``parameters``; ``MACs``,
multiplications with addition of one evaluation for one image, in convolutions and matrices; ``step time`` of
the training in milliseconds, the one measure that no second run reproduces.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fans.diffusion import SpectralProcess
from fans.experiments.config import Arm, Denoising
from fans.experiments.data import Images
from fans.experiments.denoising import DenoisingRun
from fans.experiments.run import Measure
from fans.networks import UNet, UNetConfig, WaveletUNet, WaveletUNetConfig
from fans.training import DistillationConfig, Distiller, Record, Trainer

TEACHER = "large"  # arm of the experiment that trains it


@dataclass(frozen=True)
class Student(Arm):
    """A network of a size of its own, and what it learns from besides its task.

    Attributes:
        widths: of the U-Net; those of the experiment unless given.
        gated: down- and upsampling by wavelet gates (``fans.networks.WaveletUNet``).
        learns: from all features and the predictions of the teacher, from its predictions alone, from the
            true target in the place of them, or nothing besides the task.
        spatial: as the next three, of ``fans.training.DistillationConfig``.
        frequency: of the same.
        alpha: of the same.
        focal: of the same.
        pace: training steps for each step of the budget, so that a plain network has the time of a student.
    """

    widths: tuple[int, ...] = ()
    gated: bool = False
    learns: Literal["features", "outputs", "target", "nothing"] = "nothing"
    spatial: float = 0.0
    frequency: float = 0.0
    alpha: float = -1.0
    focal: float = 0.0
    pace: int = 1

    @property
    def taught(self) -> bool:
        """Whether there is a teacher."""
        return self.learns in ("features", "outputs")


@dataclass(frozen=True)
class Compression(Denoising):
    """Denoisers of several sizes, some of them with a teacher.

    Attributes:
        teacher: name of the experiment whose arm ``large`` teaches; without one, as in the smoke form, an
            untrained network of twice the widths does.
    """

    arms: tuple[Student, ...]
    groups: int = 4
    teacher: str = ""

    def smoke(self) -> Self:
        """Also with all arms of the smallest widths, and an untrained teacher."""
        width = 8 if self.attention else 4  # heads of attention have 8 channels
        arms = tuple(
            replace(arm, widths=tuple(width for _ in arm.widths), pace=min(arm.pace, 2)) for arm in self.arms
        )
        small = Denoising.smoke(replace(self, arms=arms, layers=1, groups=2, teacher=""))
        return replace(small, widths=tuple(width for _ in self.widths))


class Paced:
    """A training run that counts one step for every ``pace`` of a trainer."""

    def __init__(self, trainer: Trainer, pace: int) -> None:
        self.trainer, self.pace, self.accelerator = trainer, pace, trainer.accelerator

    @property
    def step(self) -> int:
        """Finished steps of the budget."""
        return self.trainer.step // self.pace

    @property
    def history(self) -> list[Record]:
        """The trainer's, with its own steps."""
        return self.trainer.history

    def run(self, *, until: int | None = None) -> list[Record]:
        """Train to a step of the budget."""
        return self.trainer.run(until=None if until is None else until * self.pace)

    def weights(self) -> dict[str, Tensor]:
        """Those of the trainer."""
        return self.trainer.weights()


@dataclass(frozen=True)
class StudentRun(DenoisingRun):
    """A denoiser of its own size, taught or not, judged like any other and by what it costs."""

    experiment: Compression
    arm: Student
    telling: ClassVar[tuple[str, ...]] = (*DenoisingRun.telling, "parameters", "MACs")

    def network(self, noising: SpectralProcess, spectrum: Tensor) -> nn.Module:
        """The network of the arm with its initial weights."""
        sized = replace(self.experiment, widths=self.arm.widths or self.experiment.widths)
        plain = DenoisingRun.network(replace(self, experiment=sized), noising, spectrum)
        if not self.arm.gated:
            return plain
        if not isinstance(plain, UNet):
            raise ValueError(f"{self.arm.name!r}: gated networks have no preconditioner, choose one of both")
        return WaveletUNet(WaveletUNetConfig(**asdict(plain.config)), seed=self.seed)

    def teacher(self) -> nn.Module:
        """The network that teaches.

        Raises:
            StaleError: it has not been trained, or its results are damaged.
        """
        experiment = self.experiment
        if experiment.teacher:
            found: nn.Module = _published(experiment.teacher, self.home).denoiser(TEACHER)[1]
            return found
        sizes = UNetConfig(
            channels=experiment.data.channels,
            widths=tuple(2 * width for width in experiment.widths),
            layers=experiment.layers,
            groups=experiment.groups,
        )
        return UNet(sizes)

    def inherited(self) -> dict[str, float]:
        """The hash of the teacher's weights, in numbers that differ if it does."""
        if not (self.arm.taught and self.experiment.teacher):
            return {}
        files = _published(self.experiment.teacher, self.home).manifest["files"]
        digest = files["weights.safetensors"]
        return {f"teacher {i}": int(digest[4 * i : 4 * i + 4], 16) / 0xFFFF for i in range(4)}

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Any:
        """The training run, with a teacher if the arm has one."""
        arm, steps = self.arm, steps * self.arm.pace
        if arm.learns == "nothing":
            plain = super().trainer(images, folder, steps=steps, accelerator=accelerator)
            return Paced(plain, arm.pace)
        noising = self.process(images.spectrum)
        config = DistillationConfig(
            **asdict(self.config(steps)),
            spatial=arm.spatial,
            frequency=arm.frequency,
            alpha=arm.alpha,
            focal=arm.focal,
            pairs="features" if arm.learns == "features" else "outputs",
        )
        taught = Distiller(
            self.network(noising, images.spectrum),
            self.teacher() if arm.taught else None,
            images.train,
            noising,
            config,
            folder=folder,
            spectrum=images.spectrum,
            accelerator=accelerator,
        )
        return Paced(taught, arm.pace)

    def judge(self, course: Any, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """What ``Denoising`` measures, and what the network costs."""
        found, shown = super().judge(course.trainer, images, budget)
        place = (self.arm.name, self.seed, budget, None)
        costs = _costs(course.trainer, images)
        return [*found, *(Measure(*place, name, value, unit=unit) for name, value, unit in costs)], shown


def _published(name: str, home: Path | None) -> Any:
    from fans.experiments import results  # which knows all kinds, and so this one

    return results.load(name, folder=home)


def _costs(trainer: Trainer, images: Images) -> Iterator[tuple[str, float, str]]:
    """Size of the network, work of an evaluation, time of a training step."""
    network = trainer.denoiser()
    yield "parameters", sum(p.numel() for p in network.parameters()), ""
    image = images.train[:1].to(trainer.accelerator.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image, torch.ones(1, dtype=torch.int64, device=image.device))
    yield "MACs", counter.get_total_flops() / 2, ""
    if trainer.history:
        yield "step time", 1000 * trainer.history[-1]["seconds"] / trainer.history[-1]["step"], "ms"
