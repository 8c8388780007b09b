"""Intervals of measured numbers."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fans._validation import check_confidence
from fans.spectrum import decibel

Floats = NDArray[np.float64]


def bootstrap(
    generated: Floats, real: Floats, *, confidence: float, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Ends of the interval of the ratio of mean powers, dB, from the powers of each image, (N, B) and (M, B).

    Raises:
        ValueError: Confidence or resamples out of range, fewer than two images on either side.
    """
    check_confidence(confidence)
    if resamples < 100:
        raise ValueError(f"an interval needs at least 100 bootstrap samples, got resamples={resamples}")
    counts = len(generated), len(real)
    if min(counts) < 2:
        raise ValueError(
            f"an interval needs two images or more on either side, got {counts[0]} and {counts[1]}"
        )
    rng = np.random.default_rng(seed)
    levels = [decibel(_resampled(power, resamples, rng)) for power in (generated, real)]
    with np.errstate(invalid="ignore"):  # a resample may lack either power, or both: -inf, inf, or neither
        draws = levels[0] - levels[1]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    # Order statistics rather than interpolation, which knows no infinities.
    low, high = np.quantile(draws, tails, axis=0, method="inverted_cdf")
    return low, high


def _resampled(power: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means over images drawn with replacement, (R, B)."""
    n = len(power)
    return np.stack([power[rng.integers(n, size=n)].mean(0) for _ in range(resamples)])


def wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Interval of a share of ``count`` independent trials."""
    check_confidence(confidence)
    z2 = float(stats.norm.ppf(0.5 + confidence / 2)) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = (z2 * (share * (1 - share) / count + z2 / (4 * count**2))) ** 0.5 / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)
