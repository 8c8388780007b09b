"""Low-rank adapters: what their initialisations do to a matrix, to its first gradient, and to training."""

from fans.adapters.initialisation import METHODS, QUANTISED, Adapter, Method, initialise
from fans.adapters.quantisation import loftq, nf4, nf4_levels, quantisation_error, truncated_svd
from fans.adapters.spectra import (
    FirstGradient,
    Spectra,
    first_gradient,
    first_step,
    rates,
    spectra,
)

__all__ = [
    "METHODS",
    "QUANTISED",
    "Adapter",
    "FirstGradient",
    "Method",
    "Spectra",
    "first_gradient",
    "first_step",
    "initialise",
    "loftq",
    "nf4",
    "nf4_levels",
    "quantisation_error",
    "rates",
    "spectra",
    "truncated_svd",
]
