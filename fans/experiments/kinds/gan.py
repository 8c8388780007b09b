"""Experiments with small GANs, judged by their samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fans.detection import DetectorFeatures, detect
from fans.experiments.data import Images
from fans.experiments.kinds.samples import SAMPLING_SEED, evaluated
from fans.experiments.kinds.test_beds import Bed, BedArm, critic_settings, settings
from fans.experiments.registry import kind
from fans.experiments.run import SHOWN, Measure, Run
from fans.metrics.reconstruction import nyquist_excess
from fans.networks.gan_remedies import translate, translation_gain
from fans.training.adversarial import Adversarial, AdversarialConfig
from fans.training.streams import noise

TRANSLATION_SEED = 2000  # of the codes whose images the translation is fitted to, plus the seed of the run
TRANSLATION_SAMPLES = 1024
DETECTED: tuple[DetectorFeatures, ...] = ("spectrum", "fit")


@dataclass(frozen=True)
class Gan(Bed):
    """A small GAN, judged by its samples."""


@kind(Gan)
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
        rows = evaluated(place, x, images, self.experiment.features)
        generated, real = images.restored(x), images.restored(images.test)
        for features in DETECTED:
            row = detect(generated=generated, real=real, features=features, distortions={})[0]
            name = f"detection by {features}"
            rows.append(Measure(*place, name, row.value, row.low, row.high, row.floor, row.unit))
        peaks = (nyquist_excess(few, real) for few in (generated, images.restored(images.validate)))
        return [*rows, Measure(*place, "peak", next(peaks), floor=next(peaks), unit="dB")]


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
