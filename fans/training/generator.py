r"""A generator alone fits images from fixed codes, without a discriminator (Schwarz et al. 2021, NeurIPS).

Image y_i belongs to a code z_i that is drawn once. The loss is

.. math:: \mathrm{mean}\,(G(z_i) - y_i)^2 + \lambda\, L(G(z_i), y_i)

with a penalty L of ``fans.networks.gan_remedies`` or none. What remains wrong is then the generator's doing:
its layers, this loss, and the number of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fans.metrics.reconstruction import Recovery, recovery
from fans.metrics.spectral_losses import focal_frequency_loss, spectral_loss
from fans.spectrum import radial_bands
from fans.training.config import LoopConfig
from fans.training.loop import Loop, Terms
from fans.training.state import Record
from fans.training.streams import noise, order

Penalty = Literal["none", "spectral", "focal"]
BETAS = (0.0, 0.99)  # of Adam, as in Karras et al. 2018


@dataclass(frozen=True)
class FittingConfig(LoopConfig):
    """Numbers of a `Fitting`.

    Attributes:
        penalty: ``spectral`` or ``focal``, as in ``fans.networks.gan_remedies``, or none.
        weight: lambda.
        bands: of the records.
    """

    penalty: Penalty = "none"
    weight: float = 0.0
    bands: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight < 0 or (self.weight == 0) != (self.penalty == "none"):
            raise ValueError(
                f"penalty={self.penalty!r} with weight={self.weight}: a penalty has a positive weight, none"
                " has 0"
            )
        if self.bands < 1:
            raise ValueError(f"bands={self.bands}: must be positive")


class Fitting(Loop):
    """A generator that fits images from fixed codes; every image has its turn in each epoch.

    Records hold ``mse``, ``error b`` and ``power b`` (dB, ``fans.metrics.reconstruction``) of all images in
    band b, and ``peak``, of the weights as they are at that step.

    >>> from fans.networks.gan import Generator, GeneratorConfig
    >>> generator = Generator(GeneratorConfig(latent=4, widths=(4, 4)))
    >>> images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> run = Fitting(generator, images, FittingConfig(steps=4, batch=2, log_every=2, bands=2))
    >>> sorted(run.run()[-1])
    ['error 0', 'error 1', 'gradient', 'loss', 'mse', 'peak', 'power 0', 'power 1', 'rate', 'seconds', 'step']
    """

    config: FittingConfig
    images: Tensor
    betas = BETAS

    def __init__(
        self,
        generator: nn.Module,
        images: Tensor,
        config: FittingConfig,
        *,
        folder: Path | str | None = None,
        accelerator: Any = None,
    ) -> None:
        """Prepare a run; arguments as for `Loop`, the generator has a ``config.latent``."""
        self.generator = generator
        self.bands = radial_bands((images.shape[-2], images.shape[-1]), config.bands)
        networks = {"generator": generator}
        super().__init__(networks, images, config, folder=folder, accelerator=accelerator)
        self.images = images.to(self.device)
        latent: int = generator.config.latent  # type: ignore[union-attr, assignment]
        self.codes = noise(config.seed, (len(images), latent), 0, device=self.device)

    def losses(self) -> dict[str, Callable[[int], Terms]]:
        """The mean square error with its penalty."""
        return {"generator": self.loss}

    def loss(self, part: int) -> dict[str, Tensor]:
        """Mean loss of the next images of this process."""
        index = order(self.config.seed, len(self.images), self.share(part)).to(self.device)
        x, y = self.forward("generator", self.codes[index]), self.images[index]
        extra = penalty(self.config.penalty, self.config.weight, x, y)
        return {"loss": (x - y).square().mean() + extra}

    @torch.no_grad()
    def fitted(self) -> Tensor:
        """All images as the generator has them now, (N, C, H, W)."""
        return torch.cat([self.generator(codes) for codes in torch.split(self.codes, 256)])

    def judged(self) -> Recovery:
        """Errors of all images."""
        return recovery(self.fitted(), self.images, self.bands)

    def notes(self) -> Record:
        """The errors as parts of a record."""
        found = self.judged()
        errors = {f"error {b}": value for b, value in enumerate(found.error)}
        powers = {f"power {b}": value for b, value in enumerate(found.power)}
        return {"mse": found.mse, **errors, **powers, "peak": found.peak}


def penalty(name: Penalty, weight: float, x: Tensor, y: Tensor) -> Tensor | float:
    """Weighted penalty of images x against their targets."""
    if name == "none":
        return 0.0
    return weight * (spectral_loss(x, y) if name == "spectral" else focal_frequency_loss(x, y))
