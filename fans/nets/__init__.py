"""Networks that predict images or noise.

>>> from fans import nets
>>> nets.preset("cpu").widths
(16, 32, 32)
"""

from fans.nets.unet import Preconditioned, Preset, UNet, UNetConfig, preset

__all__ = ["Preconditioned", "Preset", "UNet", "UNetConfig", "preset"]
