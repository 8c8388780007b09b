"""The plane that processes live on: half of an orthonormal 2-D DFT, and noise drawn with explicit generators.

For images of ``size = (H, W)`` the plane is that of ``torch.fft.rfft2(..., norm="ortho")``: shape
(H, W//2 + 1), and white noise of unit variance has power 1 at every coefficient. Values that are equal at all
frequencies keep the shape (1, 1): multiplying by them needs no FFT.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fans.spectrum import multiplicity, radial_frequency

Size = tuple[int, int]
Spectrum = Tensor | ArrayLike
Generators = torch.Generator | Sequence[torch.Generator]


def radius(size: Size) -> Tensor:
    """Radial frequency in cycles per pixel, float64 of shape (H, W//2 + 1)."""
    return torch.tensor(radial_frequency(size))


def plane_mean(values: Tensor, size: Size) -> Tensor:
    """Mean over the full DFT plane: (..., H, W//2 + 1) or (..., 1, 1) to (..., 1, 1)."""
    count = torch.tensor(multiplicity(size), dtype=torch.float64)
    return (values * count).sum((-2, -1), keepdim=True) / count.sum()


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """Align per-frequency values with images or their DFT, (B, h, w) to (B, 1, ..., h, w); x's precision."""
    if coefficient.ndim == 3:
        batch, height, width = coefficient.shape
        coefficient = coefficient.reshape(batch, *[1] * (x.ndim - 3), height, width)
    return coefficient.to(x.device, x.real.dtype)


def filtered(x: Tensor, gain: Tensor) -> Tensor:
    """``irfft2(rfft2(x) * gain)`` for real images (..., H, W); a gain without colour costs no FFT.

    Args:
        x: images (..., H, W); (B, ..., H, W) if the gain differs between images.
        gain: (H, W//2 + 1), (B, H, W//2 + 1), or the same with (1, 1) for the plane.
    """
    gain = like(gain, x)
    if gain.shape[-2:] == (1, 1):
        return x * gain
    spectrum: Tensor = torch.fft.rfft2(x, norm="ortho")
    filtered: Tensor = torch.fft.irfft2(spectrum.mul_(gain), s=x.shape[-2:], norm="ortho")
    return filtered


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
        ValueError: a list of generators that does not match the batch.

    >>> one, two = (randn((n, 1, 2, 2), streams(7, n)) for n in (1, 2))
    >>> bool((one[0] == two[0]).all())
    True
    """
    if isinstance(generator, torch.Generator):
        return torch.randn(*shape, generator=generator, dtype=dtype, device=generator.device).to(device)
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
