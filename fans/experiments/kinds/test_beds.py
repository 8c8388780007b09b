"""What the test beds share, after Schwarz et al. 2021: networks, the numbers of their courses, and measures.

They judge errors by the bands of ``fans.spectrum.bands`` in dB: of images where it is known which image each
should be (``fans.metrics.reconstruction``), of the mean power of samples where it is not
(``fans.metrics.evaluation``).
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Self

from torch import Tensor, nn

from fans.experiments.config import Experiment, Options
from fans.experiments.data import Images
from fans.experiments.kinds.samples import BANDS, Place
from fans.experiments.run import Measure, Run
from fans.filters import Upsampling
from fans.metrics.reconstruction import Recovery, recovery
from fans.networks.gan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig, Pooling
from fans.networks.gan_remedies import Carrier, DualDiscriminator, FrequencyShifted, SpectralDiscriminator
from fans.spectrum import radial_bands
from fans.training.generator import Penalty

Critic = Literal["spatial", "dual", "detached"]
CRITIC_SEED = 2**16  # apart from the seeds of generators
RECORDS = 50  # of a run


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


def settings(run: Run, steps: int) -> dict[str, Any]:
    """What the configurations of all courses take from an experiment."""
    experiment = run.experiment
    return {
        "steps": max(steps, 1),
        "batch": experiment.batch,
        "seed": run.seed,
        "rate": experiment.rate,
        "ema": experiment.ema,
        "log_every": max(1, steps // RECORDS),
        "penalty": run.arm.penalty,
        "weight": run.arm.weight,
    }


def critic_settings(experiment: Bed) -> dict[str, Any]:
    """What adversarial courses take besides."""
    return {name: getattr(experiment, name) for name in ("critic_rate", "r1", "r1_every")}


def band_names(size: int) -> list[str]:
    """Ends of the bands, cycles per pixel, as ``fans.metrics.evaluation`` writes them."""
    edges = radial_bands((size, size), BANDS).edges
    return [f"{a:.2f}-{b:.2f}" for a, b in pairwise(edges)]


def recovered(found: Recovery, images: Images, place: Place) -> list[Measure]:
    """Every number of a recovery of the training images, with what rounding to 8 bits leaves as its floor."""
    size = images.train.shape[-1]
    floor = recovery(quantised(images), images.train, radial_bands((size, size), BANDS))
    names = band_names(size)
    errors = zip(names, found.error, floor.error, strict=True)
    powers = zip(names, found.power, floor.power, strict=True)
    rows = [
        *((f"relative error {band}", value, least, "dB") for band, value, least in errors),
        *((f"power error {band}", value, least, "dB") for band, value, least in powers),
        ("peak", found.peak, floor.peak, "dB"),
        ("mse", found.mse, floor.mse, ""),
    ]
    return [Measure(*place, name, value, floor=least, unit=unit) for name, value, least, unit in rows]


def quantised(images: Images) -> Tensor:
    """The training images after 8 bits, standardised as they are: what files would score."""
    x = (images.restored(images.train) * 127.5).round() / 127.5
    return (x - images.mean) / images.deviation
