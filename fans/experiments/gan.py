"""The test beds as runs: a generator alone, learnable images before a discriminator, and small GANs.

All three judge errors by the bands of ``fans.spectrum.bands`` in dB: of images where it is known which image
each should be (``fans.metrics.reconstruction``), of the mean power of samples where it is not
(``fans.metrics.evaluation``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fans.detection import Features, detect
from fans.experiments.beds import Bed, BedArm, DiscriminatorBed, Gan, GeneratorBed
from fans.experiments.data import Images
from fans.experiments.judge import BANDS, SAMPLING_SEED
from fans.experiments.run import SHOWN, Measure, Run
from fans.metrics.evaluation import evaluate
from fans.metrics.reconstruction import Recovery, nyquist_excess, recovery
from fans.networks.gan_remedies import translate, translation_gain
from fans.spectrum import bands
from fans.training.adversarial import Adversarial, AdversarialConfig, Pictures
from fans.training.generator import Fitting, FittingConfig
from fans.training.loop import Record
from fans.training.streams import noise

TRANSLATION_SEED = 2000  # of the codes whose images the translation is fitted to, plus the seed of the run
TRANSLATION_SAMPLES = 1024
Place = tuple[str, int, int, None]  # arm, seed and budget of a measure, which no sampler took steps for
DETECTED: tuple[Features, ...] = ("spectrum", "fit")
RECORDS = 50  # of a run


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
    edges = bands((size, size), BANDS).edges
    return [f"{a:.2f}-{b:.2f}" for a, b in pairwise(edges)]


def recovered(found: Recovery, images: Images, place: Place) -> list[Measure]:
    """Every number of a recovery of the training images, with what rounding to 8 bits leaves as its floor."""
    size = images.train.shape[-1]
    floor = recovery(quantised(images), images.train, bands((size, size), BANDS))
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


def at_level(history: Sequence[Record], level: float) -> Record:
    """The first record whose mean square error is at most ``level``; not numbers where none is."""
    nothing = dict.fromkeys(history[-1], float("nan"))
    return next((record for record in history if record["mse"] <= level), nothing)


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


@dataclass(frozen=True)
class DiscriminatorRun(Run):
    """Learnable images before a discriminator."""

    experiment: DiscriminatorBed
    arm: BedArm
    telling: ClassVar[tuple[str, ...]] = ("relative", "power", "peak", "mse")

    def trainer(
        self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None
    ) -> Adversarial:
        """Images and discriminator, resumed from their folder."""
        count, channels, height, width = images.train.shape
        config = AdversarialConfig(**settings(self, steps), **critic_settings(self.experiment), codes="index")
        pictures = Pictures(count, (channels, height, width), seed=self.seed)
        critic = self.experiment.discriminator(self.arm, self.seed, logits=count)
        return Adversarial(pictures, critic, images.train, config, folder=folder, accelerator=accelerator)

    def judge(self, course: Adversarial, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Errors of the averaged images."""
        size = self.experiment.data.size
        x = course.averaged()(torch.arange(len(images.train), device=course.device)).cpu()
        found = recovery(x, images.train, bands((size, size), BANDS))
        rows = recovered(found, images, (self.arm.name, self.seed, budget, None))
        return rows, images.restored(x[:SHOWN])


@dataclass(frozen=True)
class GanRun(Run):
    """A GAN."""

    experiment: Gan
    arm: BedArm
    telling: ClassVar[tuple[str, ...]] = ("band error", "peak", "FD", "parameters")

    def trainer(
        self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None
    ) -> Adversarial:
        """Both networks, resumed from their folder."""
        experiment = self.experiment
        return Adversarial(
            experiment.generator(self.arm, self.seed),
            experiment.discriminator(self.arm, self.seed),
            images.train,
            AdversarialConfig(**settings(self, steps), **critic_settings(experiment)),
            latent=experiment.latent,
            folder=folder,
            accelerator=accelerator,
        )

    def judge(self, course: Adversarial, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """All measures of samples of the averaged generator, and of translated ones."""
        generator = course.averaged()
        x = draw(generator, self.experiment.latent, self.experiment.samples, SAMPLING_SEED + self.seed)
        rows = self._scores(self.arm.name, budget, x, images)
        number = float(sum(p.numel() for p in generator.parameters()))
        rows.append(Measure(self.arm.name, self.seed, budget, None, "parameters", number))
        if self.arm.translated:
            others = TRANSLATION_SEED + self.seed
            seen = draw(generator, self.experiment.latent, TRANSLATION_SAMPLES, others)
            translated = translate(x, translation_gain(seen, images.train))
            rows += self._scores(f"{self.arm.name}, translated", budget, translated, images)
        return rows, images.restored(x[:SHOWN])

    def _scores(self, arm: str, budget: int, x: Tensor, images: Images) -> list[Measure]:
        place = (arm, self.seed, budget, None)
        generated, real = images.restored(x), images.restored(images.test)
        names = self.experiment.features
        rows = evaluate(generated, real, features=names, bands=BANDS, resamples=200).table()
        for features in DETECTED:
            found = detect(real, generated, features=features, distortions={})[0]
            rows.append(found._replace(measure=f"detection by {features}"))
        peaks = (nyquist_excess(few, real) for few in (generated, images.restored(images.validate)))
        return [
            *(Measure(*place, r.measure, r.value, r.low, r.high, r.floor, r.unit) for r in rows),
            Measure(*place, "peak", next(peaks), floor=next(peaks), unit="dB"),
        ]


def generator_of(experiment: Bed, arm: BedArm, weights: Mapping[str, Tensor]) -> nn.Module:
    """A trained generator, from what ``Result.arm`` and ``Result.weights`` of `fans.experiments` return."""
    generator = experiment.generator(arm, 0)
    generator.load_state_dict(dict(weights))
    return generator.eval().requires_grad_(False)


@torch.no_grad()
def draw(generator: nn.Module, latent: int, count: int, seed: int) -> Tensor:
    """Images of a generator from N codes of a seed, on the CPU, standardised as those for training."""
    device = next(generator.parameters()).device
    codes = noise(seed, (count, latent), 0, device=device)
    return torch.cat([generator(few).cpu() for few in torch.split(codes, 256)])
