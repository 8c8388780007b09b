r"""Layers with equalised learning rates (Karras et al. 2018, ICLR), and the norm that goes with them.

Every weight is drawn from N(0, 1) and multiplied at each use by a constant c, so that Adam's steps are as
large, relative to a weight, in all layers:

.. math:: y = c\, W * x + b, \qquad c = g / \sqrt{n_\mathrm{in}},

with n_in inputs per output and the gain g of the nonlinearity that follows, :math:`\sqrt 2` for ReLU and
1 for none. An input of mean square 1 then gives an output of variance g^2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

GAIN = 2**0.5  # of ReLU, as published, though leaky ReLU with slope 0.2 has 2 % less


def equalised(*shape: int, gain: float = GAIN) -> tuple[nn.Parameter, float]:
    """Weights (out, in, ...) from N(0, 1), and the constant c that multiplies them at each use.

    >>> equalised(8, 4, 3, 3)[1] == 2**0.5 / 6
    True
    """
    return nn.Parameter(torch.randn(shape)), gain / prod(shape[1:]) ** 0.5


class EqualisedConv(nn.Module):
    """Convolution with an equalised learning rate, (B, C, H, W) to (B, I, H, W); zeros beyond the border."""

    def __init__(self, channels: int, outputs: int, k: int = 3, *, gain: float = GAIN) -> None:
        super().__init__()
        self.weight, self.scale = equalised(outputs, channels, k, k, gain=gain)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class EqualisedLinear(nn.Module):
    """Linear layer with an equalised learning rate, (B, C) to (B, I)."""

    def __init__(self, channels: int, outputs: int, *, gain: float = GAIN) -> None:
        super().__init__()
        self.weight, self.scale = equalised(outputs, channels, gain=gain)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return linear(x, self.weight * self.scale, self.bias)


def pixel_norm(x: Tensor) -> Tensor:
    """Divide by the root mean square over channels, (B, C, ...), at each pixel.

    >>> pixel_norm(torch.tensor([[3.0, 4.0]])).square().mean().item()
    1.0
    """
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Initial weights depend on the seed alone; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
