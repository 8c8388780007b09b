r"""What a generator's layers can do to a spectrum: small filters, upsampling, and rectifiers as masks.

A layer of a generative CNN makes maps from maps,

.. math:: H_{l+1}^i = \sum_c F_l^{ic} * \mathrm{Up}(\sigma(H_l^c)),

with :math:`k \times k` filters, an upsampling that doubles the grid, and ReLU for :math:`\sigma`. Here the
convolution is circular, so that the DFT turns it into a product. A filter, or an upsampling, is described by
its *response* :math:`F(f) = \sum_m F_m e^{-2\pi i f m}`, f in cycles per pixel of the grid that it writes to.
Responses multiply the spectrum in any normalisation of the DFT; the repetition of a spectrum by an upsampling
does depend on it, see `upsample`.

Three facts follow, each with its conditions:

- the coefficients of a small filter are not free: neighbours are correlated (`filter_correlation`);
- upsampling repeats the spectrum and then weakens the repetitions, or not (`upsampling_gain`);
- ReLU, though it makes new frequencies, is a fixed mask as long as weights move little (`flip_distance`), and
  without it a chain of layers is one filter (`effective_filter`).

Source: Khayatkhoei and Elgammal, Spatial Frequency Bias in Convolutional Generative Adversarial Networks,
AAAI 2022.
"""

from fans.filters.correlation import (
    Estimate,
    adjacent_correlation,
    dirichlet,
    filter_correlation,
    filter_spectrum,
    measured_correlation,
    sampled_correlation,
)
from fans.filters.layers import (
    convolve,
    effective_filter,
    feature_maps,
    flip_distance,
    generative_layer,
    rectify,
    relu_mask,
)
from fans.filters.upsampling import (
    MeasuredGain,
    Upsampling,
    axis_gain,
    measured_gain,
    repeated,
    upsample,
    upsampling_gain,
)

__all__ = [
    "Estimate",
    "MeasuredGain",
    "Upsampling",
    "adjacent_correlation",
    "axis_gain",
    "convolve",
    "dirichlet",
    "effective_filter",
    "feature_maps",
    "filter_correlation",
    "filter_spectrum",
    "flip_distance",
    "generative_layer",
    "measured_correlation",
    "measured_gain",
    "rectify",
    "relu_mask",
    "repeated",
    "sampled_correlation",
    "upsample",
    "upsampling_gain",
]
