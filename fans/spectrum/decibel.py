"""Ratios of powers in decibels."""

from __future__ import annotations

import numpy as np
from array_api_compat import is_torch_array

from fans.spectrum.arrays import Array


def decibel(power: Array, reference: Array | float = 1.0) -> Array:
    r"""Level of a power over a reference, :math:`10 \log_{10} (P / P_0)`.

    No power is -inf dB; what has no reference has no level, NaN.

    Args:
        power: not negative, of any shape.
        reference: the same, of a shape that fits; 1 unless given.

    Returns:
        An array for arrays, a tensor for tensors, which is differentiable, and a float for floats.

    >>> decibel(100.0), decibel(np.array([1.0, 0.0]), 10.0).tolist()
    (20.0, [-10.0, -inf])
    """
    if is_torch_array(power):
        import torch

        unit = torch.as_tensor(reference, dtype=power.dtype, device=power.device)
        return 10 * torch.log10(power / torch.where(unit > 0, unit, torch.nan))
    base = np.asarray(reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = 10 * np.log10(np.asarray(power) / np.where(base > 0, base, np.nan))
    return level if level.ndim else float(level)
