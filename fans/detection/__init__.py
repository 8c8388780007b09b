"""Telling generated images from real ones, and what defeats it."""

from fans.detection.detector import Classifier, Detector, DetectorFeatures, detect, tail_fit
from fans.detection.perturbations import PERTURBATIONS, blurred, jpeg, resized

__all__ = [
    "PERTURBATIONS",
    "Classifier",
    "Detector",
    "DetectorFeatures",
    "blurred",
    "detect",
    "jpeg",
    "resized",
    "tail_fit",
]
