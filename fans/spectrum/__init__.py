r"""Spectra of images: the DFT, radial spectra, bands, power laws and aliasing.

One convention throughout. Frequencies are in cycles per pixel; the DFT is orthonormal, so that

.. math:: \hat x(k, l) = \frac{1}{\sqrt{HW}} \sum_{m,n} x(m, n)\, e^{-2\pi i (km/H + ln/W)}

keeps energy (Parseval) and gives unit white noise the power 1 at every frequency.
Images are real arrays ``(..., H, W)``, NumPy or torch; results are of the same kind, and
differentiable in torch.
"""

from fans.spectrum.aliasing import alias, aliased_power_law
from fans.spectrum.arrays import NYQUIST, Array, Corners, Size, frequencies, multiplicity, radial_frequency
from fans.spectrum.bands import Bands, band_pass, band_power, band_sum, membership, radial_bands
from fans.spectrum.decibel import decibel
from fans.spectrum.power_law import OrientedPowerLaw, PowerLaw, fit_oriented_power_law, fit_power_law
from fans.spectrum.radial import Norm, RadialSpectrum, Reduction, Window, power_spectrum, radial_spectrum

__all__ = [
    "NYQUIST",
    "Array",
    "Bands",
    "Corners",
    "Norm",
    "OrientedPowerLaw",
    "PowerLaw",
    "RadialSpectrum",
    "Reduction",
    "Size",
    "Window",
    "alias",
    "aliased_power_law",
    "band_pass",
    "band_power",
    "band_sum",
    "decibel",
    "fit_oriented_power_law",
    "fit_power_law",
    "frequencies",
    "membership",
    "multiplicity",
    "power_spectrum",
    "radial_bands",
    "radial_frequency",
    "radial_spectrum",
]
