r"""How far generated images are from real ones, in numbers that each state what they miss.

The signed error of the power in each band, in dB, is the first number to read: it is not normalised, so
that lost contrast shows. Slope, Jensen-Shannon divergence and correlation of band power are here because
published comparisons use them. A power spectrum knows nothing of phase: Fréchet distances on named features
(``fans.features``) are to be read beside it. They are called FD_<features>; the name FID belongs to one
network's features, which are not used here.

`evaluate` computes everything twice: for generated images, and for held-out real ones in their place. The
second is the floor, what a perfect model would score with as many images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from fans.features import QUANTUM, Features, checked, extract, require
from fans.spectrum import (
    Bands,
    RadialSpectrum,
    Window,
    fit_power_law,
    multiplicity,
    power_spectrum,
    radial_spectrum,
)
from fans.spectrum import bands as partition

Images = Tensor | NDArray[Any]
Array = NDArray[np.float64]

RINGS, HIGH = 6, 4  # the classifier sees the upper 4 of 6 bands: frequencies from 0.236 cycles per pixel
_CHUNK = 256  # images transformed at once


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

    edges: Array
    value: Array
    low: Array
    high: Array
    confidence: float


@dataclass(frozen=True)
class Accuracy:
    """Share of images told apart correctly; 0.5 is indistinguishable.

    Attributes:
        value: Cross-validated accuracy.
        low: Lower end of the interval, see `high_frequency_accuracy`.
        high: Upper end.
        count: Number of predictions.
    """

    value: float
    low: float
    high: float
    count: int


def band_error(
    generated: Images,
    real: Images,
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
        TypeError, ValueError: Images as for ``fans.features.checked``, or of different sizes; fewer than two
            on either side; a band in which the real images have no power; confidence or resamples out of
            range.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 1, 16, 16))
        >>> band_error(x / 2, x, bands=3).value.round(2).tolist()
        [-6.02, -6.02, -6.02]
    """
    a, b = _pair(generated, real)
    rings = partition((b.shape[-2], b.shape[-1]), bands)
    p, q = (_band_powers(x, rings, window=window) for x in (a, b))
    return _band_error(p, q, rings, confidence=confidence, resamples=resamples, seed=seed)


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
        >>> x = np.random.default_rng(0).normal(size=(16, 16))
        >>> round(log_spectral_distance(radial_spectrum(2 * x), radial_spectrum(x)), 2)
        6.02
    """
    p, q = _curves(generated, real)
    return float(np.sqrt(np.mean(_decibel(p[1:], q[1:], "ring", first=1) ** 2)))


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
    _curves(generated, real)
    fits = (fit_power_law(spectrum.mean(), fmin, fmax) for spectrum in (generated, real))
    return next(fits).exponent - next(fits).exponent


def jensen_shannon(generated: Array, real: Array) -> float:
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
    p, q = _profiles(generated, real)
    total = p + q  # 2 m, which does not underflow where m would
    entropy = special.rel_entr(2 * p, total) + special.rel_entr(2 * q, total)
    return max(0.0, float(entropy.sum() / (4 * np.log(2))))


def band_correlation(generated: Array, real: Array) -> float:
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
    p, q = _profiles(generated, real)
    if min(np.ptp(p), np.ptp(q)) < 1e-12:
        raise ValueError("a flat profile of band power has no correlation: use the band error instead")
    return float(np.corrcoef(p, q)[0, 1])


def high_frequency_accuracy(
    generated: Images, real: Images, *, folds: int = 5, confidence: float = 0.95, seed: int = 0
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
        TypeError, ValueError: Images as for ``fans.features.checked``, or of different sizes; fewer than
            ``folds`` on either side; folds or confidence out of range.
        ImportError: scikit-learn is missing.
    """
    a, b = (_high(x) for x in _pair(generated, real))
    return _accuracy(a, b, folds=folds, confidence=confidence, seed=seed)


def frechet_distance(features_a: Array, features_b: Array) -> float:
    r"""Squared Fréchet distance between Gaussians with the means and covariances of two sets of features.

    .. math:: |\mu_a - \mu_b|^2 + \operatorname{tr} \Sigma_a + \operatorname{tr} \Sigma_b
        - 2 \sum_i \sqrt{\lambda_i(\Sigma_a \Sigma_b)}

    The roots of the eigenvalues are computed as singular values of :math:`R_a R_b^T`, where
    :math:`\Sigma = R^T R` comes from a QR decomposition of the centred features: nothing is squared, so
    that the distance of a set to itself is zero to rounding and singular covariances do no harm.

    The estimate is biased upwards, roughly as 1/N: compare distances of equal N only, and with the distance
    of real images to real ones, as `evaluate` does.

    Misses: what the features miss, and every difference beyond means and covariances.

    Args:
        features_a: (N, D), one row an image, N > D.
        features_b: (M, D), M > D.

    Raises:
        ValueError: Other shapes, NaN or infinite features, or not more images than features.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> round(frechet_distance(x, x + 2), 6)
        12.0
    """
    sets = [np.asarray(features, dtype=np.float64) for features in (features_a, features_b)]
    _check_features(*sets)
    shift = sets[0].mean(0) - sets[1].mean(0)
    a, b = (np.linalg.qr(x - x.mean(0), mode="r") / np.sqrt(len(x) - 1) for x in sets)
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + np.sum(a**2) + np.sum(b**2) - 2 * overlap))


@dataclass(frozen=True)
class Comparison:
    """All measures of one set of images against the reference.

    Attributes:
        band_error: See `band_error`.
        log_spectral_distance: dB.
        slope_error: Exponent of the images less that of the reference.
        jensen_shannon: Bits.
        band_correlation: Pearson's.
        classifier: See `high_frequency_accuracy`.
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
            *((f"FD_{name}", distance, "") for name, distance in self.frechet.items()),
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
    generated: Images,
    real: Images,
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
        features: Names for Fréchet distances, see ``fans.features``; n must exceed their dimension.
            ``()`` is none.
        bands, window, confidence, resamples: As for `band_error`; the window also applies to the radial
            spectra and profiles behind the other spectral measures.
        folds: As for `high_frequency_accuracy`.
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
    a, b = _pair(generated, real)
    rings = partition((b.shape[-2], b.shape[-1]), bands)
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

    power: Array  # (N, B)
    profile: Array  # (B,)
    rings: RadialSpectrum
    high: Array  # (N, HIGH)
    features: dict[Features, Array]


def _measure(
    x: Tensor, rings: Bands, *, window: Window | None, names: Sequence[Features], batch_size: int
) -> _Measured:
    power = _band_powers(x, rings, window=window)
    return _Measured(
        power=power,
        profile=_profile(power, rings),
        rings=radial_spectrum(x, window=window).mean(),
        high=_high(x),
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
        band_error=_band_error(
            a.power, b.power, rings, confidence=confidence, resamples=resamples, seed=seed
        ),
        log_spectral_distance=log_spectral_distance(a.rings, b.rings),
        slope_error=slope_error(a.rings, b.rings),
        jensen_shannon=jensen_shannon(a.profile, b.profile),
        band_correlation=band_correlation(a.profile, b.profile),
        classifier=_accuracy(a.high, b.high, folds=folds, confidence=confidence, seed=seed),
        frechet={name: frechet_distance(found, b.features[name]) for name, found in a.features.items()},
    )


def _band_error(
    p: Array, q: Array, rings: Bands, *, confidence: float, resamples: int, seed: int
) -> BandError:
    """From the powers of each image, (N, B) and (M, B)."""
    _check_confidence(confidence)
    if resamples < 100:
        raise ValueError(f"an interval needs at least 100 bootstrap samples, got resamples={resamples}")
    if min(len(p), len(q)) < 2:
        raise ValueError(f"an interval needs two images or more on either side, got {len(p)} and {len(q)}")
    value = _decibel(p.mean(0), q.mean(0), "band")
    rng = np.random.default_rng(seed)
    # Ratios of two powers that a resample may lack altogether: -inf, inf or neither.
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = 10 * np.log10(_resampled(p, resamples, rng) / _resampled(q, resamples, rng))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    # Order statistics rather than interpolation, which knows no infinities.
    low, high = np.quantile(draws, tails, axis=0, method="inverted_cdf")
    return BandError(edges=rings.edges, value=value, low=low, high=high, confidence=confidence)


def _resampled(power: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Means over images drawn with replacement, (R, B)."""
    n = len(power)
    return np.stack([power[rng.integers(n, size=n)].mean(0) for _ in range(resamples)])


def _band_powers(x: Tensor, rings: Bands, *, window: Window | None) -> Array:
    """Mean power per coefficient of each band for each image, (N, B), zero frequency left out."""
    weight = multiplicity(rings.size) * (rings.index == np.arange(len(rings.count))[:, None, None])
    weight[:, 0, 0] = 0  # (B, H, W//2 + 1)
    share = torch.from_numpy(weight.reshape(len(weight), -1) / np.maximum(weight.sum((1, 2)), 1)[:, None])
    powers = []
    for part in torch.split(x, _CHUNK):
        part = part.cpu().double()  # in this order: some accelerators have no double precision
        centred = part - part.mean((-2, -1), keepdim=True)
        power = power_spectrum(centred, window=window)[..., : rings.index.shape[1]].mean(1)
        bands = power.flatten(1) @ share.T
        # Rounding leaves a constant image a little power: it is none.
        dust = (10 * torch.finfo(part.dtype).eps) ** 2 * part.square().amax((1, 2, 3))
        powers.append(torch.where(bands > dust[:, None], bands, 0.0))
    return _numpy(torch.cat(powers))


def _profile(power: Array, rings: Bands) -> Array:
    """As ``fans.spectrum.band_power``, but from the powers of each image, (N, B), constant images left out.

    Photographs have them, where a sky is saturated.
    """
    energy = power * (rings.count - (np.arange(len(rings.count)) == 0))  # without zero frequency
    total = energy.sum(1, keepdims=True)
    if not total.any():
        raise ValueError("all images are constant: there is no power to divide into bands")
    return np.asarray((energy / np.where(total > 0, total, 1)).sum(0) / (total > 0).sum())


def _high(x: Tensor) -> Array:
    """Log power of each image in the highest bands, (N, HIGH)."""
    rings = partition((x.shape[-2], x.shape[-1]), RINGS)
    return np.asarray(np.log10(_band_powers(x, rings, window="hann")[:, -HIGH:] + QUANTUM))


def _accuracy(a: Array, b: Array, *, folds: int, confidence: float, seed: int) -> Accuracy:
    """From the statistics of each image, (N, S) and (M, S)."""
    _check_confidence(confidence)
    count = min(len(a), len(b))
    if not 2 <= folds <= count:
        raise ValueError(
            f"folds must be between 2 and the {count} images on either side, got {folds}: use more images"
        )
    name, package = "classifiers", "scikit-learn"
    linear = require("sklearn.linear_model", package=package, name=name).LogisticRegression()
    scaler = require("sklearn.preprocessing", package=package, name=name).StandardScaler()
    selection = require("sklearn.model_selection", package=package, name=name)
    model = require("sklearn.pipeline", package=package, name=name).make_pipeline(scaler, linear)
    labels = np.repeat([0, 1], count)
    split = selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
    told = selection.cross_val_predict(model, np.concatenate([a[:count], b[:count]]), labels, cv=split)
    value = float((told == labels).mean())
    low, high = _wilson(value, 2 * count / (1 + folds / (folds - 1)), confidence)
    return Accuracy(value=value, low=low, high=high, count=2 * count)


def _wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Interval of a share of ``count`` independent trials."""
    z2 = float(stats.norm.ppf(0.5 + confidence / 2)) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = (z2 * (share * (1 - share) / count + z2 / (4 * count**2))) ** 0.5 / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _decibel(p: Array, q: Array, what: str, *, first: int = 0) -> Array:
    if not (q > 0).all():
        index = first + int(np.argmin(q > 0))
        raise ValueError(
            f"the real images have no power in {what} {index}, counted from zero: are they constant or"
            " low-pass filtered? Compare fewer bands or other images"
        )
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(p / q))


def _pair(generated: Images, real: Images) -> tuple[Tensor, Tensor]:
    a, b = checked(generated), checked(real)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"generated images are {tuple(a.shape[1:])}, real ones {tuple(b.shape[1:])}: compare images of"
            " the same channels and size"
        )
    return a, b


def _curves(generated: RadialSpectrum, real: RadialSpectrum) -> tuple[Array, Array]:
    """Mean power of both, (K,) each; what rounding leaves of real power is zero."""
    for option in ("size", "window", "reduction", "corners", "norm"):
        a, b = getattr(generated, option), getattr(real, option)
        if a != b:
            raise ValueError(f"spectra of {option}={a!r} and {option}={b!r} cannot be compared: use one")
    p, q = (_numpy(spectrum.mean().power) for spectrum in (generated, real))
    eps = 1e-7 if "float32" in str(real.power.dtype) else 1e-16
    return p, np.where(q > eps**2 * q.max(), q, 0.0)


def _profiles(generated: Array, real: Array) -> tuple[Array, Array]:
    profiles = [_numpy(profile) for profile in (generated, real)]
    if profiles[0].ndim != 1 or profiles[0].shape != profiles[1].shape:
        shapes = " and ".join(str(p.shape) for p in profiles)
        raise ValueError(f"profiles must both be (B,) for the same bands, got shapes {shapes}")
    for p in profiles:
        if not np.isfinite(p).all() or p.min() < 0 or p.sum() == 0:
            raise ValueError(
                f"a profile of band power must be finite, not negative and not all zero, got {p}"
            )
    return profiles[0] / profiles[0].sum(), profiles[1] / profiles[1].sum()


def _check_features(a: Array, b: Array) -> None:
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


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")


def _numpy(values: Any) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
