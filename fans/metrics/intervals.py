"""Intervals of measured numbers."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def bootstrap(p: Array, q: Array, *, confidence: float, resamples: int, seed: int) -> tuple[Array, Array]:
    """Ends of the interval of the ratio of mean powers, dB, from the powers of each image, (N, B) and (M, B).

    Raises:
        ValueError: Confidence or resamples out of range, fewer than two images on either side.
    """
    check_confidence(confidence)
    if resamples < 100:
        raise ValueError(f"an interval needs at least 100 bootstrap samples, got resamples={resamples}")
    if min(len(p), len(q)) < 2:
        raise ValueError(f"an interval needs two images or more on either side, got {len(p)} and {len(q)}")
    rng = np.random.default_rng(seed)
    # Ratios of two powers that a resample may lack altogether: -inf, inf or neither.
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = 10 * np.log10(_resampled(p, resamples, rng) / _resampled(q, resamples, rng))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    # Order statistics rather than interpolation, which knows no infinities.
    low, high = np.quantile(draws, tails, axis=0, method="inverted_cdf")
    return low, high


def _resampled(power: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Means over images drawn with replacement, (R, B)."""
    n = len(power)
    return np.stack([power[rng.integers(n, size=n)].mean(0) for _ in range(resamples)])


def wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Interval of a share of ``count`` independent trials."""
    z2 = float(stats.norm.ppf(0.5 + confidence / 2)) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = (z2 * (share * (1 - share) / count + z2 / (4 * count**2))) ** 0.5 / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def check_confidence(confidence: float) -> None:
    """Check the confidence of an interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
