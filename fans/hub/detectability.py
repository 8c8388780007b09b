"""From how many steps on no detector that sees spectra can tell a sampler's images from data."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fans.detection import theory
from fans.hub.scan import Network, scan


def sampler_auc(
    scheduler: Any,
    spectrum: Any,
    steps: int,
    degrees: ArrayLike,
    *,
    images: int = 1,
    network: Network = "denoiser",
    **options: Any,
) -> float:
    """AUC of the best possible test between data and samples (``fans.detection.theory.auc``).

    Args:
        scheduler, spectrum, steps, network, options: as for ``scan``.
        degrees: real numbers at each frequency in one image.
        images: how many are judged together.

    >>> round(sampler_auc("DDIMScheduler", [1.0, 0.1], 1000, 2), 1)
    0.5
    """
    result = scan(scheduler, spectrum, steps, network=network, **options)
    C, P = (np.asarray(v) for v in (result.spectrum, result.power))
    seen = C > 0
    return theory.auc(P[seen], C[seen], np.broadcast_to(degrees, C.shape)[seen], images=images)


def steps_until_undetected(
    scheduler: Any,
    spectrum: Any,
    degrees: ArrayLike,
    *,
    target: float = 0.55,
    most: int = 1000,
    images: int = 1,
    **options: Any,
) -> int | None:
    """Fewest steps from which the best test's AUC is at most ``target``; None if ``most`` do not suffice.

    The AUC is taken to fall with the number of steps, which is searched by halving.

    >>> steps_until_undetected("IPNDMScheduler", [1.0, 0.5], 32) < 20
    True
    """

    def seen(steps: int) -> bool:
        return sampler_auc(scheduler, spectrum, steps, degrees, images=images, **options) > target

    low, high = 1, 2
    while seen(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if seen(middle) else (low, middle)
    return high
