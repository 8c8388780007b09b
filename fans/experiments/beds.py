"""Experiments of the test beds, after Schwarz et al. 2021 and the remedies of ``fans.networks.gan_remedies``.

``generator-NAME`` fits ten images with each upsampling, with and without the spectral loss.
``discriminator-NAME`` learns ten images through discriminators of each pooling, with and without a spectral
one. ``gan-NAME`` trains a GAN with each upsampling, and remedies on the first of them.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from torch import nn

from fans.experiments.config import Data, Experiment, Options
from fans.filters import Upsampling
from fans.networks.gan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig, Pooling
from fans.networks.gan_remedies import (
    CARRIERS,
    Carrier,
    DualDiscriminator,
    FrequencyShifted,
    SpectralDiscriminator,
)
from fans.training.generator import Penalty

Critic = Literal["spatial", "dual", "detached"]
CRITIC_SEED = 2**16  # apart from the seeds of generators


@dataclass(frozen=True)
class BedArm:
    """One network, or one measure against its bias.

    Attributes:
        name: in tables and legends.
        upsampling: of the generator.
        last: its upsampling before the last grid, if another one.
        pooling: of the discriminator.
        penalty: of the generator's loss.
        weight: of the penalty.
        critic: ``spatial``; ``dual`` with a spectral discriminator beside it, or ``detached``, where no
            gradient passes through that one to the generator.
        carriers: of a frequency-shifted generator.
        translated: also judge the samples after a translation of their spectrum, as arm ``NAME, translated``.
        options, grid: not used.
    """

    name: str
    upsampling: Upsampling = "nearest"
    last: Upsampling | None = None
    pooling: Pooling = "average"
    penalty: Penalty = "none"
    weight: float = 0.0
    critic: Critic = "spatial"
    carriers: tuple[Carrier, ...] = ()
    translated: bool = False
    options: Options = field(default_factory=dict)
    grid: tuple[Options, ...] = ()


@dataclass(frozen=True)
class Bed(Experiment):
    """A test bed.

    Attributes:
        widths: of the generator (``fans.networks.gan.GeneratorConfig``), two thirds of it for ``shuffle``,
            whose convolutions have four times the outputs.
        latent: length of a code.
        critic_widths: of the discriminator.
        critic_rate: its learning rate.
        r1: weight of its gradient penalty.
        r1_every: steps from one penalty to the next.
        offset: of the spectral discriminator's log spectrum.
    """

    arms: tuple[BedArm, ...]
    widths: tuple[int, ...] = (24, 24, 24, 16)
    latent: int = 64
    critic_widths: tuple[int, ...] = (16, 16, 32, 32)
    critic_rate: float = 1e-3
    r1: float = 10.0
    r1_every: int = 1
    offset: float = 1.0

    def smoke(self) -> Self:
        """Also with networks for 16 pixels."""
        return replace(super().smoke(), widths=(6, 6, 6), latent=8, critic_widths=(4, 4, 4))

    def generator(self, arm: BedArm, seed: int) -> nn.Module:
        """The generator of an arm with its initial weights."""
        narrow = arm.upsampling == "shuffle"
        sizes = GeneratorConfig(
            channels=self.data.channels * (1 + 2 * len(arm.carriers)),
            latent=self.latent,
            widths=tuple(2 * width // 3 for width in self.widths) if narrow else self.widths,
            upsampling=arm.upsampling,
            last=arm.last,
        )
        network = Generator(sizes, seed=seed)
        return FrequencyShifted(network, arm.carriers) if arm.carriers else network

    def discriminator(self, arm: BedArm, seed: int, *, logits: int = 1) -> nn.Module:
        """The discriminator of an arm with its initial weights."""
        sizes = DiscriminatorConfig(
            self.data.channels,
            self.critic_widths,
            pooling=arm.pooling,
            logits=logits,
            minibatch_stddev=logits == 1,  # a picture with a logit of its own is judged by itself
        )
        spatial = Discriminator(sizes, seed=CRITIC_SEED + seed)
        if arm.critic == "spatial":
            return spatial
        spectral = SpectralDiscriminator(
            self.data.size, logits=logits, offset=self.offset, seed=CRITIC_SEED + seed
        )
        return DualDiscriminator(spatial, spectral, through=arm.critic == "dual")


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


@dataclass(frozen=True)
class DiscriminatorBed(Bed):
    """Learnable images before a discriminator, which has a logit for each of the training images."""


@dataclass(frozen=True)
class Gan(Bed):
    """A small GAN, judged by its samples."""


_UPSAMPLINGS: tuple[Upsampling, ...] = ("nearest", "bilinear", "zeros", "shuffle")
_POOLINGS: tuple[Pooling, ...] = ("average", "stride", "blur")
# No released configuration has the spectral loss, so its weights are ours.
_PENALTIES: dict[str, dict[str, Any]] = {"": {}, ", spectral": {"penalty": "spectral", "weight": 0.03}}
_FITS = tuple(
    BedArm(f"{method}{label}", method, **options)
    for label, options in _PENALTIES.items()
    for method in _UPSAMPLINGS
)
_CRITICS: dict[str, Critic] = {"": "spatial", ", spectral": "dual"}
_LEARNERS = tuple(
    BedArm(f"{method}{label}", pooling=method, critic=critic)
    for label, critic in _CRITICS.items()
    for method in _POOLINGS
)
# At 16 pixels the published carriers would be one cycle per image.
_QUARTERS = tuple((4 * y, 4 * x) for y, x in CARRIERS)


def _remedies(carriers: Any) -> tuple[BedArm, ...]:
    return (
        BedArm("nearest", translated=True),
        *(BedArm(method, method) for method in _UPSAMPLINGS[1:]),
        BedArm("nearest, zeros last", last="zeros"),
        BedArm("nearest, spectral loss", penalty="spectral", weight=0.3),
        BedArm("nearest, focal loss", penalty="focal", weight=1.0),
        BedArm("nearest, carriers", carriers=carriers),
        BedArm("nearest, spectral critic", critic="dual"),
        BedArm("nearest, spectral critic detached", critic="detached"),
    )


_FIT: dict[str, Any] = {"batch": 10, "ema": 0.0, "samples": 16, "features": ()}
_GAN: dict[str, Any] = {"ema": 0.99, "r1": 0.3, "r1_every": 8, "offset": 1e-3}
_SMALL_GAN: dict[str, Any] = {
    "widths": (24, 24, 16),
    "critic_widths": (12, 24, 24),
    "latent": 32,
    "batch": 16,
}
_RINGS, _PHOTOGRAPHS = Data("rings", 32, count=10), Data("photographs", 32, count=10)

CPU = (
    GeneratorBed("generator-rings", _RINGS, _FITS, budgets=(0, 200, 700), rate=2e-3, **_FIT),
    GeneratorBed("generator-photographs", _PHOTOGRAPHS, _FITS, budgets=(0, 200, 700), rate=2e-3, **_FIT),
    Gan(
        "gan-photographs",
        Data("photographs", 16),
        _remedies(_QUARTERS),
        budgets=(0, 300, 900),
        rate=2e-3,
        critic_rate=2e-3,
        **_GAN,
        **_SMALL_GAN,
    ),
    DiscriminatorBed(
        "discriminator-rings",
        replace(_RINGS, size=16),
        _LEARNERS,
        budgets=(0, 200, 600),
        critic_widths=(16, 32, 32),
        rate=2e-2,
        critic_rate=2e-3,
        r1=1.0,
        **(_FIT | {"ema": 0.99}),
    ),
)

_PAPER: dict[str, Any] = {"widths": (64, 64, 64, 64, 32), "critic_widths": (32, 64, 64, 64, 64)}
_LONG: dict[str, Any] = {"budgets": (0, 10_000, 30_000, 100_000), "rate": 1e-3, **_PAPER, **_FIT}
_GAN_LONG: dict[str, Any] = {"budgets": (0, 10_000, 100_000), "samples": 10_000, "rate": 1e-3}

GPU = (
    GeneratorBed("generator-rings", replace(_RINGS, size=64), _FITS, **_LONG),
    GeneratorBed("generator-photographs", replace(_PHOTOGRAPHS, size=64, channels=3), _FITS, **_LONG),
    *(
        Gan(f"gan-{name}", data, _remedies(CARRIERS), **_GAN_LONG, **_GAN, **_PAPER)
        for name, data in (
            ("photographs", Data("photographs", 64, 3, 50_000)),
            ("celeba", Data("hub:flwrlabs/celeba", 64, 3, 162_770)),
        )
    ),
    DiscriminatorBed(
        "discriminator-rings", replace(_RINGS, size=64), _LEARNERS, **(_LONG | {"rate": 1e-2, "ema": 0.999})
    ),
)
