"""Experiments with a generator alone, which fits images from fixed codes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from fans.experiments.data import Images
from fans.experiments.kinds.samples import BANDS
from fans.experiments.kinds.test_beds import Bed, BedArm, band_names, recovered, settings
from fans.experiments.registry import kind
from fans.experiments.run import SHOWN, Measure, Run
from fans.training.generator import Fitting, FittingConfig
from fans.training.state import Record


@dataclass(frozen=True)
class GeneratorBed(Bed):
    """A generator alone that fits the training images from fixed codes.

    Attributes:
        levels: of the mean square error at which errors are compared too, in units of the images' variance.
    """

    levels: tuple[float, ...] = (0.8, 0.6, 0.4, 0.2, 0.1)

    def smoke(self) -> Self:
        """Also without levels, which two steps do not pass."""
        return replace(super().smoke(), levels=())


@kind(GeneratorBed)
@dataclass(frozen=True)
class GeneratorRun(Run):
    """A generator that fits images."""

    experiment: GeneratorBed
    arm: BedArm
    telling: ClassVar[tuple[str, ...]] = ("relative", "power", "peak", "mse", "parameters")

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Fitting:
        """The fit, resumed from its folder."""
        config = FittingConfig(**settings(self, steps), bands=BANDS)
        generator = self.experiment.generator(self.arm, self.seed)
        return Fitting(generator, images.train, config, folder=folder, accelerator=accelerator)

    def judge(self, course: Fitting, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Errors at this step, and after the last budget also where each level was passed first."""
        size, place = self.experiment.data.size, (self.arm.name, self.seed, budget, None)
        rows = recovered(course.judged(), images, place)
        number = float(sum(p.numel() for p in course.generator.parameters()))
        rows.append(Measure(*place, "parameters", number))
        if budget == self.experiment.budgets[-1]:
            for level in self.experiment.levels:
                rows += self._passing(at_level(course.history, level), level, size)
        return rows, images.restored(course.fitted()[:SHOWN].cpu())

    def _passing(self, record: Record, level: float, size: int) -> list[Measure]:
        place = (self.arm.name, self.seed, self.experiment.budgets[-1], None)
        at = f"at mse {level:g}"
        named = [
            (f"{kind} error {band} {at}", record[f"{short} {b}"], "dB")
            for kind, short in (("relative", "error"), ("power", "power"))
            for b, band in enumerate(band_names(size))
        ]
        named += [(f"peak {at}", record["peak"], "dB"), (f"steps {at}", record["step"], "")]
        return [Measure(*place, name, value, unit=unit) for name, value, unit in named]


def at_level(history: Sequence[Record], level: float) -> Record:
    """The first record whose mean square error is at most ``level``; not numbers where none is."""
    nothing = dict.fromkeys(history[-1], float("nan"))
    return next((record for record in history if record["mse"] <= level), nothing)
