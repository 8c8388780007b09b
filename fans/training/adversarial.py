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

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from fans.metrics.spectral_losses import nearest, spectral_loss
from fans.training.config import LoopConfig
from fans.training.generator import BETAS, Penalty, penalty
from fans.training.loop import Loop, Terms
from fans.training.streams import noise, order


@dataclass(frozen=True)
class AdversarialConfig(LoopConfig):
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
        if self.critic_rate <= 0 or self.r1 < 0 or self.r1_every < 1 or self.weight < 0:
            raise ValueError(
                f"critic_rate={self.critic_rate}, r1={self.r1}, r1_every={self.r1_every},"
                f" weight={self.weight}: rate and interval must be positive, the others not negative"
            )
        if self.compile and self.r1:
            raise ValueError(
                f"compile=True with r1={self.r1}: the gradient penalty needs second derivatives, which"
                " compiled networks do not have; leave one of them"
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


class Adversarial(Loop):
    """Two networks against each other, one step of the discriminator for each of the generator.

    Records hold ``loss``, the generator's, and ``critic``, the discriminator's without the gradient penalty,
    2 log 2 = 1.386 where it cannot tell; ``r1`` is that penalty with its weight.

    >>> from fans.networks.gan import Discriminator, DiscriminatorConfig
    >>> critic = Discriminator(DiscriminatorConfig(widths=(4, 4), logits=4))
    >>> images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> config = AdversarialConfig(steps=4, batch=2, log_every=2, codes="index")
    >>> run = Adversarial(Pictures(4, (1, 8, 8)), critic, images, config)
    >>> sorted(run.run()[0])
    ['critic', 'gradient', 'gradient critic', 'loss', 'r1', 'rate', 'seconds', 'step']
    """

    config: AdversarialConfig
    images: Tensor
    betas = BETAS

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
        """Prepare a run; arguments as for `Loop`.

        Args:
            generator: from codes (B, latent), or from indices (B,), to images.
            critic: from images to logits, one of each for ``codes="index"``.
            images: real ones.
            config: everything else.
            latent: length of random codes.
            folder, accelerator: as for `Loop`.

        Raises:
            ValueError: random codes without a length.
        """
        if (config.codes == "random") != (latent > 0):
            raise ValueError(
                f"codes={config.codes!r} with latent={latent}: random codes have a length, indices 0"
            )
        self.generator, self.critic, self.latent = generator, critic, latent
        networks = {"generator": generator, "critic": critic}
        rates = {"critic": config.critic_rate}
        super().__init__(networks, images, config, rates=rates, folder=folder, accelerator=accelerator)
        self.images = images.to(self.device)

    def losses(self) -> dict[str, Callable[[int], Terms]]:
        """A step of the discriminator, then one of the generator with other codes."""
        return {"critic": self.critic_loss, "generator": self.generator_loss}

    def draw(self, number: int, part: int = 0) -> tuple[Tensor, Tensor]:
        """Indices of real images (B,), and codes of generated ones: random, or the same indices."""
        numbers = self.share(part, batch=number)
        index = order(self.config.seed, len(self.images), numbers).to(self.device)
        if self.config.codes == "index":
            return index, index
        codes = noise(self.config.seed, (len(index), self.latent), numbers.start, device=self.device)
        return index, codes

    def critic_loss(self, part: int) -> dict[str, Tensor]:
        """The logistic loss of the discriminator, and every few steps the gradient penalty."""
        index, codes = self.draw(2 * self.step, part)
        with torch.no_grad():
            x = self.forward("generator", codes)
        penalised = self.config.r1 > 0 and self.step % self.config.r1_every == 0
        y = self.images[index].detach().requires_grad_(penalised)
        real = self.logit(y, index)
        loss = {"critic": (softplus(-real) + softplus(self.logit(x, index))).mean()}
        if penalised:
            (slope,) = torch.autograd.grad(real.sum(), y, create_graph=True)
            r1 = slope.square().sum((1, 2, 3)).mean()
            loss["r1"] = self.config.r1_every * self.config.r1 / 2 * r1
        return loss

    def generator_loss(self, part: int) -> dict[str, Tensor]:
        """The logistic loss of the generator with its penalty."""
        index, codes = self.draw(2 * self.step + 1, part)
        x = self.forward("generator", codes)
        return {"loss": softplus(-self.logit(x, index)).mean() + self._penalty(x, self.images[index])}

    def logit(self, x: Tensor, index: Tensor) -> Tensor:
        """The logit that judges an image."""
        logits = self.forward("critic", x)
        return logits[:, 0] if self.config.codes == "random" else logits.gather(1, index[:, None])[:, 0]

    def _penalty(self, x: Tensor, y: Tensor) -> Tensor | float:
        if self.config.codes == "index" or self.config.penalty == "none":
            return penalty(self.config.penalty, self.config.weight, x, y)
        if self.config.penalty == "focal":
            return penalty("focal", self.config.weight, x, nearest(x, y))
        return self.config.weight * spectral_loss(x, y, pooled=True)
