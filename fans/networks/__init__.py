"""Networks that predict images or noise.

>>> from fans import networks
>>> networks.preset("cpu").widths
(16, 32, 32)
"""

# ruff: noqa: E402 - packages of the extra are asked for by name before modules import them.

from fans._validation import require_extra

require_extra("train", "diffusers", name="fans.networks")

from fans.diffusion.preconditioning import Preconditioned
from fans.networks.gan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from fans.networks.linear import LinearDenoiser
from fans.networks.unet import Preset, UNet, UNetConfig, preset
from fans.networks.wavelet_unet import WaveletUNet, WaveletUNetConfig

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "LinearDenoiser",
    "Preconditioned",
    "Preset",
    "UNet",
    "UNetConfig",
    "WaveletUNet",
    "WaveletUNetConfig",
    "preset",
]
