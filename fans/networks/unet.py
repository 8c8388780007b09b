"""A U-Net from the blocks of diffusers, and preconditioning per frequency for any network.

Networks are called with images x_t (B, C, H, W) and timesteps (B,), and return a prediction of the shape of
x_t: they are denoisers for ``fans.diffusion.sampling.sample``.

A residual block learns the time from a projection of its embedding, and there are two places for it. DDPM
adds a number to each channel *before* the second group norm, which subtracts the mean of each group: with as
many groups as channels nothing is left (a relative 7e-8, where t goes from 1 to 1000), and the block does not
know the time. That is so at full resolution for ``widths=(8, 16, 16), groups=8``. Here the norm comes first,
and the time scales and shifts what it returns (Dhariwal and Nichol 2021), which no grouping removes.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from fans._validation import known
from fans.config import Config

Preset = Literal["cpu", "paper"]
TimeScaleShift = Literal["scale_shift", "default"]


@dataclass(frozen=True)
class UNetConfig(Config):
    """Sizes of a ``UNet``.

    Attributes:
        channels: of the images.
        widths: channels of the features per level; each level after the first halves the resolution.
        layers: residual blocks per level.
        attention: levels, counted from 0, whose blocks attend to all pixels; any also adds it at the bottom.
        groups: of the group norms; must divide every width.
        dropout: in residual blocks.
        time_scale_shift: of diffusers' residual blocks: ``scale_shift`` scales and shifts what a group norm
            returns; ``default`` adds the time before the norm, which removes it where groups are single
            channels (see the module) and is for networks that were trained so.

    >>> UNetConfig.from_json(UNetConfig(channels=3).to_json()).channels
    3
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 32)
    layers: int = 1
    attention: tuple[int, ...] = ()
    groups: int = 8
    dropout: float = 0.0
    time_scale_shift: TimeScaleShift = "scale_shift"

    def __post_init__(self) -> None:
        self.check_types()
        known("time_scale_shift", self.time_scale_shift, get_args(TimeScaleShift))
        if min(self.channels, self.layers, self.groups, *self.widths, len(self.widths)) < 1:
            raise ValueError(f"{self}: channels, widths, layers and groups must be positive")
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"widths={self.widths}: must all be multiples of groups={self.groups}")
        if any(not 0 <= level < len(self.widths) for level in self.attention):
            raise ValueError(f"attention={self.attention}: levels are 0 to {len(self.widths) - 1}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: must lie in [0, 1)")


_PRESETS: dict[Preset, UNetConfig] = {
    "cpu": UNetConfig(),
    "paper": UNetConfig(
        channels=3, widths=(128, 256, 256, 256), layers=2, attention=(1,), groups=32, dropout=0.1
    ),
}


def preset(name: Preset, *, channels: int | None = None) -> UNetConfig:
    """Sizes that suit a purpose.

    - ``cpu``: 0.28 M parameters, for 16 to 32 pixels and minutes on a CPU.
    - ``paper``: 38.3 M parameters, the sizes of DDPM on CIFAR-10, for 32 pixels and up on a GPU.

    Args:
        name: one of the above.
        channels: of the images, if not those of the preset (1 and 3).
    """
    if name not in _PRESETS:
        raise ValueError(f"preset {name!r}: must be one of {', '.join(get_args(Preset))}")
    config = _PRESETS[name]
    return config if channels is None else replace(config, channels=channels)


class UNet(nn.Module):
    """A U-Net of residual blocks with skip connections and an embedding of the timestep.

    Its last convolution starts at zero, so that an untrained network predicts 0.

    Args:
        config: sizes.
        seed: of the initial weights.

    >>> network = UNet(UNetConfig(widths=(4, 8), groups=4))
    >>> network(torch.ones(2, 1, 8, 8), torch.tensor([1, 900])).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, config: UNetConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        attends = [level in config.attention for level in range(len(config.widths))]
        blocks: Any = UNet2DModel  # it has no types
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.blocks = blocks(
                in_channels=config.channels,
                out_channels=config.channels,
                block_out_channels=config.widths,
                layers_per_block=config.layers,
                down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
                up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
                add_attention=any(attends),
                norm_num_groups=config.groups,
                dropout=config.dropout,
                resnet_time_scale_shift=config.time_scale_shift,
            )
        nn.init.zeros_(self.blocks.conv_out.weight)
        nn.init.zeros_(self.blocks.conv_out.bias)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Predict from images (B, C, H, W) at timesteps (B,).

        Raises:
            ValueError: images with other channels, or a size that cannot be halved often enough.
        """
        factor = 2 ** (len(self.config.widths) - 1)
        if x_t.shape[1] != self.config.channels or x_t.shape[2] % factor or x_t.shape[3] % factor:
            raise ValueError(
                f"images {tuple(x_t.shape)}: must be (B, {self.config.channels}, H, W) with H and W multiples"
                f" of {factor}, since widths={self.config.widths} halves them {len(self.config.widths) - 1}"
                " times; crop the images or take fewer widths"
            )
        prediction: Tensor = self.blocks(x_t, t, return_dict=False)[0]
        return prediction
