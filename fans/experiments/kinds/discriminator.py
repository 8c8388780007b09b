"""Experiments with learnable images before a discriminator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fans.experiments.data import Images
from fans.experiments.kinds.samples import BANDS
from fans.experiments.kinds.test_beds import Bed, BedArm, critic_settings, recovered, settings
from fans.experiments.registry import kind
from fans.experiments.run import SHOWN, Measure, Run
from fans.metrics.reconstruction import recovery
from fans.spectrum import radial_bands
from fans.training.adversarial import Adversarial, AdversarialConfig, Pictures


@dataclass(frozen=True)
class DiscriminatorBed(Bed):
    """Learnable images before a discriminator, which has a logit for each of the training images."""


@kind(DiscriminatorBed)
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
        found = recovery(x, images.train, radial_bands((size, size), BANDS))
        rows = recovered(found, images, (self.arm.name, self.seed, budget, None))
        return rows, images.restored(x[:SHOWN])
