"""Spectral diffusion processes, ``x_t(w) = a_t(w) x_0(w) + s_t(w) eps(w)`` in the orthonormal DFT.

>>> from fans import diffusion
>>> diffusion.white(size=(24, 40)).timesteps
1000
"""

from fans.diffusion.checks import Timestep, as_spectrum
from fans.diffusion.configuration import family, from_config
from fans.diffusion.families import band, blur, equal_snr, flipped_snr, gud, power_law, white
from fans.diffusion.fans import Ramp, fans
from fans.diffusion.fans_published import (
    FAULTS,
    Fault,
    PublishedFans,
    Release,
    fans_as_published,
    fault_errors,
)
from fans.diffusion.plane import (
    Generators,
    Size,
    Spectrum,
    filtered,
    plane_mean,
    radius,
    randn,
    streams,
)
from fans.diffusion.process import Prediction, SpectralProcess

__all__ = [
    "FAULTS",
    "Fault",
    "Generators",
    "Prediction",
    "PublishedFans",
    "Ramp",
    "Release",
    "Size",
    "SpectralProcess",
    "Spectrum",
    "Timestep",
    "as_spectrum",
    "band",
    "blur",
    "equal_snr",
    "family",
    "fans",
    "fans_as_published",
    "fault_errors",
    "filtered",
    "flipped_snr",
    "from_config",
    "gud",
    "plane_mean",
    "power_law",
    "radius",
    "randn",
    "streams",
    "white",
]
