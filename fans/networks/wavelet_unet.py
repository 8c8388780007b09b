r"""A U-Net that changes resolution by wavelets, with gates for their bands (Yang et al. 2023, CVPR).

"Diffusion Probabilistic Model Made Slim" replaces the downsampling of a U-Net by WG-Down, a gated sum of the
four bands of the features X, and the upsampling by WG-Up, the inverse transform of gated channel groups:

.. math::
    g = \sigma(\mathrm{FFN}(\mathrm{mean}(X))), \quad
    X' = \sum_b g_b \odot X_b, \quad
    X'' = \mathrm{IDWT}(g_{LL} \odot X_1, g_{LH} \odot X_2, g_{HL} \odot X_3, g_{HH} \odot X_4).

What makes them differ from plain layers is that gates differ: with Haar and all gates g, WG-Down is
decimation, ``2 g X[::2, ::2]``, and WG-Up is a pixel shuffle of fixed mixtures of the groups; if those are
equal too, it inserts zeros. Gates see the means of channels alone, so time only as far as the block before
shows it (``fans.networks.unet``).

The paper leaves open what surrounds the gates. Here a 3 x 3 convolution follows, as in the layers replaced.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fans.networks.unet import UNet, UNetConfig
from fans.wavelets import Wavelet, dwt2, filter_bank, idwt2

_OWN_STREAM = 2**32  # apart from the seeds of the layers of the plain U-Net


def wg_down(x: Tensor, gates: Tensor, wavelet: Wavelet = "haar") -> Tensor:
    """WG-Down, the gated sum of the bands.

    Args:
        x: features (B, C, H, W).
        gates: of LL, LH, HL, HH, (B, 4, C) or (4, C).
        wavelet: as for ``fans.wavelets.dwt2``.

    Returns:
        (B, C, H/2, W/2).

    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> bool((wg_down(x, torch.full((4, 1), 0.5)) == x[..., ::2, ::2]).all())
    True
    """
    bands = dwt2(x, wavelet)
    ll, lh, hl, hh = (g[..., None, None] * band for g, band in zip(gates.unbind(-2), bands, strict=True))
    return ll + lh + hl + hh


def wg_up(x: Tensor, gates: Tensor, wavelet: Wavelet = "haar") -> Tensor:
    """WG-Up, the inverse transform of four gated groups of channels.

    Args:
        x: features (B, C, H, W), in four groups of channels LL, LH, HL, HH.
        gates: of each, (B, 4, C/4) or (4, C/4).
        wavelet: as for ``fans.wavelets.dwt2``.

    Returns:
        (B, C/4, 2H, 2W).

    Raises:
        ValueError: C is no multiple of 4.

    >>> wg_up(torch.ones(1, 4, 2, 2), torch.full((4, 1), 0.5))[0, 0]
    tensor([[1., 0., 1., 0.],
            [0., 0., 0., 0.],
            [1., 0., 1., 0.],
            [0., 0., 0., 0.]])
    """
    if x.shape[-3] % 4:
        raise ValueError(f"features {tuple(x.shape)}: WG-Up needs channels in multiples of 4, one per band")
    groups = zip(gates.unbind(-2), x.chunk(4, -3), strict=True)
    return idwt2([g[..., None, None] * group for g, group in groups], wavelet)


class Gates(nn.Module):
    """Gates of the four bands from the means of channels, all 1/2 before training.

    Args:
        channels: of the features.
        gated: channels of a band.

    >>> Gates(8, 2)(torch.ones(3, 8, 4, 4)).shape
    torch.Size([3, 4, 2])
    """

    def __init__(self, channels: int, gated: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, 4 * gated)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Gates (B, 4, C') of features (B, C, H, W)."""
        logits: Tensor = self.out(nn.functional.silu(self.hidden(x.mean((-2, -1)))))
        return logits.sigmoid().view(len(x), 4, -1)


class WaveletDown(nn.Module):
    """``wg_down`` with learned gates, (B, C, H, W) to (B, C, H/2, W/2)."""

    def __init__(self, channels: int, wavelet: Wavelet = "haar") -> None:
        super().__init__()
        self.wavelet = wavelet
        self.gates = Gates(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution."""
        return wg_down(x, self.gates(x), self.wavelet)


class WaveletUp(nn.Module):
    """``wg_up`` with learned gates, (B, C, H, W) to (B, C/4, 2H, 2W)."""

    def __init__(self, channels: int, wavelet: Wavelet = "haar") -> None:
        super().__init__()
        self.wavelet = wavelet
        self.gates = Gates(channels, channels // 4)

    def forward(self, x: Tensor) -> Tensor:
        """Double the resolution."""
        return wg_up(x, self.gates(x), self.wavelet)


@dataclass(frozen=True)
class WaveletUNetConfig(UNetConfig):
    """Sizes of a ``WaveletUNet``: those of a ``UNet``, and a wavelet.

    Attributes:
        wavelet: name, as for ``fans.wavelets.dwt2``.

    >>> WaveletUNetConfig.from_json(WaveletUNetConfig(channels=3).to_json()).wavelet
    'haar'
    """

    wavelet: str = "haar"

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(width % 4 for width in self.widths):
            raise ValueError(f"widths={self.widths}: must all be multiples of 4, one part per band of WG-Up")
        filter_bank(self.wavelet)


class WaveletUNet(UNet):
    """A ``UNet`` whose down- and upsampling are WG-Down and WG-Up, each followed by a 3 x 3 convolution.

    It has about as many parameters as a plain network of the same widths, 1 % fewer for the presets: what the
    gates add, the upsampling convolutions save, since they see a quarter of the channels.

    Args:
        config: sizes and wavelet.
        seed: of the initial weights.

    >>> network = WaveletUNet(WaveletUNetConfig(widths=(4, 8), groups=4))
    >>> x, t = torch.ones(2, 1, 8, 8), torch.tensor([1, 900])
    >>> network(x, t).shape
    torch.Size([2, 1, 8, 8])
    >>> {name: tuple(gates.shape) for name, gates in network.gates(x, t).items()}
    {'down 0': (2, 4, 4), 'up 0': (2, 4, 2)}
    """

    def __init__(self, config: WaveletUNetConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        levels = range(len(config.widths) - 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_OWN_STREAM + seed)
            for level in levels:
                width, below = config.widths[level : level + 2]
                self._down(level)[0] = _sampler(WaveletDown(width, config.wavelet), width, width)
                self._up(level)[0] = _sampler(WaveletUp(below, config.wavelet), below // 4, below)

    def gates(self, x_t: Tensor, t: Tensor) -> dict[str, Tensor]:
        """The gates at images (B, C, H, W) and timesteps (B,), without gradients.

        Returns:
            ``down i`` and ``up i``, those between levels i and i + 1, each (B, 4, C'): bands in the order LL,
            LH, HL, HH, and channels.

        >>> network = WaveletUNet(WaveletUNetConfig(widths=(4, 8), groups=4))
        >>> network.gates(torch.ones(1, 1, 8, 8), torch.tensor([500]))["up 0"].unique()  # not trained
        tensor([0.5000])
        """
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            return lambda module, args, gates: found.update({name: gates})

        levels = range(len(self.config.widths) - 1)
        layers = {f"down {i}": self._down(i) for i in levels} | {f"up {i}": self._up(i) for i in levels}
        hooks = [layer[0][0].gates.register_forward_hook(keep(name)) for name, layer in layers.items()]
        try:
            with torch.no_grad():
                self(x_t, t)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: found[name] for name in layers}

    def _down(self, level: int) -> Any:
        return self.blocks.down_blocks[level].downsamplers

    def _up(self, level: int) -> Any:
        return self.blocks.up_blocks[-2 - level].upsamplers


class _Sampler(nn.Sequential):
    """Layers in the place of a ``Downsample2D`` or ``Upsample2D``."""

    def forward(self, x: Tensor, output_size: None = None) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


def _sampler(gated: nn.Module, channels: int, out_channels: int) -> _Sampler:
    return _Sampler(gated, nn.Conv2d(channels, out_channels, 3, padding=1))
