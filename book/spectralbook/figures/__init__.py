"""Figures of the book: data in, `matplotlib.figure.Figure` out, one style for all.

The style is applied while a figure is drawn and leaves the caller's settings alone. Figures are narrow with
large type, so that they stay legible on a phone; the background is opaque, so that they do in the dark.
Colours are those of Okabe and Ito, with a wine red instead of the yellow; the colour-blind can tell them
apart. Curves carry their names.
"""

from spectralbook.figures.adapters import adapter_view, singular_spectra, trainings
from spectralbook.figures.base import COLOURS, STYLE, curves, pictures, styled
from spectralbook.figures.beds import accuracies, missing_and_added, remedies
from spectralbook.figures.diffusion import (
    before_and_after,
    decibel_curves,
    denoising_view,
    schedule_view,
    time_maps,
)
from spectralbook.figures.experiments import error_terms, league, progress, which_term
from spectralbook.figures.filters import (
    against_law,
    correlation_view,
    frequency_maps,
    lag_curves,
    layer_responses,
    rectified,
    upsampling_view,
)
from spectralbook.figures.mixtures import loss_panels
from spectralbook.figures.samplers import option_dots, scheduler_map
from spectralbook.figures.shaping import (
    band_levels,
    band_maps,
    noise_rows,
    repairs,
    shaping_view,
    shares_and_densities,
)
from spectralbook.figures.spectra import (
    aliasing,
    arc_fraction,
    exponents,
    field_and_spectrum,
    fields_over_spectra,
    orientations,
    profiles,
    radial_spectra,
    spectrum_beside,
    step_series,
)
from spectralbook.figures.students import intervals
from spectralbook.figures.wavelets import gate_view, gates_over_time, loss_shares, subbands

__all__ = [
    "COLOURS",
    "STYLE",
    "accuracies",
    "adapter_view",
    "against_law",
    "aliasing",
    "arc_fraction",
    "band_levels",
    "band_maps",
    "before_and_after",
    "correlation_view",
    "curves",
    "decibel_curves",
    "denoising_view",
    "error_terms",
    "exponents",
    "field_and_spectrum",
    "fields_over_spectra",
    "frequency_maps",
    "gate_view",
    "gates_over_time",
    "intervals",
    "lag_curves",
    "layer_responses",
    "league",
    "loss_panels",
    "loss_shares",
    "missing_and_added",
    "noise_rows",
    "option_dots",
    "orientations",
    "pictures",
    "profiles",
    "progress",
    "radial_spectra",
    "rectified",
    "remedies",
    "repairs",
    "schedule_view",
    "scheduler_map",
    "shaping_view",
    "shares_and_densities",
    "singular_spectra",
    "spectrum_beside",
    "step_series",
    "styled",
    "subbands",
    "time_maps",
    "trainings",
    "upsampling_view",
    "which_term",
]
