"""What sampling does to frequencies beyond half a cycle per pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fans.spectrum.arrays import NYQUIST, Array


def alias(frequency: Array, *, rate: float = 1.0) -> Array:
    """Frequency that samples taken at ``rate`` show: folded into [-rate/2, rate/2).

    >>> alias(0.9), alias(np.array([0.25, 0.75])).tolist()
    (-0.1, [0.25, -0.25])
    """
    if not rate > 0:
        raise ValueError(f"the sampling rate must be positive, got {rate}")
    folded = (frequency / rate + 0.5) % 1.0 - 0.5
    if isinstance(folded, float):
        return round(folded * rate, 12)
    return folded * rate


def aliased_power_law(frequency: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    r"""Power that unit-rate samples of a 1/f^alpha signal show, without a filter before sampling.

    .. math:: \sum_{n=-\infty}^{\infty} |f + n|^{-\alpha} = \zeta(\alpha, f) + \zeta(\alpha, 1 - f)

    with the Hurwitz zeta function, for :math:`0 < f \le 1/2` and :math:`\alpha > 1`.

    >>> round(float(aliased_power_law(np.array(0.5), 2.0)) / 0.5**-2, 3)
    2.467
    """
    f = np.asarray(frequency, dtype=float)
    if exponent <= 1 or np.any((f <= 0) | (f > NYQUIST)):
        raise ValueError("the sum converges for exponent > 1 and is folded for 0 < frequency <= 0.5 only")
    return np.asarray(special.zeta(exponent, f) + special.zeta(exponent, 1 - f))
