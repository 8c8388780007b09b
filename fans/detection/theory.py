r"""The best possible test of a spectrum: how well samples can be told from data at all.

Both are Gaussian fields, of power C and P. By Neyman and Pearson the most powerful test compares likelihoods,

.. math:: T = \frac 12 \sum_w \left(\frac 1{C(w)} - \frac 1{P(w)}\right) |x(w)|^2 + \text{constant},

a sum of weighted chi-squares: with k real numbers at w, :math:`|x(w)|^2` is C or P times
:math:`\chi^2_k`. Its distribution is exact, by the inversion of its characteristic function (Imhof,
Biometrika 1961). No classifier that sees spectra of the same images does better.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, optimize

from fans._validation import number, whole
from fans.metrics.intervals import Floats


def auc(generated: ArrayLike, real: ArrayLike, degrees: ArrayLike, *, images: int = 1) -> float:
    """Area under the ROC curve of the best test: how often a sample looks more like one than data do.

    Args:
        generated: P, power of the samples per frequency.
        real: C, power of the data, of the same shape.
        degrees: real numbers at each frequency in one image, e.g. ``fans.spectrum.multiplicity(size)``.
        images: how many images of one kind are judged together.

    Returns:
        0.5 (chance) to 1.

    >>> auc([1.0, 1.0], [1.0, 1.0], 8)
    0.5
    >>> round(auc([0.5], [1.0], 1), 3)  # (2/pi) atan(sqrt 2), an F distribution with 1 and 1 degrees
    0.608
    """
    C, P, k = _checked(generated, real, degrees, images)
    if C.size == 0:
        return 0.5
    weights = np.concatenate([P / C - 1, -(1 - C / P)]) / 2
    return 1 - chi_square_cdf(0.0, weights, np.concatenate([k, k]))


def power(
    generated: ArrayLike, real: ArrayLike, degrees: ArrayLike, *, images: int = 1, false_alarms: float = 0.05
) -> float:
    """Share of samples that the best test finds when so large a share of data is taken for samples.

    >>> round(power([2.0], [1.0], 64), 3)
    0.986
    """
    number("false_alarms", false_alarms, low=0.0, high=1.0)
    C, P, k = _checked(generated, real, degrees, images)
    if C.size == 0:
        return false_alarms
    null, alternative = (1 - C / P) / 2, (P / C - 1) / 2
    centre, spread = float(null @ k), float(np.sqrt(2 * (null**2 @ k)))

    def excess(t: float) -> float:
        return 1 - chi_square_cdf(centre + spread * t, null, k) - false_alarms

    threshold = centre + spread * float(optimize.brentq(excess, -10.0, 60.0, xtol=1e-10))
    return 1 - chi_square_cdf(threshold, alternative, k)


def chi_square_cdf(x: float, weights: ArrayLike, degrees: ArrayLike) -> float:
    r"""``P(sum_j w_j chi^2_(k_j) <= x)`` for independent chi-squares and weights of any sign.

    .. math:: \frac 12 - \frac 1\pi \int_0^\infty \frac{\sin \theta(u)}{u\, \rho(u)} du, \qquad
        \theta = \frac 12 \sum_j k_j \arctan(w_j u) - \frac{x u}2, \quad
        \rho = \prod_j (1 + w_j^2 u^2)^{k_j / 4} .

    Raises:
        ValueError: fewer than six degrees in all, for which the integral converges too slowly, unless x is 0.

    >>> round(chi_square_cdf(18.307, [1.0], [10.0]), 4)
    0.95
    """
    w, k = np.broadcast_arrays(np.asarray(weights, np.float64), np.asarray(degrees, np.float64))
    if k.sum() < 6 and x != 0:
        raise ValueError(f"{k.sum():g} degrees of freedom: needs 6 or more; judge more images together")
    scale = float(np.sqrt(2 * (k * w**2).sum()))
    w, x = w / scale, x / scale

    def integrand(u: float) -> float:
        theta = (k @ np.arctan(w * u) - x * u) / 2
        return float(np.sin(theta) / u * np.exp(-(k @ np.log1p((w * u) ** 2)) / 4))

    value, _ = integrate.quad(integrand, 0, np.inf, limit=1000, epsabs=1e-9)
    return float(np.clip(0.5 - value / np.pi, 0, 1))


def images_for(
    generated: ArrayLike, real: ArrayLike, degrees: ArrayLike, *, target: float = 0.75, most: int = 10**6
) -> int:
    """Fewest images of one kind with which the best test reaches an AUC of ``target``; ``most`` if more.

    >>> images_for([0.5], [1.0], 64)
    1
    """
    number("target", target, low=0.5, high=1.0)
    low, high = 0, 1
    while high < most and auc(generated, real, degrees, images=high) < target:
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if auc(generated, real, degrees, images=middle) < target else (low, middle)
    return high


def _checked(
    generated: ArrayLike, real: ArrayLike, degrees: ArrayLike, images: int
) -> tuple[Floats, Floats, Floats]:
    """The frequencies at which the spectra differ, flat."""
    whole("images", images, low=1)
    C, P, k = (np.asarray(v, np.float64) for v in (real, generated, degrees))
    if C.shape != P.shape:
        raise ValueError(f"generated and real need spectra of one shape, got {P.shape} and {C.shape}")
    if not (C > 0).all() or not (P > 0).all():
        raise ValueError("both spectra must be positive: where one has no power a single image decides")
    k = np.broadcast_to(k * images, C.shape)
    differs = np.abs(P / C - 1) > 1e-12
    return C[differs], P[differs], k[differs]
