r"""The two-dimensional wavelet transform of images on a torus, orthogonal and differentiable.

It is PyWavelets' mode ``periodization``: N pixels give N coefficients, energy is kept, and the inverse is the
transpose. One level filters both axes with a low-pass h and a high-pass g of L taps and keeps every second
value:

.. math:: y_k = \sum_j h_j\, x_{(2k + L/2 - j) \bmod N}.

Along one axis that is an orthogonal matrix W, its rows h then g, and in the plane ``Y = W X W^T``. So it is
computed, by two matrix products: at the sizes of this book they take less time than convolutions. Their time
per pixel grows with N, so that convolutions are better from 200 (db2) to 400 pixels a side (db8) on. Haar
needs sums and differences only.

>>> bands = dwt2(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
>>> [band.item() for band in bands]
[5.0, -2.0, -1.0, 0.0]
>>> idwt2(bands)
tensor([[1., 2.],
        [3., 4.]])
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fans._validation import require

if TYPE_CHECKING:
    import pywt

Wavelet: TypeAlias = "str | pywt.Wavelet"
FilterBank = tuple[tuple[float, ...], tuple[float, ...]]

_HAAR = ((0.5**0.5, 0.5**0.5), (-(0.5**0.5), 0.5**0.5))
_ORTHONORMAL = 1e-6  # Parseval in single precision needs no better; tables of filters are good to 1e-10
_NAMES = "haar, db1 to db38, sym2 to sym20 and coif1 to coif17"


class Subbands(NamedTuple):
    """One level, each band (..., H/2, W/2): PyWavelets' cA, cH, cV, cD, in this order.

    Packages agree on the order, not on what LH means. Here the first letter is the filter along the width
    (axis -1), the second that along the height (axis -2), as in PyWavelets' figures and in ptwt; some
    comments of PyWavelets have it the other way round.

    Attributes:
        ll: low-pass along both.
        lh: high-pass along the height only: rows alternate, edges are horizontal.
        hl: high-pass along the width only: columns alternate, edges are vertical.
        hh: high-pass along both: checkerboards.
    """

    ll: Tensor
    lh: Tensor
    hl: Tensor
    hh: Tensor


class Details(NamedTuple):
    """The high-passed ``Subbands`` of a level."""

    lh: Tensor
    hl: Tensor
    hh: Tensor


class Pyramid(NamedTuple):
    """Several levels; ``[ll, *details]`` is the list of ``pywt.wavedec2``.

    Attributes:
        ll: what the last level left, (..., H/2^J, W/2^J).
        details: of each level, the last and coarsest first.
    """

    ll: Tensor
    details: tuple[Details, ...]


def dwt2(x: Tensor, wavelet: Wavelet = "haar") -> Subbands:
    """One level of the wavelet transform, ``W X W^T``.

    Args:
        x: images (..., H, W), sizes even and not below the length of the filters.
        wavelet: name of an orthogonal wavelet of PyWavelets, or a ``pywt.Wavelet``.

    Raises:
        ValueError: sizes that do not fit, or a wavelet that is not known or not orthogonal.

    >>> dwt2(torch.ones(2, 3, 8, 8)).ll.shape
    torch.Size([2, 3, 4, 4])
    """
    bank = filter_bank(wavelet)
    _check_images(x, len(bank[0]))
    if bank == _HAAR:
        return _haar(x)
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    rows, columns = (_matrix(bank, 2 * n, x.dtype, x.device) for n in (h, w))
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = rows @ x @ columns.mT
    return Subbands(y[..., :h, :w], y[..., h:, :w], y[..., :h, w:], y[..., h:, w:])


def idwt2(bands: Subbands | Sequence[Tensor], wavelet: Wavelet = "haar") -> Tensor:
    """Inverse and transpose of ``dwt2``, ``W^T Y W``.

    Raises:
        ValueError: not four bands of one shape; otherwise as ``dwt2``.

    >>> idwt2([torch.ones(1, 2)] + [torch.zeros(1, 2)] * 3)  # every pixel has half of LL
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000, 0.5000]])
    """
    bank = filter_bank(wavelet)
    shapes = [tuple(band.shape) for band in bands]
    if len(shapes) != 4 or len(set(shapes)) > 1 or len(shapes[0]) < 2:
        raise ValueError(f"bands {shapes}: must be four, LL, LH, HL, HH, of one shape (..., H/2, W/2)")
    ll, lh, hl, hh = bands
    if bank == _HAAR:
        return _haar_inverse(ll, lh, hl, hh)
    y = torch.cat((torch.cat((ll, hl), -1), torch.cat((lh, hh), -1)), -2)
    _check_images(y, len(bank[0]))
    rows, columns = (_matrix(bank, n, y.dtype, y.device) for n in y.shape[-2:])
    with torch.autocast(y.device.type, enabled=False):
        x: Tensor = rows.mT @ y @ columns
    return x


def wavedec2(x: Tensor, wavelet: Wavelet = "haar", *, level: int) -> Pyramid:
    """Transform, then transform LL again, ``level`` times in all.

    Args:
        x: images (..., H, W), sizes multiples of 2^level.
        wavelet: as for ``dwt2``; its filters must not be longer than the images of the last level.
        level: number of levels J.

    Raises:
        ValueError: levels that do not fit; otherwise as ``dwt2``.

    >>> pyramid = wavedec2(torch.ones(8, 8), level=3)
    >>> pyramid.ll.item(), [tuple(details.hh.shape) for details in pyramid.details]
    (8.0, [(1, 1), (2, 2), (4, 4)])
    """
    taps = len(filter_bank(wavelet)[0])
    _check_images(x, taps)
    most = min(_levels(n, taps) for n in x.shape[-2:])
    if not 1 <= level <= most:
        raise ValueError(
            f"level={level}: images {tuple(x.shape)} have {most} levels with a filter of {taps} taps, which"
            " must not be longer than an image, and every level needs even sizes"
        )
    details: list[Details] = []
    for _ in range(level):
        x, *high = dwt2(x, wavelet)
        details.append(Details(*high))
    return Pyramid(x, tuple(reversed(details)))


def waverec2(pyramid: Pyramid, wavelet: Wavelet = "haar") -> Tensor:
    """Inverse of ``wavedec2``.

    >>> waverec2(wavedec2(torch.ones(4, 4), level=2)).unique().tolist()
    [1.0]
    """
    x = pyramid.ll
    for details in pyramid.details:
        x = idwt2((x, *details), wavelet)
    return x


def analysis_matrix(wavelet: Wavelet, size: int) -> Tensor:
    """The orthogonal matrix W of one level along an axis, (N, N) in float64: N/2 low-pass rows, then high.

    >>> W = analysis_matrix("haar", 4)
    >>> (2**0.5 * W).round().int()
    tensor([[ 1,  1,  0,  0],
            [ 0,  0,  1,  1],
            [ 1, -1,  0,  0],
            [ 0,  0,  1, -1]], dtype=torch.int32)
    """
    bank = filter_bank(wavelet)
    _check_images(torch.empty(size, size), len(bank[0]))
    matrix: Tensor = _matrix(bank, size, torch.float64, torch.device("cpu"))
    return matrix.clone()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def filter_bank(wavelet: Wavelet) -> FilterBank:
    """Low-pass filter h and high-pass filter g of a wavelet, after a check that they are orthonormal.

    Raises:
        ValueError: the wavelet is unknown or not orthogonal.
        ImportError: PyWavelets is missing.

    >>> h, g = filter_bank("db2")
    >>> [round(sum(taps), 6) for taps in (h, g)]  # sqrt 2 and no mean
    [1.414214, 0.0]
    """
    library = require("pywt", package="PyWavelets", name="fans.wavelets", extra="train")
    if isinstance(wavelet, str):
        try:
            wavelet = library.Wavelet(wavelet)
        except (ValueError, TypeError) as error:  # the latter for an empty name
            raise ValueError(f"wavelet {wavelet!r} is unknown: orthogonal ones are {_NAMES}") from error
    if not isinstance(wavelet, library.Wavelet):
        raise ValueError(f"wavelet {wavelet!r}: must be a name or a pywt.Wavelet")
    return _orthonormal((tuple(wavelet.dec_lo), tuple(wavelet.dec_hi)), wavelet.name)


@lru_cache
def _orthonormal(bank: FilterBank, name: str) -> FilterBank:
    """Return the filters if shifts of both by 2 are orthonormal, which makes W orthogonal at every size."""
    pair: NDArray[np.float64] = np.array(bank)
    taps = len(bank[0])  # even: PyWavelets sees to that
    products = [pair[:, m:] @ pair[:, : taps - m].T - np.eye(2) * (m == 0) for m in range(0, taps, 2)]
    error = np.abs(products).max()
    if not error <= _ORTHONORMAL:
        raise ValueError(
            f"wavelet {name!r} is not orthogonal, its filters miss that by {error:.2g}: take one of {_NAMES}"
        )
    return bank


@torch.compiler.disable  # type: ignore[untyped-decorator]  # kept, not compiled anew
@lru_cache(maxsize=64)
def _matrix(bank: FilterBank, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = np.zeros((2, size // 2, size))
    taps, k = len(bank[0]), np.arange(size // 2)
    for band, filtering in zip(matrix, bank, strict=True):
        for j, tap in enumerate(filtering):
            band[k, (2 * k + taps // 2 - j) % size] += tap
    with torch.inference_mode(False):  # kept, and perhaps trained through later
        return torch.from_numpy(matrix.reshape(size, size)).to(dtype).to(device)


def _haar(x: Tensor) -> Subbands:
    left, right = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    low, high = (torch.unflatten(y / 2, -2, (-1, 2)).unbind(-2) for y in (left + right, left - right))
    return Subbands(low[0] + low[1], low[0] - low[1], high[0] + high[1], high[0] - high[1])


def _haar_inverse(ll: Tensor, lh: Tensor, hl: Tensor, hh: Tensor) -> Tensor:
    low, low_below, high, high_below = ll + lh, ll - lh, hl + hh, hl - hh
    upper = torch.stack((low + high, low - high), -1).flatten(-2)
    lower = torch.stack((low_below + high_below, low_below - high_below), -1).flatten(-2)
    return torch.stack((upper, lower), -2).flatten(-3, -2) / 2


def _levels(size: int, taps: int) -> int:
    """Number of times that a size can be halved, with the filter not longer than what is left."""
    return 0 if size % 2 or size < max(taps, 2) else 1 + _levels(size // 2, taps)


def _check_images(x: Tensor, taps: int) -> None:
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"images {tuple(x.shape)} of {x.dtype}: must be (..., H, W), floating point")
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(f"images {tuple(x.shape)}: H and W must be even, to be halved; crop or pad them")
    if min(height, width) < max(taps, 2):
        raise ValueError(
            f"images {tuple(x.shape)}: the wavelet's {taps} taps are longer; take larger images, fewer levels"
            " or a shorter wavelet"
        )
