r"""The best denoiser that sees patches only, of a small set of images: what convolution can know.

A convolutional network estimates a pixel from its neighbourhood alone, in the same way everywhere. The best
such estimate for images of a given set is the mean of the central pixels of all patches of the set, weighted
by how well each explains the neighbourhood (Kamb and Ganguli, 2024, An analytic theory of creativity in
convolutional diffusion models, "equivariant local score machine"):

.. math:: \hat x_0(i) = \frac{\sum_n w_n\, p_n(0)}{\sum_n w_n}, \qquad
    w_n = \exp\Big(-\sum_{d \in \Omega} \frac{(x_t(i + d) - a_t p_n(d))^2}{2 s_t^2}\Big).

With patches as large as the image it is the exact denoiser of the set and its shifts, which can only
remember. Borders are periodic, as everywhere here.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fans._validation import whole
from fans.diffusion.checks import Timestep
from fans.diffusion.process import SpectralProcess

_CHUNK = 2**24  # weights held at once


@dataclass(frozen=True, eq=False)
class LocalDenoiser:
    """The equivariant local score machine as a denoiser, in place of a network that predicts the sample.

    Attributes:
        process: noising process without colour.
        images: the set, (N, C, H, W); time and memory grow as N H^2 W^2.
        patch: side of a patch in pixels, odd, or the side of the images.

    Raises:
        ValueError: a process with colour, an even patch or one larger than the images.

    >>> from fans.diffusion import white
    >>> dots = torch.eye(8).reshape(1, 1, 8, 8)
    >>> machine = LocalDenoiser(white(size=(8, 8)), dots, patch=3)
    >>> bool((machine(dots, 10) - dots).abs().max() < 1e-6)
    True
    """

    process: SpectralProcess
    images: Tensor
    patch: int

    def __post_init__(self) -> None:
        side = min(self.process.size)
        whole("patch", self.patch, low=1)
        if not self.process.is_white or tuple(self.images.shape[-2:]) != self.process.size:
            raise ValueError("a local denoiser needs a process without colour, and images of its size")
        if self.patch > side or (self.patch % 2 == 0 and self.patch != side):
            raise ValueError(f"patch={self.patch}: must be odd, or {side}, the side of the images, at most")

    def __call__(self, x_t: Tensor, t: Timestep) -> Tensor:
        """Estimate clean images from (B, C, H, W) at one timestep t > 0."""
        time = int(torch.as_tensor(t).reshape(-1)[0])
        if (torch.as_tensor(t) != time).any():
            raise ValueError("a local denoiser takes one timestep for all images")
        a, s = float(self.process.signal(time)), float(self.process.noise(time))
        seen, known = self._patches(x_t.double()), self._known
        centre = known.reshape(len(known), x_t.shape[1], -1)[:, :, self._middle]  # (P, C)
        rows = [self._mean(part, a, s, centre) for part in torch.split(seen, max(1, _CHUNK // len(known)))]
        values = torch.cat(rows).reshape(len(x_t), *self.process.size, -1)
        return values.movedim(-1, 1).to(x_t.dtype)

    @cached_property
    def _known(self) -> Tensor:
        """All patches of the set, (N H W, C k^2)."""
        return self._patches(self.images.double())

    @property
    def _middle(self) -> int:
        return (self.patch // 2) * self.patch + self.patch // 2

    def _mean(self, seen: Tensor, a: float, s: float, centre: Tensor) -> Tensor:
        energy = (a * self._known).square().sum(1)
        odds = (2 * a * seen @ self._known.T - energy) / (2 * s**2)  # |seen|^2 is common to all
        return odds.softmax(1) @ centre

    def _patches(self, x: Tensor) -> Tensor:
        """The neighbourhood of each pixel, (B H W, C k^2)."""
        before, after = self.patch // 2, (self.patch - 1) // 2
        padded = torch.nn.functional.pad(x, (before, after, before, after), mode="circular")
        columns = torch.nn.functional.unfold(padded, self.patch)  # (B, C k^2, H W)
        return columns.movedim(1, 2).reshape(-1, columns.shape[1])
