"""Arrays of either kind, frequencies of the DFT, and what images must satisfy."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from numpy.typing import NDArray

Array = Any  # numpy.ndarray or torch.Tensor: whichever came in
Size = tuple[int, int]
Corners = Literal["keep", "cut"]
NYQUIST = 0.5  # cycles per pixel along an axis; the corner of the plane lies at sqrt(0.5)


def frequencies(size: Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertical and horizontal frequency of the rFFT plane, ``(H, 1)`` and ``(1, W//2 + 1)``.

    >>> [f.shape for f in frequencies((48, 64))]
    [(48, 1), (1, 33)]
    """
    height, width = checked_size(size)
    fy: NDArray[np.float64] = np.fft.fftfreq(height)[:, None].astype(np.float64)
    fx: NDArray[np.float64] = np.fft.rfftfreq(width)[None, :].astype(np.float64)
    return fy, fx


def radial_frequency(size: Size) -> NDArray[np.float64]:
    """Radial frequency of the rFFT plane in cycles per pixel, ``(H, W//2 + 1)``."""
    return np.hypot(*frequencies(size))


def multiplicity(size: Size) -> NDArray[np.int64]:
    """How often a coefficient of the rFFT plane occurs in the full plane (1 or 2), ``(H, W//2 + 1)``."""
    height, width = checked_size(size)
    twice = np.full(width // 2 + 1, 2)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    return np.broadcast_to(twice, (height, width // 2 + 1))


def checked_images(x: Array) -> tuple[Array, Any]:
    try:
        xp = array_namespace(x)
    except TypeError:
        raise TypeError(f"images must be a NumPy array or a torch tensor, got {type(x).__name__}") from None
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"images need two axes or more and at least one pixel, got shape {tuple(x.shape)}")
    if xp.isdtype(x.dtype, "complex floating"):
        raise TypeError(f"images must be real, got {x.dtype}: take the real part or the magnitude")
    return (x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float32)), xp


def finite(result: Array) -> Array:
    xp = array_namespace(result)
    if not math.isfinite(xp.sum(result).item()):
        raise ValueError(
            "the images hold NaN or infinite values (or overflow when squared): clean or rescale them"
        )
    return result


def checked_size(size: Size) -> Size:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"a size is (height, width), both at least 1, got {size}")
    return size


def matching(values: NDArray[Any], x: Array, xp: Any) -> Array:
    return xp.asarray(values, device=x.device) if is_torch_array(x) else values


def as_numpy(values: Array) -> NDArray[np.float64]:
    if is_torch_array(values):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)
