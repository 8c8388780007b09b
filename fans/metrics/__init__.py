"""Distances between sets of images, and what they are computed from.

All take generated images first, real ones second.

>>> from fans import metrics
>>> metrics.jensen_shannon([0.5, 0.5], [0.5, 0.5])
0.0
"""

from fans.metrics.distances import (
    Accuracy,
    BandError,
    band_correlation,
    band_error,
    frechet_distance,
    high_frequency_accuracy,
    jensen_shannon,
    log_spectral_distance,
    slope_error,
)
from fans.metrics.evaluation import Comparison, Evaluation, evaluate
from fans.metrics.reconstruction import Recovery, nyquist_excess, recovery
from fans.metrics.spectral_losses import (
    focal_frequency_loss,
    log_spectrum,
    reduced_spectrum,
    spectral_loss,
)

__all__ = [
    "Accuracy",
    "BandError",
    "Comparison",
    "Evaluation",
    "Recovery",
    "band_correlation",
    "band_error",
    "evaluate",
    "focal_frequency_loss",
    "frechet_distance",
    "high_frequency_accuracy",
    "jensen_shannon",
    "log_spectral_distance",
    "log_spectrum",
    "nyquist_excess",
    "recovery",
    "reduced_spectrum",
    "slope_error",
    "spectral_loss",
]
