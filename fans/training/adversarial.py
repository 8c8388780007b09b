r"""A generator against a discriminator, and learnable images against a discriminator.

Both networks descend the logistic losses of Goodfellow et al. 2014, the generator the non-saturating one,
with the gradient penalty R1 of Mescheder et al. 2018 on real images y:

.. math::
    L_D = \langle s(-D(y)) + s(D(x)) \rangle + \tfrac{\gamma}{2} \langle |\nabla D(y)|^2 \rangle, \qquad
    L_G = \langle s(-D(x)) \rangle + \lambda\, L(x, y), \qquad s(u) = \log(1 + e^u),

and a penalty L of ``fans.networks.gan_remedies``, if any.

``codes="random"`` is a GAN: x = G(z) with new codes at each step. Penalties have no pairs there: the spectral
one compares mean spectra of the batches, the focal one each x with the nearest y of the batch.

``codes="index"`` is the test bed for discriminators (Schwarz et al. 2021): G is a table of
learnable `Pictures`, picture i is to become image i, and is judged by the i-th logit of D alone. What remains
wrong is then the discriminator's doing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from fans._validation import known
from fans.metrics.spectral_losses import nearest, spectral_loss
from fans.training.course import Course, CourseConfig
from fans.training.generator import Penalty, penalty
from fans.training.streams import noise, order


@dataclass(frozen=True)
class AdversarialConfig(CourseConfig):
    """Numbers of an `Adversarial`; ``rate`` is the generator's.

    Attributes:
        critic_rate: learning rate of the discriminator.
        codes: ``random``, or the ``index`` of a picture.
        r1: gamma.
        r1_every: steps from one gradient penalty to the next, whose gamma is that much larger.
        penalty: of the generator.
        weight: lambda.
    """

    critic_rate: float = 1e-3
    codes: Literal["random", "index"] = "random"
    r1: float = 1.0
    r1_every: int = 1
    penalty: Penalty = "none"
    weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        known("codes", self.codes, ("random", "index"))
        known("penalty", self.penalty, get_args(Penalty))
        if self.critic_rate <= 0 or self.r1 < 0 or self.r1_every < 1 or self.weight < 0:
            raise ValueError(
                f"critic_rate={self.critic_rate}, r1={self.r1}, r1_every={self.r1_every},"
                f" weight={self.weight}: rate and interval must be positive, the others not negative"
            )


class Pictures(nn.Module):
    """A table of learnable images, (N, C, H, W), drawn at first as Kaiming et al. 2015 draw weights.

    >>> Pictures(4, (1, 8, 8))(torch.tensor([2, 3])).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, count: int, shape: tuple[int, int, int], *, seed: int = 0) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(count, *shape))
        nn.init.kaiming_normal_(self.table, generator=torch.Generator().manual_seed(seed))

    def forward(self, index: Tensor) -> Tensor:
        """Images of these numbers."""
        return self.table[index]


class Adversarial(Course):
    """Two networks against each other, one step of the discriminator for each of the generator.

    Records hold ``loss``, the generator's, and ``critic``, the discriminator's without the gradient penalty:
    2 log 2 = 1.386 where it cannot tell.

    >>> from fans.networks.gan import Discriminator, DiscriminatorConfig
    >>> critic = Discriminator(DiscriminatorConfig(widths=(4, 4), logits=4))
    >>> images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> config = AdversarialConfig(steps=4, batch=2, log_every=2, codes="index")
    >>> [sorted(record) for record in Adversarial(Pictures(4, (1, 8, 8)), critic, images, config).run()][0]
    ['critic', 'loss', 'seconds', 'step']
    """

    config: AdversarialConfig

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        images: Tensor,
        config: AdversarialConfig,
        *,
        latent: int = 0,
        folder: Path | str | None = None,
        accelerator: Any = None,
    ) -> None:
        """Prepare a run; arguments as for `Course`.

        Args:
            generator: from codes (B, latent), or from indices (B,), to images.
            critic: from images to logits, one of each for ``codes="index"``.
            images: real ones.
            config: everything else.
            latent: length of random codes.
            folder, accelerator: as for `Course`.

        Raises:
            ValueError: random codes without a length.
        """
        if (config.codes == "random") != (latent > 0):
            raise ValueError(
                f"codes={config.codes!r} with latent={latent}: random codes have a length, indices 0"
            )
        self.generator, self.critic, self.latent = generator, critic, latent
        networks = {"generator": generator, "critic": critic}
        rates = {"generator": config.rate, "critic": config.critic_rate}
        super().__init__(networks, rates, images, config, folder=folder, accelerator=accelerator)

    def update(self) -> dict[str, float]:
        """A step of the discriminator, then one of the generator with other codes."""
        index, codes = self.draw(2 * self.step)
        with torch.no_grad():
            x = self.generator(codes)
        critic = self._critic_step(x, self.images[index], index)
        index, codes = self.draw(2 * self.step + 1)
        x = self.generator(codes)
        loss = softplus(-self._logit(x, index)).mean() + self._penalty(x, self.images[index])
        return {"loss": self.descend("generator", loss), "critic": critic}

    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        """Indices of real images (B,), and codes of generated ones: random, or the same indices."""
        first = number * self.config.batch
        numbers = range(first, first + self.config.batch)
        index = order(self.config.seed, len(self.images), numbers).to(self.device)
        if self.config.codes == "index":
            return index, index
        return index, noise(self.config.seed, (len(index), self.latent), first, device=self.device)

    def _critic_step(self, x: Tensor, y: Tensor, index: Tensor) -> float:
        penalised = self.config.r1 > 0 and self.step % self.config.r1_every == 0
        y = y.detach().requires_grad_(penalised)
        real = self._logit(y, index)
        loss = (softplus(-real) + softplus(self._logit(x, index))).mean()
        value = float(loss.detach())
        if penalised:
            (slope,) = torch.autograd.grad(real.sum(), y, create_graph=True)
            r1 = slope.square().sum((1, 2, 3)).mean()
            loss = loss + self.config.r1_every * self.config.r1 / 2 * r1
        self.descend("critic", loss)
        return value

    def _logit(self, x: Tensor, index: Tensor) -> Tensor:
        """The logit that judges an image."""
        logits: Tensor = self.critic(x)
        return logits[:, 0] if self.config.codes == "random" else logits.gather(1, index[:, None])[:, 0]

    def _penalty(self, x: Tensor, y: Tensor) -> Tensor | float:
        if self.config.codes == "index" or self.config.penalty == "none":
            return penalty(self.config.penalty, self.config.weight, x, y)
        if self.config.penalty == "focal":
            return penalty("focal", self.config.weight, x, nearest(x, y))
        return self.config.weight * spectral_loss(x, y, pooled=True)
