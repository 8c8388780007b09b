"""The plane that processes live on: half of an orthonormal 2-D DFT, and noise drawn with explicit generators.

For images of ``size = (H, W)`` the plane is that of ``torch.fft.rfft2(..., norm="ortho")``: shape
(H, W//2 + 1), and white noise of unit variance has power 1 at every coefficient. Values that are equal at all
frequencies keep the shape (1, 1): multiplying by them needs no FFT.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fans.spectrum import multiplicity, radial_frequency

Size = tuple[int, int]
Spectrum = Tensor | ArrayLike
Generators = torch.Generator | Sequence[torch.Generator]


class Constant:
    """A tensor that follows others: copied once to every device, and every precision, where it is used.

    >>> Constant(torch.ones(3)).like(torch.zeros(1, dtype=torch.float64)).dtype
    torch.float64
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """The tensor on the device of x, and in its precision unless it holds whole numbers."""
        key = (x.device, x.dtype if self._value.is_floating_point() else self._value.dtype)
        if key not in self._copies:
            self._copies[key] = self._value.to(*key)
        return self._copies[key]


def radius(size: Size) -> Tensor:
    """Radial frequency in cycles per pixel, float64 of shape (H, W//2 + 1)."""
    return torch.tensor(radial_frequency(size))


@lru_cache(maxsize=8)
def _counted(size: Size) -> Constant:
    return Constant(torch.tensor(multiplicity(size), dtype=torch.float64))


def plane_mean(values: Tensor, size: Size) -> Tensor:
    """Mean over the full DFT plane: (..., H, W//2 + 1) or (..., 1, 1) to (..., 1, 1), in float64."""
    values = values.to(torch.float64)
    if values.shape[-2:] == (1, 1):
        return values
    return plane_sum(values, size)[..., None, None] / (size[0] * size[1])


def plane_sum(values: Tensor, size: Size) -> Tensor:
    """Sum over the full DFT plane, (..., H, W//2 + 1) to (...)."""
    return (values * _counted(size).like(values)).sum((-2, -1))


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """Align per-frequency values with images or their DFT, (B, h, w) to (B, 1, ..., h, w); x's precision."""
    if coefficient.ndim == 3:
        batch, height, width = coefficient.shape
        coefficient = coefficient.reshape(batch, *[1] * (x.ndim - 3), height, width)
    return coefficient.to(x.device, x.real.dtype)


def at_least_single(x: Tensor) -> Tensor:
    """Half precision as float32, in which FFTs and sums over images are safe; others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def filtered(x: Tensor, gain: Tensor) -> Tensor:
    """``irfft2(rfft2(x) * gain)`` for real images (..., H, W); a gain without colour costs no FFT.

    Args:
        x: images (..., H, W); (B, ..., H, W) if the gain differs between images. Half precision is
            transformed in float32.
        gain: (H, W//2 + 1), (B, H, W//2 + 1), or the same with (1, 1) for the plane.

    Raises:
        TypeError: images of whole numbers, in which a gain below 1 would be 0.
        ValueError: a gain for images of another size.
    """
    if not x.is_floating_point():
        raise TypeError(f"images are {x.dtype}: must be of floating type; scale them to -1 ... 1 first")
    if gain.shape[-2:] == (1, 1):
        return x * like(gain, x)
    if gain.shape[-2:] != (x.shape[-2], x.shape[-1] // 2 + 1):
        raise ValueError(f"gain of shape {tuple(gain.shape)} does not fit images of shape {tuple(x.shape)}")
    single = at_least_single(x)
    spectrum: Tensor = torch.fft.rfft2(single, norm="ortho")
    filtered: Tensor = torch.fft.irfft2(spectrum.mul_(like(gain, single)), s=x.shape[-2:], norm="ortho")
    return filtered.to(x.dtype)


def randn(
    shape: Sequence[int],
    generator: Generators,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """White noise from one generator, or from one generator per image of the batch.

    The draw happens on the generator's device, so that a seed means the same numbers wherever they are used.

    Raises:
        TypeError: no generators.
        ValueError: a list of generators that does not match the batch.

    >>> one, two = (randn((n, 1, 2, 2), streams(7, n)) for n in (1, 2))
    >>> bool((one[0] == two[0]).all())
    True
    """
    if isinstance(generator, torch.Generator):
        return torch.randn(*shape, generator=generator, dtype=dtype, device=generator.device).to(device)
    if not isinstance(generator, Sequence):
        raise TypeError(f"generator={generator!r}: must be a torch.Generator, or a list with one per image")
    if len(generator) != shape[0]:
        raise ValueError(f"{len(generator)} generators for a batch of {shape[0]}: give one, or one per image")
    return torch.stack([randn(shape[1:], single, dtype=dtype, device=device) for single in generator])


def streams(
    seed: int, count: int, *, first: int = 0, device: torch.device | str = "cpu"
) -> list[torch.Generator]:
    """One generator per image, so that image ``first + i`` of a seed does not depend on the batch size.

    >>> streams(0, 4)[3].initial_seed() == streams(0, 1, first=3)[0].initial_seed()
    True
    """
    states = [np.random.SeedSequence([seed, first + i]).generate_state(1, np.uint64)[0] for i in range(count)]
    return [torch.Generator(device).manual_seed(int(state) >> 1) for state in states]
