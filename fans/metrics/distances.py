r"""How far generated images are from real ones, in numbers that each state what they miss.

The signed error of the power in each band, in dB, is the first number to read: it is not normalised, so
that lost contrast shows. Slope, Jensen-Shannon divergence and correlation of band power are here because
published comparisons use them. A power spectrum knows nothing of phase: Fréchet distances on named features
(``fans.metrics.features``) are to be read beside it. They are called FD_<features>; the name FID belongs to
the features ``inception``. ``fans.metrics.evaluation`` computes them all at once, with what a perfect model
would score.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import special

from fans._validation import check_confidence, require
from fans.metrics.band_powers import (
    ImageArray,
    curves,
    error_decibel,
    high_powers,
    image_powers,
    pair,
    profiles,
)
from fans.metrics.intervals import Floats, bootstrap, wilson
from fans.spectrum import Bands, RadialSpectrum, Window, fit_power_law, radial_bands


@dataclass(frozen=True)
class BandError:
    """Signed error of the power in each band.

    Attributes:
        edges: Band edges in cycles per pixel, (B + 1,).
        value: ``10 log10`` of generated over real power, dB, (B,); negative where power is missing.
        low: Lower end of the bootstrap interval, dB, (B,).
        high: Upper end.
        confidence: Of the interval, for each band by itself.
    """

    edges: Floats
    value: Floats
    low: Floats
    high: Floats
    confidence: float

    @classmethod
    def of(
        cls,
        generated: Floats,
        real: Floats,
        bands: Bands,
        *,
        confidence: float,
        resamples: int,
        seed: int,
    ) -> Self:
        """From the powers of each generated and each real image, (N, B) and (M, B)."""
        value = error_decibel(generated.mean(0), real.mean(0), "band")
        low, high = bootstrap(generated, real, confidence=confidence, resamples=resamples, seed=seed)
        return cls(edges=bands.edges, value=value, low=low, high=high, confidence=confidence)


@dataclass(frozen=True)
class Accuracy:
    """Share of images told apart correctly; 0.5 is indistinguishable.

    Attributes:
        value: Accuracy on images that the classifier has not seen.
        low: Lower end of its interval.
        high: Upper end.
        count: Number of predictions.
    """

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, generated: Floats, real: Floats, *, folds: int, confidence: float, seed: int) -> Self:
        """From the statistics of each generated and each real image, (N, S) and (M, S)."""
        check_confidence(confidence)
        count = min(len(generated), len(real))
        if not 2 <= folds <= count:
            raise ValueError(
                f"folds must be between 2 and the {count} images on either side, got {folds}: use more images"
            )
        needed: dict[str, Any] = {"package": "scikit-learn", "name": "classifiers", "extra": "metrics"}
        linear = require("sklearn.linear_model", **needed).LogisticRegression()
        scaler = require("sklearn.preprocessing", **needed).StandardScaler()
        selection = require("sklearn.model_selection", **needed)
        model = require("sklearn.pipeline", **needed).make_pipeline(scaler, linear)
        labels = np.repeat([0, 1], count)
        seen = np.concatenate([generated[:count], real[:count]])
        split = selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
        told = selection.cross_val_predict(model, seen, labels, cv=split)
        value = float((told == labels).mean())
        low, high = wilson(value, 2 * count / (1 + folds / (folds - 1)), confidence)
        return cls(value=value, low=low, high=high, count=2 * count)


def band_error(
    generated: ImageArray,
    real: ImageArray,
    *,
    bands: int = 8,
    window: Window | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> BandError:
    r"""Signed error of the power in each band, not normalised.

    .. math:: e_b = 10 \log_{10} \frac{\overline{P^\mathrm{generated}_b}}{\overline{P^\mathrm{real}_b}}

    with the mean over images, channels and the coefficients of the band, zero frequency left out. The
    interval comes from drawing the images of both sets again with replacement (percentile bootstrap); it
    takes the images for independent, which overlapping crops of one photograph are not.

    Misses: phase, brightness, colour, and how the power varies from image to image.

    Args:
        generated: (N, C, H, W), floating point.
        real: (M, C, H, W), of the same channels and size.
        bands: Number of rings of equal width from zero to the corner of the plane.
        window: None compares periodograms, as the theory of samplers does. ``"hann"`` where the images are
            crops: the step between opposite edges otherwise fills the high bands of both sets.
        confidence: Of the interval.
        resamples: Number of bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        TypeError, ValueError: Images as for ``fans.metrics.features.checked``, or of different sizes; fewer
            than two on either side; a band in which the real images have no power; confidence or resamples
            out of range.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 1, 16, 16))
        >>> band_error(x / 2, x, bands=3).value.round(2).tolist()
        [-6.02, -6.02, -6.02]
    """
    a, b = pair(generated, real)
    rings = radial_bands((b.shape[-2], b.shape[-1]), bands)
    p, q = (image_powers(x, rings, window=window) for x in (a, b))
    return BandError.of(p, q, rings, confidence=confidence, resamples=resamples, seed=seed)


def log_spectral_distance(generated: RadialSpectrum, real: RadialSpectrum) -> float:
    r"""Root-mean-square error of the radial spectrum in dB, zero frequency left out.

    .. math:: \Bigl(\frac1K \sum_{r=1}^K \bigl(10 \log_{10} P^g_r / P^r_r\bigr)^2\Bigr)^{1/2}

    Misses: the sign of the error, and all that `band_error` misses.

    Args:
        generated: From ``radial_spectrum``; averaged over its images.
        real: The same for real images.

    Raises:
        ValueError: The two are of different sizes or conventions, or real images have a ring without power.

    Example:
        >>> from fans.spectrum import radial_spectrum
        >>> x = np.random.default_rng(0).normal(size=(16, 16))
        >>> round(log_spectral_distance(radial_spectrum(2 * x), radial_spectrum(x)), 2)
        6.02
    """
    p, q = curves(generated, real)
    return float(np.sqrt(np.mean(error_decibel(p[1:], q[1:], "ring", first=1) ** 2)))


def slope_error(
    generated: RadialSpectrum, real: RadialSpectrum, *, fmin: float | None = None, fmax: float = 0.4
) -> float:
    r"""Difference of the exponents of two power laws, :math:`\alpha^g - \alpha^r`; positive is too smooth.

    Misses: contrast, since a factor on the image moves the line and keeps its slope, and every error that
    is not a tilt, such as a notch, a peak or a loss beyond ``fmax``. Real spectra need not be power laws;
    ``fit_power_law`` tells how well they are.

    Args:
        generated: From ``radial_spectrum``; averaged over its images.
        real: The same for real images.
        fmin, fmax: Range of the fits in cycles per pixel, as for ``fit_power_law``.

    Raises:
        ValueError: The two are of different sizes or conventions, or as for ``fit_power_law``.

    Example:
        >>> f = np.array([0.1, 0.2, 0.4])
        >>> a, b = (RadialSpectrum(f, f**-p, np.ones(3), (32, 32)) for p in (2.5, 2.0))
        >>> round(slope_error(a, b), 6)
        0.5
    """
    curves(generated, real)
    fits = (fit_power_law(spectrum.mean(), fmin, fmax) for spectrum in (generated, real))
    return next(fits).exponent - next(fits).exponent


def jensen_shannon(generated: Floats, real: Floats) -> float:
    r"""Jensen-Shannon divergence of two profiles of band power, in bits (base 2): 0 is equal, 1 is disjoint.

    .. math:: \tfrac12 \sum_b p_b \log_2 \frac{p_b}{m_b} + \tfrac12 \sum_b q_b \log_2 \frac{q_b}{m_b},
        \qquad m = \tfrac12 (p + q)

    It is the divergence, not its square root, the distance.

    Misses: contrast, since both profiles are normalised, and high frequencies wherever power falls with
    frequency: a band that holds 0.1 % of the power and is lost altogether costs 0.0005 bit.

    Args:
        generated: Profile (B,) of ``band_power``; normalised here to sum to one.
        real: The same for real images.

    Raises:
        ValueError: Profiles of different lengths, negative, not finite or without power.

    Example:
        >>> jensen_shannon(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
        0.0
    """
    p, q = profiles(generated, real)
    total = p + q  # 2 m, which does not underflow where m would
    entropy = special.rel_entr(2 * p, total) + special.rel_entr(2 * q, total)
    return max(0.0, float(entropy.sum() / (4 * np.log(2))))


def band_correlation(generated: Floats, real: Floats) -> float:
    r"""Pearson's correlation of two profiles of band power, over bands; 1 is best.

    .. math:: \frac{\sum_b (p_b - \bar p)(q_b - \bar q)}
        {\sqrt{\sum_b (p_b - \bar p)^2 \sum_b (q_b - \bar q)^2}}

    Misses: contrast and any constant added to all bands, and, where one band holds most of the power, all
    the others: two falling spectra correlate whatever their high frequencies do.

    Args:
        generated: Profile (B,) of ``band_power``.
        real: The same for real images.

    Raises:
        ValueError: As for `jensen_shannon`; a flat profile, which correlates with nothing.

    Example:
        >>> round(band_correlation(np.array([0.7, 0.2, 0.1]), np.array([0.7, 0.2, 0.1])), 6)
        1.0
    """
    p, q = profiles(generated, real)
    if min(np.ptp(p), np.ptp(q)) < 1e-12:
        raise ValueError("a flat profile of band power has no correlation: use the band error instead")
    return float(np.corrcoef(p, q)[0, 1])


def high_frequency_accuracy(
    generated: ImageArray, real: ImageArray, *, folds: int = 5, confidence: float = 0.95, seed: int = 0
) -> Accuracy:
    r"""How well a linear classifier tells generated from real images by their high frequencies.

    Logistic regression on four numbers for each image, :math:`\log_{10}(P_b + q)` in four bands from 0.236
    cycles per pixel to the corner, with a Hann window and q the power of rounding to 8 bits; accuracy under
    stratified cross-validation, the statistics standardised within each fold. The larger set is cut to the
    size of the smaller, so that 0.5 is chance.

    Folds share most of their training images, so that their predictions are not independent: the variance
    of chance is up to 1.7 times the binomial one. The interval is Wilson's with the number of predictions
    divided by :math:`1 + K / (K - 1)` for K folds (Nadeau and Bengio's correction), which is on the safe
    side.

    Misses: what is not a shift in these four numbers, such as their spread, phase and low frequencies.

    Args:
        generated: (N, C, H, W), floating point, in [-1, 1].
        real: (M, C, H, W), of the same channels and size.
        folds: Of the cross-validation.
        confidence: Of the interval.
        seed: Of the assignment to folds.

    Raises:
        TypeError, ValueError: Images as for ``fans.metrics.features.checked``, or of different sizes; fewer
            than ``folds`` on either side; folds or confidence out of range.
        ImportError: scikit-learn is missing.
    """
    a, b = (high_powers(x) for x in pair(generated, real))
    return Accuracy.of(a, b, folds=folds, confidence=confidence, seed=seed)


def frechet_distance(generated: Floats, real: Floats) -> float:
    r"""Squared Fréchet distance between Gaussians with the means and covariances of two sets of features.

    .. math:: |\mu_a - \mu_b|^2 + \operatorname{tr} \Sigma_a + \operatorname{tr} \Sigma_b
        - 2 \sum_i \sqrt{\lambda_i(\Sigma_a \Sigma_b)}

    The roots of the eigenvalues are computed as singular values of :math:`R_a R_b^T`, where
    :math:`\Sigma = R^T R` comes from a QR decomposition of the centred features: nothing is squared, so
    that the distance of a set to itself is zero to rounding and singular covariances do no harm.

    The estimate is biased upwards, roughly as 1/N: compare distances of equal N only, and with the distance
    of real images to real ones, as ``fans.metrics.evaluation.evaluate`` does.

    Misses: what the features miss, and every difference beyond means and covariances.

    Args:
        generated: Features (N, D), one row an image, N > D.
        real: The same for real images, (M, D), M > D.

    Raises:
        ValueError: Other shapes, NaN or infinite features, or not more images than features.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> round(frechet_distance(x, x + 2), 6)
        12.0
    """
    sets = [np.asarray(features, dtype=np.float64) for features in (generated, real)]
    _check_features(*sets)
    shift = sets[0].mean(0) - sets[1].mean(0)
    a, b = (np.linalg.qr(x - x.mean(0), mode="r") / np.sqrt(len(x) - 1) for x in sets)
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + np.sum(a**2) + np.sum(b**2) - 2 * overlap))


def _check_features(a: Floats, b: Floats) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features must be (N, D) and (M, D) with the same D, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("the features hold NaN or infinite values: were they extracted from finite images?")
    count, dimension = min(len(a), len(b)), a.shape[1]
    if count <= dimension:
        raise ValueError(
            f"{count} images with {dimension} features each leave the covariance rank deficient and the"
            f" distance meaningless: use more than {dimension} images on either side, better several times as"
            " many (evaluate() needs twice as many real ones), or features of fewer dimensions"
        )
