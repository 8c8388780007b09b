"""Networks that predict images or noise.

>>> from fans import nets
>>> nets.preset("cpu").widths
(16, 32, 32)
"""

from fans.nets.gan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from fans.nets.linear import LinearDenoiser
from fans.nets.unet import Preconditioned, Preset, UNet, UNetConfig, preset
from fans.nets.wavelet import WaveletUNet, WaveletUNetConfig

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
