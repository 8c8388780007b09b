"""A U-Net from the blocks of diffusers, and preconditioning per frequency for any network.

Networks are called with images x_t (B, C, H, W) and timesteps (B,), and return a prediction of the shape of
x_t: they are denoisers for ``fans.sampling.sample``.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from fans.checkpoints import Config
from fans.losses import residual_power
from fans.process import Prediction, SpectralProcess, Spectrum, as_spectrum
from fans.wiener import noise_filter, reconstruction_filter

Preset = Literal["cpu", "paper"]


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

    >>> UNetConfig.from_json(UNetConfig(channels=3).to_json()).channels
    3
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 32)
    layers: int = 1
    attention: tuple[int, ...] = ()
    groups: int = 8
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self.check_types()
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

    - ``cpu``: 0.26 M parameters, for 16 to 32 pixels and minutes on a CPU.
    - ``paper``: 35.7 M parameters, those of DDPM on CIFAR-10, for 32 pixels and up on a GPU.

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


class Preconditioned(nn.Module):
    r"""A network whose input and target have unit power at every frequency, at every timestep.

    For a prediction ``p = c x_0 + d eps`` of data with power C, the best linear estimate from x_t is
    ``c_skip x_t`` and leaves the power ``c_out^2`` (``fans.losses.residual_power``). The network F predicts
    the rest, scaled:

    .. math::
        \hat p = c_{skip} x_t + c_{out} F(c_{in} x_t, t), \quad
        c_{in} = P^{-1/2}, \quad c_{skip} = \frac{c a C + d s}{P}, \quad
        c_{out} = (c s - d a) \sqrt{C / P}, \quad P = a^2 C + s^2,

    all per coefficient. So F = 0 is the Wiener denoiser, exact for Gaussian data; ``c_out`` keeps its sign,
    so that F means the same for every prediction. With a white process and a constant spectrum these are the
    scalars of EDM (Karras et al. 2022), the control for preconditioning with colour.

    The coefficients are tables in single precision, 8 MB each at 64 x 64 and T = 1000.

    Args:
        network: F, called with images and timesteps.
        process: noising process.
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        prediction: what to return.

    >>> from fans.process import white
    >>> from fans.wiener import WienerDenoiser
    >>> process, C = white(size=(4, 4)), torch.ones(4, 3)
    >>> network = Preconditioned(UNet(UNetConfig(widths=(4, 8), groups=4)), process, C)
    >>> x, t = torch.ones(1, 1, 4, 4), torch.tensor([300])
    >>> bool(torch.allclose(network(x, t), WienerDenoiser(process, C, "v_prediction")(x, t), atol=1e-6))
    True
    """

    def __init__(
        self,
        network: nn.Module,
        process: SpectralProcess,
        spectrum: Spectrum,
        prediction: Prediction = "v_prediction",
    ) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.prediction = prediction
        self.spectrum = as_spectrum(spectrum, process.size)
        rows = preconditioning(process, spectrum, torch.arange(1, process.timesteps + 1), prediction)
        # Row 0 is not a number: there is nothing to predict at t = 0, and whoever asks shall notice. The
        # tables are no buffers, which would be sent to every process at every step.
        self._tables = [torch.cat([torch.full_like(row[:1], torch.nan), row]).float() for row in rows]

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Predict from images (B, C, H, W) at timesteps (B,)."""
        if self._tables[0].device != x_t.device:
            self._tables = [table.to(x_t.device) for table in self._tables]
        c_in, c_skip, c_out = (table[t][:, None] for table in self._tables)  # (B, 1, H, W//2 + 1)
        state = torch.fft.rfft2(x_t.float(), norm="ortho")
        whitened = torch.fft.irfft2(state * c_in, s=x_t.shape[-2:], norm="ortho")
        rest = torch.fft.rfft2(self.network(whitened, t).float(), norm="ortho")
        prediction: Tensor = torch.fft.irfft2(state * c_skip + rest * c_out, s=x_t.shape[-2:], norm="ortho")
        return prediction.to(x_t.dtype)

    def get_extra_state(self) -> Tensor:
        """The spectrum, which is part of the weights: they mean nothing with another."""
        return self.spectrum

    def set_extra_state(self, state: Tensor) -> None:
        """Check that weights to be loaded belong to this spectrum.

        Raises:
            ValueError: they do not.
        """
        # Machines differ in the last digit of a mean.
        if state.shape != self.spectrum.shape or not torch.allclose(state.cpu(), self.spectrum, 1e-9, 0):
            raise ValueError("these weights were trained with another spectrum: precondition with theirs")


def preconditioning(
    process: SpectralProcess, spectrum: Spectrum, t: Tensor, kind: Prediction
) -> tuple[Tensor, Tensor, Tensor]:
    """``c_in, c_skip, c_out`` of ``Preconditioned``, float64 ``(*t.shape, H, W//2 + 1)``; t > 0."""
    a, s = process.signal(t), process.noise(t)
    c, d = process.mixture(t, kind)
    power = process.power(t, spectrum)
    skip = c * reconstruction_filter(process, spectrum, t) + d * noise_filter(process, spectrum, t)
    return power.rsqrt(), skip, residual_power(process, spectrum, t, kind).sqrt() * (c * s - d * a).sign()
