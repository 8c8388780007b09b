"""All measures of generated images at once, each beside what real images in their place would score.

`evaluate` computes everything twice: for generated images, and for held-out real ones in their place. The
second is the floor, what a perfect model would score with as many images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fans.metrics.band_powers import ImageArray, high_powers, image_powers, pair, profile
from fans.metrics.distances import (
    Accuracy,
    BandError,
    band_correlation,
    frechet_distance,
    jensen_shannon,
    log_spectral_distance,
    slope_error,
)
from fans.metrics.features import Features, distance_name, extract
from fans.metrics.intervals import Floats
from fans.spectrum import Bands, RadialSpectrum, Window, radial_bands, radial_spectrum


@dataclass(frozen=True)
class Comparison:
    """All measures of one set of images against the reference.

    Attributes:
        band_error: See ``fans.metrics.band_error``.
        log_spectral_distance: dB.
        slope_error: Exponent of the images less that of the reference.
        jensen_shannon: Bits.
        band_correlation: Pearson's.
        classifier: See ``fans.metrics.high_frequency_accuracy``.
        frechet: Fréchet distance by name of the features.
    """

    band_error: BandError
    log_spectral_distance: float
    slope_error: float
    jensen_shannon: float
    band_correlation: float
    classifier: Accuracy
    frechet: dict[Features, float]

    def lines(self) -> list[tuple[str, float, float | None, float | None, str]]:
        """(measure, value, low, high, unit) of each number; no interval is None."""
        e, c = self.band_error, self.classifier
        ends = [f"{a:.2f}-{b:.2f}" for a, b in zip(e.edges[:-1], e.edges[1:], strict=True)]
        triples = zip(e.value.tolist(), e.low.tolist(), e.high.tolist(), strict=True)
        scalars = [
            ("log-spectral distance", self.log_spectral_distance, "dB"),
            ("slope error", self.slope_error, ""),
            ("Jensen-Shannon divergence", self.jensen_shannon, "bit"),
            ("band correlation", self.band_correlation, ""),
            *((distance_name(name), distance, "") for name, distance in self.frechet.items()),
        ]
        return [
            *((f"band error {band}", *t, "dB") for band, t in zip(ends, triples, strict=True)),
            *((measure, value, None, None, unit) for measure, value, unit in scalars),
            ("high-frequency accuracy", c.value, c.low, c.high, ""),
        ]


class Row(NamedTuple):
    """One line of a table; ``low`` and ``high`` are None where there is no interval."""

    measure: str
    value: float
    low: float | None
    high: float | None
    floor: float
    unit: str


@dataclass(frozen=True)
class Evaluation:
    """Generated images against real ones, and real against real.

    Attributes:
        generated: What the generated images score.
        floor: What as many held-out real images score against the same reference.
        count: Number of generated, and of held-out real images.
        reference: Number of real images that both are compared with.
    """

    generated: Comparison
    floor: Comparison
    count: int
    reference: int

    def table(self) -> list[Row]:
        """One row for each number, with its interval and its floor; ready for ``pandas.DataFrame``."""
        pairs = zip(self.generated.lines(), self.floor.lines(), strict=True)
        return [Row(*line[:4], floor=floor[1], unit=line[4]) for line, floor in pairs]


def evaluate(
    generated: ImageArray,
    real: ImageArray,
    *,
    features: Sequence[Features] = ("spectrum", "scattering"),
    bands: int = 8,
    window: Window | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    folds: int = 5,
    batch_size: int = 256,
    seed: int = 0,
) -> Evaluation:
    """Every measure of generated images against real ones, each with its real-against-real floor.

    The real images are divided at random into n held-out ones and a reference. Generated and held-out
    images are compared with that same reference, n of each, so that the bias of small samples is the same
    in both and only their difference says something about the model. n is the number of generated images,
    but at most half of the real ones; generated images beyond the first n are not used.

    Args:
        generated: (N, C, H, W), floating point, in [-1, 1].
        real: (M, C, H, W), of the same channels and size; best M = 2N or more.
        features: Names for Fréchet distances, see ``fans.metrics.features``; n must exceed their dimension.
            ``()`` is none.
        bands, window, confidence, resamples: As for ``fans.metrics.band_error``; the window also applies to
            the radial spectra and profiles behind the other spectral measures.
        folds: As for ``fans.metrics.high_frequency_accuracy``.
        batch_size: Number of images in memory at once when features are extracted.
        seed: Of the division, the bootstrap and the folds.

    Raises:
        TypeError, ValueError, ImportError: As for the single measures.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(90, 1, 16, 16))
        >>> found = evaluate(x[:30] / 2, x[30:], features=["spectrum"])
        >>> for row in found.table()[-2:]:
        ...     print(row.measure, row.value > 1.5 * row.floor)
        FD_spectrum True
        high-frequency accuracy True
    """
    if isinstance(features, str):
        raise TypeError(f"features must be a sequence of names, got {features!r}: write ({features!r},)")
    a, b = pair(generated, real)
    rings = radial_bands((b.shape[-2], b.shape[-1]), bands)
    count = min(len(a), len(b) // 2)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(b))).to(b.device)
    parts = (a[:count], b[order[:count]], b[order[count:]])
    sets = [_measure(x, rings, window=window, names=features, batch_size=batch_size) for x in parts]
    generated_score, floor = (
        _compare(x, sets[2], rings, confidence=confidence, resamples=resamples, folds=folds, seed=seed)
        for x in sets[:2]
    )
    return Evaluation(generated_score, floor, count=count, reference=len(b) - count)


@dataclass(frozen=True)
class _Measured:
    """What the measures need to know of a set of images."""

    power: Floats  # (N, B)
    profile: Floats  # (B,)
    rings: RadialSpectrum
    high: Floats  # (N, HIGH)
    features: dict[Features, Floats]


def _measure(
    x: Tensor, rings: Bands, *, window: Window | None, names: Sequence[Features], batch_size: int
) -> _Measured:
    power = image_powers(x, rings, window=window)
    return _Measured(
        power=power,
        profile=profile(power, rings),
        rings=radial_spectrum(x, window=window).mean(),
        high=high_powers(x),
        features={name: extract(name, x, batch_size=batch_size) for name in names},
    )


def _compare(
    a: _Measured,
    b: _Measured,
    rings: Bands,
    *,
    confidence: float,
    resamples: int,
    folds: int,
    seed: int,
) -> Comparison:
    return Comparison(
        band_error=BandError.of(
            a.power, b.power, rings, confidence=confidence, resamples=resamples, seed=seed
        ),
        log_spectral_distance=log_spectral_distance(a.rings, b.rings),
        slope_error=slope_error(a.rings, b.rings),
        jensen_shannon=jensen_shannon(a.profile, b.profile),
        band_correlation=band_correlation(a.profile, b.profile),
        classifier=Accuracy.of(a.high, b.high, folds=folds, confidence=confidence, seed=seed),
        frechet={name: frechet_distance(found, b.features[name]) for name, found in a.features.items()},
    )
