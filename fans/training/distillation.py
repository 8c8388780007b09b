r"""Training a small network with the help of a large one (Yang et al. 2023, CVPR).

"Diffusion Probabilistic Model Made Slim" adds two losses to that of the task. Both compare features, or the
outputs, of a student S and a frozen teacher T at the same noisy images, pair by pair of equal scale:

.. math::
    L = L_{task} + \lambda_s L_s + \lambda_f L_f, \quad
    L_s = \sum_i \overline{|X_T^i - X_S^i|^2}, \quad
    L_f = \sum_i \overline{\omega_i |\hat X_T^i - \hat X_S^i|^2}, \quad
    \omega_i = |\hat X_0^i|^\alpha,

with the clean image X_0 brought to the scale of the pair. The weight stands inside the sum over frequencies:
with ``alpha = -1`` frequencies count the more, the less of them the image has. The DFT is orthonormal, so
that ``alpha = 0`` makes both losses equal (Parseval).

The paper leaves open what follows. Pairs are the outputs of the last residual block of each level, downwards
and upwards, those of the block at the bottom, and the predictions. The student's features pass a 1 x 1
convolution to the teacher's channels; it is trained along and then dropped. Bars are means over pixels and
channels, so that a scale with few pixels counts as much as one with many, and factors do not depend on
sizes. X_0 is averaged over squares of pixels. The mean power of its channels weighs all features alike;
``floor`` bounds it from below, since nothing else bounds ``1 / |X_0|``.

Noise and timestep are drawn anew at every step, so the teacher never sees the same images twice: keeping its
features would save nothing.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fans.diffusion import SpectralProcess
from fans.diffusion.denoisers import check_trained, labelled, unwrapped
from fans.diffusion.digests import digest
from fans.diffusion.losses import weighted_error
from fans.diffusion.preconditioning import Preconditioned
from fans.metrics.spectral_losses import focal_frequency_loss
from fans.training.checks import Images
from fans.training.config import TrainingConfig
from fans.training.diffusion import Trainer
from fans.training.loop import Which

Pairs = Literal["features", "outputs"]


def frequency_weight(
    x_0: Tensor, size: tuple[int, int], *, alpha: float = -1.0, floor: float = 0.1
) -> Tensor:
    r"""The weight :math:`\omega = \max(|\hat X_0|, floor)^\alpha` of every coefficient, for each image.

    Args:
        x_0: clean images (B, C, H, W); ``|X_0|`` is the root of the mean power of their channels.
        size: of the features that are weighed; the images are averaged over squares of pixels to it.
        alpha: exponent; 0 weighs all alike, -1 is the paper's, -2 divides by the power.
        floor: smallest ``|X_0|``, of images with variance 1, whose mean is about 1.

    Returns:
        (B, h, w//2 + 1), in the precision of the images.

    >>> wave = torch.cos(torch.pi / 2 * torch.arange(4.0)).expand(1, 1, 4, 4)
    >>> frequency_weight(wave, (4, 4), floor=0.5)[0, 0]
    tensor([2.0000, 0.5000, 2.0000])
    """
    small = nn.functional.adaptive_avg_pool2d(x_0, size)
    power: Tensor = torch.fft.rfft2(small, norm="ortho").abs().square().mean(1)
    return power.clamp(min=floor**2).pow(alpha / 2)


def spatial_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of two features (B, C, h, w) per image, (B,)."""
    return (a - b).square().mean((1, 2, 3))


def frequency_loss(a: Tensor, b: Tensor, x_0: Tensor, *, alpha: float = -1.0, floor: float = 0.1) -> Tensor:
    """Mean over coefficients of ``omega |A - B|^2`` for two features per image; see ``frequency_weight``.

    Args:
        a, b: features (B, C, h, w).
        x_0: clean images (B, C', H, W).
        alpha, floor: of the weight.

    Returns:
        Shape (B,).

    >>> a, b, x_0 = torch.randn(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(frequency_loss(a, b, x_0, alpha=0), spatial_loss(a, b)))
    True
    """
    return weighted_error(a - b, frequency_weight(x_0, (a.shape[-2], a.shape[-1]), alpha=alpha, floor=floor))


def tapped(network: nn.Module, x_t: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The prediction of a ``UNet``, and the features at all its scales.

    Args:
        network: a ``UNet`` or ``WaveletUNet``, also inside ``Preconditioned``.
        x_t: images (B, C, H, W).
        t: timesteps (B,).

    Returns:
        The prediction, and 2 L + 1 features (B, C', h, w) for L levels: fine to coarse, bottom, coarse to
        fine.

    >>> from fans.networks import UNet, UNetConfig
    >>> network = UNet(UNetConfig(widths=(4, 8), groups=2))
    >>> [tuple(x.shape[1:]) for x in tapped(network, torch.ones(1, 1, 8, 8), torch.tensor([9]))[1]]
    [(4, 8, 8), (8, 4, 4), (8, 4, 4), (8, 4, 4), (4, 8, 8)]
    """
    found = list[Tensor]()

    def keep(module: nn.Module, args: Any, features: Tensor) -> None:
        found.append(features)

    hooks = [block.register_forward_hook(keep) for block in _blocks(network)]
    try:
        prediction = unwrapped(network(x_t, t))
    finally:
        for hook in hooks:
            hook.remove()
    return prediction, found


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The residual blocks whose outputs are compared, in the order in which they run."""
    inner = network.network if isinstance(network, Preconditioned) else network
    blocks: Any = getattr(inner, "blocks", None)
    if blocks is None:
        raise ValueError(f"{type(inner).__name__} has no blocks to tap: take a UNet, or pairs='outputs'")
    return [part.resnets[-1] for part in (*blocks.down_blocks, blocks.mid_block, *blocks.up_blocks)]


@dataclass(frozen=True)
class DistillationConfig(TrainingConfig):
    """All numbers of a training run with a teacher.

    Attributes:
        spatial: lambda_s.
        frequency: lambda_f.
        alpha: exponent of the weight of frequencies.
        floor: of ``frequency_weight``.
        pairs: ``features`` at all scales and the predictions, or the predictions alone (``outputs``).
        focal: factor of the focal frequency loss of the prediction against the true target, a rival of the
            weight (``fans.networks.gan_remedies.focal_frequency_loss``).

    >>> DistillationConfig(spatial=-1.0)
    Traceback (most recent call last):
    ...
    ValueError: spatial=-1.0: factors of losses must not be negative
    """

    spatial: float = 0.1
    frequency: float = 0.1
    alpha: float = -1.0
    floor: float = 0.1
    pairs: Pairs = "features"
    focal: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("spatial", "frequency", "focal"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: factors of losses must not be negative")
        if self.floor <= 0:
            raise ValueError(f"floor={self.floor}: must be positive, since images lack some frequencies")


class Student(nn.Module):
    """A network, and the 1 x 1 convolutions that bring its features to the channels of a teacher.

    Args:
        network: the student.
        channels: its features' and the teacher's, for each pair of features.
        seed: of the initial weights of the convolutions.
    """

    def __init__(self, network: nn.Module, channels: list[tuple[int, int]], *, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.match = nn.ModuleList(nn.Conv2d(own, taught, 1) for own, taught in channels)
        if hasattr(network, "prediction"):
            self.prediction = network.prediction

    def forward(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The prediction, and the features in the teacher's channels."""
        if not len(self.match):
            return unwrapped(self.network(x_t, t)), []
        prediction, features = tapped(self.network, x_t, t)
        return prediction, [conv(x) for conv, x in zip(self.match, features, strict=True)]


class Distiller(Trainer):
    """A ``Trainer`` whose network also learns from a teacher, resumed like one.

    >>> from fans.networks import UNet, UNetConfig
    >>> from fans.diffusion import white
    >>> images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> large, small = (UNet(UNetConfig(widths=widths, groups=2)) for widths in ((8, 16), (4, 8)))
    >>> config = DistillationConfig(steps=2, batch=4, log_every=2)
    >>> run = Distiller(small, large, images, white(size=(8, 8)), config)
    >>> run.run()[-1]["step"], type(run.denoiser()).__name__
    (2, 'UNet')
    """

    config: DistillationConfig

    def __init__(
        self,
        network: nn.Module,
        teacher: nn.Module | None,
        images: Images,
        process: SpectralProcess,
        config: DistillationConfig,
        **options: Any,
    ) -> None:
        """Prepare a run.

        Args:
            network: the student, trained in place.
            teacher: a network that predicts the same; a frozen copy of it is used. None puts the true target
                in the place of its prediction: the control that tells what the weight does by itself.
            images, process, config, options: as for ``Trainer``.

        Raises:
            ValueError: networks without features of equal scales, a teacher that was trained for something
                else, or what ``Trainer`` raises.
        """
        self.teacher = None if teacher is None else deepcopy(teacher).eval().requires_grad_(False)
        if teacher is None and config.pairs == "features":
            raise ValueError("pairs='features' needs a teacher: give one, or pairs='outputs'")
        check_trained(teacher, process, config.prediction, images[0].shape)
        channels = list[tuple[int, int]]()
        if self.teacher is not None and config.pairs == "features":
            channels = _matching(network, self.teacher, images[0][None])
        student = Student(network, channels, seed=config.seed)
        weights = [] if self.teacher is None else list(self.teacher.state_dict().values())
        taught = {"teacher": digest(*weights)}
        super().__init__(student, images, process, config, made_from=taught, **options)
        if self.teacher is not None:
            self.teacher.to(self.device)

    def averaged(self, which: Which = "ema") -> nn.Module:
        """A copy of the student without its 1 x 1 convolutions, as ``Trainer.denoiser``."""
        whole = super().averaged(which)
        assert isinstance(whole, Student)
        return labelled(whole.network, self.trained_for)

    def error(self, x_0: Tensor, x_t: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """The loss of the task, and those of all pairs."""
        x_t = self.laid_out(x_t)
        with self.autocast():
            prediction, own = self.forwards["model"](x_t, t.to(x_t.device))
            shown, taught = self._taught(x_t, t.to(x_t.device), target)
        prediction, config = prediction.float(), self.config
        loss = weighted_error(prediction - target, self.weight(t))
        for a, b in zip((*taught, shown), (*own, prediction), strict=True):
            if config.spatial:
                loss = loss + config.spatial * spatial_loss(a.float(), b.float())
            if config.frequency:
                weighed = frequency_loss(a.float(), b.float(), x_0, alpha=config.alpha, floor=config.floor)
                loss = loss + config.frequency * weighed
        if config.focal:
            return loss.mean() + config.focal * focal_frequency_loss(prediction, target)
        return loss.mean()

    @torch.no_grad()
    def _taught(self, x_t: Tensor, t: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the teacher predicts, and its features if they are compared."""
        if self.teacher is None:
            return target, []
        if self.config.pairs == "features":
            return tapped(self.teacher, x_t, t)
        return unwrapped(self.teacher(x_t, t)), []


@torch.no_grad()
def _matching(network: nn.Module, teacher: nn.Module, image: Tensor) -> list[tuple[int, int]]:
    """Channels of all pairs of features, which must have equal scales."""
    device = next(network.parameters()).device
    probe, t = torch.zeros_like(image, device=device), torch.ones(1, dtype=torch.int64, device=device)
    own, taught = (tapped(net, probe, t)[1] for net in (network, teacher.to(device)))
    scales = [[tuple(x.shape[-2:]) for x in features] for features in (own, taught)]
    if scales[0] != scales[1]:
        raise ValueError(
            f"the student's features have scales {scales[0]}, the teacher's {scales[1]}: give both as many"
            " widths, or compare pairs='outputs'"
        )
    return [(a.shape[1], b.shape[1]) for a, b in zip(own, taught, strict=True)]
