"""Experiments of compression: small denoisers, the large one that teaches them, and what they do without it.

A teacher is the arm ``large`` of another experiment, of seed 0, as published there; students are stale if it
is another now. They are judged like all denoisers, and by what they cost: ``parameters``; ``MACs``,
multiplications with addition of one evaluation for one image, in convolutions and matrices; ``step time`` of
the training in milliseconds, the one measure that no second run reproduces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fans.diffusion import SpectralProcess
from fans.experiments import results
from fans.experiments.data import Images
from fans.experiments.kinds.denoiser_measures import TrainedDenoiser
from fans.experiments.kinds.denoising import SMOKE_LEVELS, Arm, Denoising, DenoisingRun
from fans.experiments.registry import kind
from fans.experiments.run import Measure
from fans.networks import UNet, UNetConfig, WaveletUNet, WaveletUNetConfig
from fans.training import DistillationConfig, Distiller, Record, Trainer

TEACHER = "large"  # arm of the experiment that trains it
SMOKE_WIDTHS = (4,) * SMOKE_LEVELS


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
        small = super().smoke()
        arms = tuple(
            replace(arm, widths=SMOKE_WIDTHS[: len(arm.widths)], pace=min(arm.pace, 2)) for arm in small.arms
        )
        return replace(small, arms=arms, widths=SMOKE_WIDTHS[: len(small.widths)], groups=2, teacher="")


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


@kind(Compression)
@dataclass(frozen=True)
class StudentRun(DenoisingRun):
    """A denoiser of its own size, taught or not, judged like any other and by what it costs."""

    experiment: Compression
    arm: Student
    telling: ClassVar[tuple[str, ...]] = (*DenoisingRun.telling, "parameters", "MACs")

    def sizes(self) -> UNetConfig:
        """Of the U-Net of the arm."""
        return self.experiment.sizes(self.arm.widths)

    def network(self, noising: SpectralProcess, spectrum: Tensor) -> nn.Module:
        """The network of the arm with its initial weights."""
        if not self.arm.gated:
            return super().network(noising, spectrum)
        if (self.arm.precondition, self.arm.network) != ("none", "unet"):
            raise ValueError(f"{self.arm.name!r}: gated networks have no preconditioner and are U-Nets")
        return WaveletUNet(WaveletUNetConfig(**asdict(self.sizes())), seed=self.seed)

    def teacher(self) -> nn.Module:
        """The network that teaches.

        Raises:
            StaleError: it has not been trained, or its results are damaged.
        """
        experiment = self.experiment
        if experiment.teacher:
            return results.load(experiment.teacher, folder=self.home).denoiser(TEACHER)[1]
        return UNet(experiment.sizes(tuple(2 * width for width in experiment.widths), attention=False))

    def inherited(self) -> dict[str, float]:
        """The hash of the teacher's weights, in numbers that differ if it does."""
        if not (self.arm.taught and self.experiment.teacher):
            return {}
        files = results.load(self.experiment.teacher, folder=self.home).manifest["files"]
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
        denoiser = self.trained(course.trainer, images)
        found, shown = self.measured(denoiser, budget)
        place, costs = (self.arm.name, self.seed, budget, None), _costs(denoiser, course.history)
        return [*found, *(Measure(*place, name, value, unit=unit) for name, value, unit in costs)], shown


def _costs(denoiser: TrainedDenoiser, history: Sequence[Record]) -> Iterator[tuple[str, float, str]]:
    """Size of the network, work of an evaluation, time of a training step."""
    yield "parameters", sum(p.numel() for p in denoiser.network.parameters()), ""
    image = denoiser.images.train[:1].to(denoiser.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser.network(image, torch.ones(1, dtype=torch.int64, device=image.device))
    yield "MACs", counter.get_total_flops() / 2, ""
    if history:
        yield "step time", 1000 * history[-1]["seconds"] / history[-1]["step"], "ms"
