"""Generator and discriminator with equalised learning rates, after Karras et al. 2018 (ICLR).

The generator normalises a code, makes 4 x 4 pixels of it, and doubles the grid until it has the size of the
images. The discriminator halves it until 4 x 4 pixels remain. What a layer can do to a spectrum depends on
how the grid changes, so that it is chosen by name: upsampling is that of ``fans.filters.upsample``, and
pooling that of `pool`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu, pad

from fans._validation import known
from fans.config import Config
from fans.filters import Upsampling, upsample
from fans.networks.layers import EqualisedConv, EqualisedLinear, pixel_norm, seeded

Pooling = Literal["average", "stride", "blur"]
GanPreset = Literal["cpu", "paper"]
SMALLEST = 4  # pixels of the first and the last grid
_SLOPE = 0.2  # of leaky ReLU
_BLUR = (1.0, 3.0, 1.0)  # along each axis


def _positive(widths: Sequence[int], **numbers: int) -> None:
    for name, number in {**numbers, "widths": min(widths, default=0)}.items():
        if number < 1:
            raise ValueError(f"{name}={widths if name == 'widths' else number}: must be positive")


@dataclass(frozen=True)
class GeneratorConfig(Config):
    """Sizes of a `Generator`.

    Attributes:
        channels: of the images.
        latent: length of a code.
        widths: channels of the features at 4, 8, 16 ... pixels; the last grid is that of the images.
        layers: convolutions of each grid.
        upsampling: between grids, ``nearest``, ``bilinear``, ``zeros`` or ``shuffle``.
        last: upsampling before the last grid, if another one.

    >>> GeneratorConfig(widths=(8, 8, 8)).size
    16
    """

    channels: int = 1
    latent: int = 64
    widths: tuple[int, ...] = (32, 32, 32, 16)
    layers: int = 2
    upsampling: Upsampling = "nearest"
    last: Upsampling | None = None

    def __post_init__(self) -> None:
        self.check_types()
        _positive(self.widths, channels=self.channels, latent=self.latent, layers=self.layers)
        allowed = tuple(name for name in get_args(Upsampling) if name != "none")
        known("upsampling", self.upsampling, allowed)
        known("last upsampling", self.last or self.upsampling, allowed)

    @property
    def size(self) -> int:
        """Pixels of the images."""
        return SMALLEST << len(self.widths) - 1

    @property
    def upsamplings(self) -> tuple[Upsampling, ...]:
        """Those before each grid but the first."""
        each = [self.upsampling] * (len(self.widths) - 1)
        return (*each[:-1], self.last or self.upsampling) if each else ()


@dataclass(frozen=True)
class DiscriminatorConfig(Config):
    """Sizes of a `Discriminator`.

    Attributes:
        channels: of the images.
        widths: channels of the features from the grid of the images down to 4 pixels.
        layers: convolutions of each grid.
        pooling: between grids, see `pool`.
        logits: numbers returned for an image.
        minibatch_stddev: show the last grid how much the batch varies, so that an image is judged among the
            others (Karras et al. 2018): generators whose images are all alike are then told.

    >>> DiscriminatorConfig(widths=(8, 8, 8)).size
    16
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 32, 32)
    layers: int = 2
    pooling: Pooling = "average"
    logits: int = 1
    minibatch_stddev: bool = False

    def __post_init__(self) -> None:
        self.check_types()
        _positive(self.widths, channels=self.channels, layers=self.layers, logits=self.logits)
        known("pooling", self.pooling, get_args(Pooling))

    @property
    def size(self) -> int:
        """Pixels of the images."""
        return SMALLEST << len(self.widths) - 1


_PRESETS: dict[GanPreset, tuple[GeneratorConfig, DiscriminatorConfig]] = {
    "cpu": (GeneratorConfig(), DiscriminatorConfig()),
    "paper": (
        GeneratorConfig(channels=3, widths=(64, 64, 64, 64, 32)),
        DiscriminatorConfig(channels=3, widths=(32, 64, 64, 64, 64)),
    ),
}


def gan_preset(name: GanPreset) -> tuple[GeneratorConfig, DiscriminatorConfig]:
    """Sizes of both networks that suit a purpose.

    - ``cpu``: 32 pixels, 86 481 and 85 857 parameters.
    - ``paper``: 64 pixels and colours, 352 867 and 416 641 parameters; the generator is that of the code of
      Schwarz, Liao and Geiger (2021), which narrows it by a third for ``shuffle``, whose convolutions have
      four times the outputs.

    Raises:
        ValueError: no such preset.
    """
    known("preset", name, get_args(GanPreset))
    return _PRESETS[name]


def pool(maps: Tensor, method: Pooling) -> Tensor:
    r"""Halve the grid, (B, C, H, W) to (B, C, H/2, W/2).

    Args:
        maps: features.
        method: ``"average"`` of each square of four pixels; ``"stride"`` keeps the first of them, which after
            a convolution is one with stride 2; ``"blur"`` convolves with (1, 3, 1; 3, 9, 3; 1, 3, 1)/25, the
            border repeated, and averages then.

    >>> pool(torch.arange(4.0).view(1, 1, 2, 2), "average").item()
    1.5
    """
    known("pooling", method, get_args(Pooling))
    if method == "stride":
        return maps[..., ::2, ::2]
    if method == "blur":
        line = torch.tensor(_BLUR, dtype=maps.dtype, device=maps.device) / sum(_BLUR)
        kernel = torch.outer(line, line).expand(maps.shape[1], 1, 3, 3)
        maps = conv2d(pad(maps, (1, 1, 1, 1), mode="replicate"), kernel, groups=maps.shape[1])
    return avg_pool2d(maps, 2)


def stddev(x: Tensor) -> Tensor:
    """Standard deviation over a batch (B, C, H, W), mean over all else, shape ().

    >>> round(stddev(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)).item(), 6)
    1.0
    """
    return (x.var(0, correction=0) + 1e-8).sqrt().mean()


class Generator(nn.Module):
    """Images from codes: pixel norm, leaky ReLU, an upsampling before each grid but the first.

    Args:
        config: sizes.
        seed: of the initial weights.

    >>> Generator(GeneratorConfig(latent=8, widths=(4, 4, 4), last="zeros"))(torch.ones(2, 8)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(self, config: GeneratorConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        with seeded(seed):
            self.first = EqualisedLinear(config.latent, widths[0] * SMALLEST**2)
            befores = (widths[0], *widths[:-1])
            # The first grid has one convolution less: the linear layer stands for it.
            numbers = (config.layers - 1, *[config.layers] * len(widths[1:]))
            grids = zip(befores, widths, numbers, strict=True)
            self.grids = nn.ModuleList(_convolutions(a, b, number) for a, b, number in grids)
            self.spread = nn.ModuleList(
                EqualisedConv(width, 4 * width) if method == "shuffle" else nn.Identity()
                for width, method in zip(widths, config.upsamplings, strict=False)
            )
            self.last = EqualisedConv(widths[-1], config.channels, 1, gain=1)

    def forward(self, code: Tensor) -> Tensor:
        """Images (B, C, H, W) from codes (B, latent).

        Raises:
            ValueError: codes of another length.
        """
        if code.ndim != 2 or code.shape[1] != self.config.latent:
            raise ValueError(f"codes {tuple(code.shape)}: must be (B, {self.config.latent})")
        x = self.first(pixel_norm(code)).view(len(code), -1, SMALLEST, SMALLEST)
        x = _activated(self.grids[0], _active(x))
        for spread, method, grid in zip(
            self.spread, self.config.upsamplings, list(self.grids)[1:], strict=True
        ):
            x = _activated(grid, upsample(spread(x), method))
        images: Tensor = self.last(x)
        return images


class Discriminator(nn.Module):
    """Logits of images: leaky ReLU, a pooling after each grid but the last.

    Args:
        config: sizes.
        seed: of the initial weights.

    >>> Discriminator(DiscriminatorConfig(widths=(4, 4, 4), logits=3))(torch.ones(2, 1, 16, 16)).shape
    torch.Size([2, 3])
    """

    def __init__(self, config: DiscriminatorConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        with seeded(seed):
            self.first = EqualisedConv(config.channels, widths[0], 1)
            self.grids = nn.ModuleList(
                _convolutions(width, after, config.layers)
                for width, after in zip(widths, (*widths[1:], widths[-1]), strict=True)
            )
            inputs = widths[-1] + config.minibatch_stddev
            self.hidden = EqualisedLinear(inputs * SMALLEST**2, widths[-1])
            self.last = EqualisedLinear(widths[-1], config.logits, gain=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, n) of images (B, C, H, W).

        Raises:
            ValueError: images of another shape.
        """
        wanted = (self.config.channels, self.config.size, self.config.size)
        if x.shape[1:] != wanted:
            raise ValueError(
                f"images {tuple(x.shape)}: must be (B, {', '.join(map(str, wanted))}), since the widths"
                f" {self.config.widths} lead from {self.config.size} to {SMALLEST} pixels"
            )
        x = leaky_relu(self.first(x), _SLOPE)
        for number, grid in enumerate(self.grids):
            x = x if number == 0 else pool(x, self.config.pooling)
            for layer in grid:  # type: ignore[attr-defined]
                x = leaky_relu(layer(x), _SLOPE)
        if self.config.minibatch_stddev:
            x = torch.cat([x, stddev(x).expand(len(x), 1, SMALLEST, SMALLEST)], 1)
        logits: Tensor = self.last(leaky_relu(self.hidden(x.flatten(1)), _SLOPE))
        return logits


def _convolutions(channels: int, outputs: int, number: int) -> nn.ModuleList:
    """Convolutions of one grid, of which the first changes the width."""
    inputs = (channels, *[outputs] * (number - 1))[:number]
    return nn.ModuleList(EqualisedConv(width, outputs) for width in inputs)


def _active(x: Tensor) -> Tensor:
    return pixel_norm(leaky_relu(x, _SLOPE))


def _activated(layers: nn.Module, x: Tensor) -> Tensor:
    for layer in layers:  # type: ignore[attr-defined]
        x = _active(layer(x))
    return x
