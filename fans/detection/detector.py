r"""Telling generated images from real ones by their spectrum, tested on images that training has not seen.

A detector is a classifier of scikit-learn on the standardised features of an image:

- ``fit``: the power law of the spectrum's tail (`tail_fit`), with 5 nearest neighbours, as Dzanic, Shah and
  Witherden (NeurIPS 2020) do;
- ``spectrum``: the radial spectrum in log power (``fans.metrics.features.spectrum_features``), with logistic
  regression, after Durall, Keuper and Keuper (CVPR 2020);
- ``pixels``: with logistic regression. A linear function of pixels sees the mean image and no spectrum.

Thresholds are radii of the GAN literature, :math:`r = \sqrt 2 f` with f in cycles per pixel: r = 1 is the
corner of the plane, and above :math:`1 / \sqrt 2` only diagonal frequencies are left.

A detector takes whatever differs: sets of other file formats, resolutions or sharpening are told apart by
these. And it knows the generators that it was trained on: Chandrasegaran, Tran and Cheung (CVPR 2021) change
the last upsampling of GANs, and pass. `Detector.accuracy` takes the images of any generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fans._validation import check_confidence, known, require
from fans.detection.perturbations import PERTURBATIONS, Distortion
from fans.metrics import Accuracy
from fans.metrics.band_powers import ImageArray, pair
from fans.metrics.evaluation import Row
from fans.metrics.features import checked, spectrum_features
from fans.metrics.intervals import Floats, wilson
from fans.spectrum import RadialSpectrum, fit_power_law, radial_spectrum

DetectorFeatures = Literal["fit", "spectrum", "pixels"]
Classifier = Literal["knn", "logistic", "svm"]
Originals = NDArray[Any]  # labels (N,), equal where two images are patches of one original
CORNER = 0.5**0.5  # cycles per pixel, r = 1
NEIGHBOURS = 5
FEWEST = 3  # images of either kind to train on
FEWEST_ORIGINALS = 4 * FEWEST  # real ones are halved to compare them with themselves, then halved to test
CLASSIFIER: dict[DetectorFeatures, Classifier] = {"fit": "knn", "spectrum": "logistic", "pixels": "logistic"}


def tail_fit(images: ImageArray, *, r_c: float = 0.75) -> Floats:
    r"""Power law of each image's spectrum above a threshold,
    :math:`(\alpha, \log_{10} P(f_c), \log_{10} P_\mathrm{first}, \log_{10} P_\mathrm{last})`.

    Exponent and level come from ``fans.spectrum.fit_power_law`` over the rings from :math:`f_c = r_c/\sqrt 2`
    to the corner, the others from the first and the last of these rings. The spectrum is that of
    ``fans.metrics.features.spectrum_features``: Hann window, mean over channels, plus the power of rounding
    to 8 bits.

    Dzanic et al. fit magnitudes, whose exponent is half of that of the power, in 200 bins beyond r = 0.5 that
    are smoothed over 5; their features are the exponent, the first and the last magnitude. Their code names a
    threshold of 0.75, and calls with 0.85.

    Args:
        images: (N, C, H, W), floating point, in [-1, 1].
        r_c: Threshold, between 0 and 1.

    Returns:
        (N, 4).

    Raises:
        TypeError, ValueError: Images as for ``fans.metrics.features.checked``; a threshold out of range, or
            one that leaves fewer than three rings.

    Example:
        >>> x = np.random.default_rng(0).uniform(-1, 1, (20, 1, 64, 64))  # white, power 1/3
        >>> exponent, level, first, last = tail_fit(x, r_c=0.2).mean(0).tolist()
        >>> round(exponent), round(level, 1)
        (0, -0.5)
    """
    if not 0 < r_c < 1:
        raise ValueError(f"r_c={r_c} must lie between 0 and 1, the corner of the plane")
    x = checked(images)
    f = np.asarray(radial_spectrum(x[:1, 0].cpu().double()).frequency[1:])
    size, f_c = (x.shape[-2], x.shape[-1]), r_c * CORNER
    if (rings := int((f >= f_c).sum())) < 3:
        raise ValueError(
            f"r_c={r_c} leaves {rings} of {len(f)} rings, a fit needs 3: lower it or use larger images"
        )
    fits = []
    for log_power in spectrum_features(x):
        law = fit_power_law(RadialSpectrum(f, 10**log_power, f, size), f_c, CORNER)
        fits.append((law.exponent, np.log10(law(f_c)), log_power[-law.points], log_power[-1]))
    return np.array(fits)


@dataclass(frozen=True)
class Detector:
    """A trained classifier that says which images are generated; `fit` makes one.

    Attributes:
        model: Pipeline of scikit-learn; class 1 is generated.
        features: What it sees of an image, see the module.
        r_c: Threshold of the features ``"fit"``.
        shape: (C, H, W) of the images.
    """

    model: Any
    features: DetectorFeatures
    r_c: float
    shape: tuple[int, ...]

    @classmethod
    def fit(
        cls,
        *,
        generated: ImageArray,
        real: ImageArray,
        features: DetectorFeatures = "fit",
        classifier: Classifier | None = None,
        r_c: float = 0.75,
    ) -> Self:
        """Train on as many real as generated images: the larger set is cut to the size of the smaller.

        Args:
            generated: (N, C, H, W), floating point, in [-1, 1].
            real: (M, C, H, W), of the same channels and size.
            features: ``"fit"``, ``"spectrum"`` or ``"pixels"``.
            classifier: ``"knn"``, ``"logistic"`` or ``"svm"`` (radial basis functions); that of the features
                unless given.
            r_c: Threshold of the features ``"fit"``.

        Raises:
            TypeError, ValueError: Images as for ``fans.metrics.features.checked``, of different sizes or
                fewer than three on either side; an unknown name; a threshold as for `tail_fit`.
            ImportError: scikit-learn is missing.

        Example:
            >>> x = np.random.default_rng(0).uniform(-1, 1, (40, 1, 16, 16))
            >>> detector = Detector.fit(generated=x[:10] / 2, real=x[10:20], features="spectrum")
            >>> detector.accuracy(generated=x[20:30] / 2, real=x[30:]).value
            1.0
        """
        known("features", features, get_args(DetectorFeatures))
        chosen = classifier or CLASSIFIER[features]
        known("classifier", chosen, get_args(Classifier))
        a, b = pair(generated, real)
        count = min(len(a), len(b))
        if count < FEWEST:
            raise ValueError(f"training needs {FEWEST} generated and {FEWEST} real images, got {count}")
        detector = cls(_pipeline(chosen), features, r_c, tuple(a.shape[1:]))
        seen = detector._extract(torch.cat([b[:count].cpu(), a[:count].cpu()]))
        detector.model.fit(seen, np.repeat([0, 1], count))
        return detector

    def generated(self, images: ImageArray) -> NDArray[np.bool_]:
        """Which images the detector takes for generated, (N,).

        Raises:
            TypeError, ValueError: Images as for ``fans.metrics.features.checked``, or of another size.
        """
        x = checked(images)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"the detector knows images of {self.shape}, got {tuple(x.shape[1:])}")
        return np.asarray(self.model.predict(self._extract(x)) == 1)

    def accuracy(
        self,
        *,
        generated: ImageArray,
        real: ImageArray,
        groups: tuple[ArrayLike, ArrayLike] | None = None,
        confidence: float = 0.95,
    ) -> Accuracy:
        r"""Mean of the shares of generated and of real images that are recognised; chance is 0.5.

        The images must not be those of the training. Predictions are then independent from one original to
        the next, and the interval is Wilson's for :math:`n = 2 \min(n_r, n_g)` trials. Its mean coverage is
        nominal, where Clopper and Pearson's is larger, and it takes shares of patches, which are no counts.
        On either side, :math:`n = (\sum_j m_j)^2 / \sum_j m_j^2` with :math:`m_j` patches of original j: the
        number of originals where all have equally many, since patches of one original may all err together.

        Args:
            generated: (N, C, H, W), of any generator, floating point, in [-1, 1].
            real: (M, C, H, W).
            groups: Originals of the generated (N,) and of the real images (M,), any labels; each image is one
                unless given.
            confidence: Of the interval.

        Raises:
            TypeError, ValueError: As for `generated`; groups of another length, or confidence out of range.
        """
        check_confidence(confidence)
        told = self.generated(generated), ~self.generated(real)
        trials = (_trials(g) for g in _groups(groups, generated, real))
        value = float(np.mean([right.mean() for right in told]))
        low, high = wilson(value, 2 * min(trials), confidence)
        return Accuracy(value, low, high, count=len(generated) + len(real))

    def _extract(self, x: Tensor) -> Floats:
        if self.features == "fit":
            return tail_fit(x, r_c=self.r_c)
        return (
            spectrum_features(x) if self.features == "spectrum" else np.asarray(x.flatten(1).cpu().double())
        )


def detect(
    *,
    generated: ImageArray,
    real: ImageArray,
    features: DetectorFeatures = "fit",
    classifier: Classifier | None = None,
    r_c: float = 0.75,
    groups: tuple[ArrayLike, ArrayLike] | None = None,
    distortions: Mapping[str, Distortion] = PERTURBATIONS,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Row]:
    """Accuracy of a detector on images that it has not seen, on distorted ones, and of real against real.

    A random half of the originals, with all of their patches, is for training, the other for testing. Only
    test images are distorted, real and generated ones alike. The floor of each row is what the same procedure
    gives when one random half of the real images is called generated, half as many images on either side.

    Args:
        generated: (N, C, H, W), floating point, in [-1, 1].
        real: (M, C, H, W), of the same channels and size.
        features, classifier, r_c: As for `Detector.fit`.
        groups: Originals of the generated (N,) and of the real images (M,), any labels: patches of one image
            never fall on both sides of the split. Each image is an original unless given.
        distortions: Name and function of each; ``{}`` is none.
        confidence: Of the intervals, see `Detector.accuracy`.
        seed: Of the splits.

    Returns:
        A row named ``"accuracy"``, one for each distortion, and ``"real against real"``, the floor of the
        first with its interval.

    Raises:
        TypeError, ValueError, ImportError: As for `Detector.fit` and `Detector.accuracy`; fewer than 12
            originals on either side; a distortion that cannot be applied.

    Example:
        >>> x = np.random.default_rng(0).uniform(-1, 1, (80, 1, 16, 16))
        >>> for row in detect(generated=x[:40] / 2, real=x[40:], features="spectrum", distortions={}):
        ...     print(row.measure, row.low > 0.5)
        accuracy True
        real against real False
    """
    a, b = (x.cpu() for x in pair(generated, real))
    sets = [_Patches(x, g) for x, g in zip((a, b), _groups(groups, a, b), strict=True)]
    originals = [len(np.unique(part.groups)) for part in sets]
    if min(originals) < FEWEST_ORIGINALS:
        raise ValueError(
            f"detection needs {FEWEST_ORIGINALS} generated and as many real images, patches of one image"
            f" counted once, got {originals[0]} and {originals[1]}: use more images"
        )
    rng = np.random.default_rng(seed)
    fit = partial(Detector.fit, features=features, classifier=classifier, r_c=r_c)
    undistorted: dict[str, Distortion] = {"accuracy": lambda x: x}
    scores = partial(
        _scores, fit=fit, distortions=undistorted | dict(distortions), confidence=confidence, rng=rng
    )
    found, floor = scores(*sets), scores(*sets[1].halves(rng)[::-1])
    found["real against real"] = floor["real against real"] = floor["accuracy"]
    return [Row(name, e.value, e.low, e.high, floor[name].value, "") for name, e in found.items()]


class _Patches(NamedTuple):
    images: Tensor
    groups: Originals

    def halves(self, rng: np.random.Generator) -> tuple["_Patches", "_Patches"]:
        """Two random halves of the originals, each with all of their patches, in random order."""
        originals, order = rng.permutation(np.unique(self.groups)), rng.permutation(len(self.groups))
        first = np.isin(self.groups[order], originals[: len(originals) // 2])
        one, other = (
            _Patches(self.images[torch.from_numpy(i)], self.groups[i]) for i in (order[first], order[~first])
        )
        return one, other


def _scores(
    generated: _Patches,
    real: _Patches,
    *,
    fit: Callable[..., Detector],
    distortions: Mapping[str, Distortion],
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, Accuracy]:
    (real_train, real_test), (train, test) = real.halves(rng), generated.halves(rng)
    score = partial(
        fit(generated=train.images, real=real_train.images).accuracy,
        groups=(test.groups, real_test.groups),
        confidence=confidence,
    )
    return {
        name: score(generated=distort(test.images), real=distort(real_test.images))
        for name, distort in distortions.items()
    }


def _groups(
    groups: tuple[ArrayLike, ArrayLike] | None, generated: ImageArray, real: ImageArray
) -> tuple[Originals, Originals]:
    lengths = len(generated), len(real)
    found = tuple(np.asarray(g) for g in groups or map(np.arange, lengths))
    if len(found) != 2 or [g.shape for g in found] != [(n,) for n in lengths]:
        shapes = " and ".join(str(g.shape) for g in found)
        raise ValueError(
            f"groups must be one label for each of {lengths[0]} generated and of {lengths[1]} real images,"
            f" got shapes {shapes}"
        )
    return found


def _trials(groups: Originals) -> float:
    """Number of independent predictions, if patches of one original err together (Kish's sample size)."""
    sizes = np.unique(groups, return_counts=True)[1]
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _pipeline(classifier: Classifier) -> Any:
    options: dict[str, Any] = {"package": "scikit-learn", "name": "detectors", "extra": "metrics"}
    models = {
        "knn": ("neighbors", "KNeighborsClassifier", {"n_neighbors": NEIGHBOURS}),
        "logistic": ("linear_model", "LogisticRegression", {"max_iter": 1000}),
        "svm": ("svm", "SVC", {}),
    }
    module, name, arguments = models[classifier]
    model = getattr(require(f"sklearn.{module}", **options), name)(**arguments)
    scaler = require("sklearn.preprocessing", **options).StandardScaler()
    return require("sklearn.pipeline", **options).make_pipeline(scaler, model)
