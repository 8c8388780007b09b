"""What an experiment is: frozen configurations of plain values, which JSON can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, Self

from fans.metrics.features import Features

Scale = Literal["smoke", "cpu", "gpu"]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Data:
    """Where images come from.

    Attributes:
        name: of ``fans.images.load``.
        size: pixels.
        channels: 1 averages the channels of colour images.
        count: training images. Those for validation and testing are other draws of the same source, with
            seeds of their own.
        options: of the source.
    """

    name: str
    size: int = 16
    channels: int = 1
    count: int = 4096
    options: Options = field(default_factory=dict)


class Method(Protocol):
    """What every kind of experiment needs to know of its arms, which are frozen dataclasses.

    Attributes:
        name: in tables and legends.
        options: that a grid may replace.
        grid: alternatives to ``options``, of which validation chooses one.
    """

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> Options: ...
    @property
    def grid(self) -> tuple[Options, ...]: ...


SMOKE_BUDGETS, SMOKE_SAMPLES, SMOKE_IMAGES = (0, 2), 32, 64


@dataclass(frozen=True)
class Experiment:
    """A comparison: every arm with every seed, judged after each budget of training steps.

    This is what all kinds have in common; those of ``fans.experiments.kinds`` say what is trained.

    Attributes:
        name: of the folder in ``results``.
        data: images.
        arms: methods.
        seeds: number of seeds 0, 1, ... of initial weights, data order and noise.
        budgets: training steps, ascending; one run passes through all. 0 judges
            the untrained network, for seed 0 only.
        batch: of the training, as the next three (``fans.training.TrainingConfig``).
        rate: of the training.
        ema: of the training.
        precision: of the training.
        samples: images drawn, and held-out ones they are compared with.
        features: of Fréchet distances.
    """

    name: str
    data: Data
    arms: tuple[Any, ...]
    seeds: int = 3
    budgets: tuple[int, ...] = (0, 150, 450)
    batch: int = 32
    rate: float = 2e-3
    ema: float = 0.995
    precision: Literal["fp32", "bf16"] = "fp32"
    samples: int = 256
    features: tuple[Features, ...] = ("spectrum", "scattering")

    def budgets_of(self, seed: int) -> tuple[int, ...]:
        """Budgets that a seed is judged at: untrained networks differ in their samples only."""
        return tuple(budget for budget in self.budgets if budget or seed == 0)

    def plain(self) -> dict[str, Any]:
        """The configuration as plain values, which JSON can hold."""
        return asdict(self)

    def summary(self) -> str:
        """The experiment in one line."""
        data = self.data
        images = f"{data.count} images of {data.size}x{data.size}x{data.channels} ({data.name})"
        return f"{len(self.arms)} arms, seeds: {self.seeds}, {self.budgets[-1]} steps, {images}"

    def smoke(self) -> Self:
        """The same experiment in seconds: every arm, one seed, two steps, small images of a bundled source.

        Data of the hub or of a folder are replaced by photographs; only features that few images allow
        remain.
        """
        small = replace(self.data, size=min(self.data.size, 16), count=SMOKE_IMAGES)
        if ":" in small.name:
            small = replace(small, name="photographs", options={})
        return replace(
            self,
            data=small,
            arms=tuple(replace(arm, grid=arm.grid[:2]) for arm in self.arms),
            seeds=1,
            budgets=SMOKE_BUDGETS,
            batch=4,
            samples=SMOKE_SAMPLES,
            features=("spectrum",),
        )
