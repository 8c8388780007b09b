"""Networks against the spectral bias of GANs: carriers, spectral discriminators, translation.

Losses against it are in ``fans.metrics.spectral_losses``, which also defines the reduced spectrum S(r).

Sources:

- carriers: Khayatkhoei and Elgammal 2022 (AAAI);
- spectral discriminator: Schwarz, Liao and Geiger 2021 (NeurIPS), after Jung and Keuper 2021 (AAAI); with a
  linear layer on log magnitudes: Chen et al. 2021, SSD-GAN (AAAI);
- translation: the linear part of what Lee, Jung and Seo 2024 (AAAI) learn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from fans.metrics.spectral_losses import log_spectrum, reduced_spectrum
from fans.networks.layers import EqualisedLinear, seeded
from fans.spectrum import power_spectrum

Carrier = tuple[float, float]
# Those of the published generator of five branches, (f_y, f_x) in cycles per pixel of 128 pixels.
CARRIERS: tuple[Carrier, ...] = ((1 / 16, 0), (0, 1 / 16), (1 / 16, 1 / 16), (1 / 16, -1 / 16))


def shift(x: Tensor, carrier: Carrier, *, phase: float = 0.0) -> Tensor:
    r"""Move the spectrum of images by a carrier, :math:`x(m)\cos(2\pi f_c \cdot m + \varphi)`.

    Half of each coefficient goes to :math:`f + f_c`, half to :math:`f - f_c`. At (1/2, 1/2) both are the same
    and the carrier is :math:`(-1)^{m+n}`: what was at zero frequency is then at the corner.

    Args:
        x: images (..., H, W).
        carrier: (f_y, f_x), cycles per pixel.
        phase: radians; -pi/2 makes it a sine.

    >>> shift(torch.ones(2, 2), (0.5, 0.5)).round()
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in x.shape[-2:])
    turns = carrier[0] * rows[:, None] + carrier[1] * columns
    return x * torch.cos(2 * torch.pi * turns + phase).to(x.dtype).to(x.device)


class FrequencyShifted(nn.Module):
    r"""A generator of several images, each moved by its carrier, and added,

    .. math:: x = b_0 + \sum_j b_{2j-1} \cos(2\pi f_j \cdot m) + b_{2j} \sin(2\pi f_j \cdot m).

    Reduced from the source, where every branch is a network of its own with complex output: here branches
    share all layers but the last 1 x 1 convolution, so that parameters stay nearly the same. Whatever bias
    against frequencies far from zero the branches have is a bias against those far from a carrier.

    Args:
        network: whose images have (1 + 2J) C channels.
        carriers: f_j, J of them.

    >>> branches = FrequencyShifted(nn.Identity(), [(0.5, 0.5)])
    >>> branches(torch.ones(1, 3, 2, 2))[0, 0].round(decimals=3)
    tensor([[2., 0.],
            [0., 2.]])
    """

    def __init__(self, network: nn.Module, carriers: Sequence[Carrier] = CARRIERS) -> None:
        super().__init__()
        self.network, self.carriers = network, tuple(carriers)

    def forward(self, code: Tensor) -> Tensor:
        """Images (B, C, H, W).

        Raises:
            ValueError: the network's channels do not divide into one base and two branches a carrier.
        """
        channels = self.network(code)
        number = 1 + 2 * len(self.carriers)
        if channels.shape[1] % number:
            raise ValueError(
                f"{channels.shape[1]} channels for {len(self.carriers)} carriers: give the network {number}"
                " for each channel of the images"
            )
        base, *branches = channels.chunk(number, 1)
        for j, carrier in enumerate(self.carriers):
            base = base + shift(branches[2 * j], carrier)
            base = base + shift(branches[2 * j + 1], carrier, phase=-torch.pi / 2)
        images: Tensor = base
        return images


class SpectralDiscriminator(nn.Module):
    """Logits of the log spectra of images, by one hidden layer as wide as the spectrum (Schwarz et al. 2021).

    Args:
        size: pixels of the images.
        logits: numbers returned for an image.
        offset: of `log_spectrum`; the source has 1, a small one comes close to the log magnitudes of SSD-GAN.
        seed: of the initial weights.

    >>> SpectralDiscriminator(16, logits=3)(torch.ones(2, 1, 16, 16)).shape
    torch.Size([2, 3])
    """

    def __init__(self, size: int, *, logits: int = 1, offset: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        self.size, self.offset = size, offset
        rings = reduced_spectrum(torch.zeros(1, 1, size, size)).shape[1]
        with seeded(seed):
            self.hidden = EqualisedLinear(rings, rings)
            self.last = EqualisedLinear(rings, logits, gain=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, n) of images (B, C, H, W).

        Raises:
            ValueError: images of another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(f"images {tuple(x.shape)}: must have {self.size} x {self.size} pixels")
        hidden = leaky_relu(self.hidden(log_spectrum(x, offset=self.offset)), 0.2)
        logits: Tensor = self.last(hidden)
        return logits


class DualDiscriminator(nn.Module):
    """Mean of the logits of two discriminators, of pixels and of spectra, as SSD-GAN has it.

    In the released code of SSD-GAN the spectral score is detached: it moves the margins of the loss, but no
    gradient passes through it to an image. ``through=False`` is that; both networks learn from the one loss
    of their mean here, where the release trains the spectral one by a loss of its own.

    Args:
        spatial, spectral: the networks, of equally many logits.
        through: let gradients pass through the spectral logits to the images.

    >>> ones = DualDiscriminator(nn.Flatten(), SpectralDiscriminator(8, logits=64), through=False)
    >>> ones(torch.ones(1, 1, 8, 8)).shape
    torch.Size([1, 64])
    """

    def __init__(self, spatial: nn.Module, spectral: nn.Module, *, through: bool = True) -> None:
        super().__init__()
        self.spatial, self.spectral, self.through = spatial, spectral, through

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, n) of images (B, C, H, W)."""
        logits: Tensor = (self.spatial(x) + self.spectral(x if self.through else x.detach())) / 2
        return logits


def translation_gain(generated: Tensor, real: Tensor) -> Tensor:
    r"""Gain per frequency that brings generated images to the mean power of real ones,

    .. math:: g(f) = \sqrt{\overline{|\hat x_\mathrm{real}(f)|^2} \,/\,
        \overline{|\hat x_\mathrm{generated}(f)|^2}}.

    The means go over images, for each channel. Both sets must be other images than those that are judged with
    the result, or it fits their noise.

    Args:
        generated, real: (N, C, H, W) and (M, C, H, W).

    Returns:
        float64 (C, H, W//2 + 1) on the CPU; 0 where neither has power.

    Raises:
        ValueError: other sizes, or a frequency that only the real images have.
    """
    if generated.shape[1:] != real.shape[1:]:
        raise ValueError(f"images {tuple(generated.shape)} and {tuple(real.shape)}: must be of one size")
    half = real.shape[-1] // 2 + 1
    # On the CPU, since some accelerators have no double precision.
    p, q = (power_spectrum(x.cpu().double()).mean(0)[..., :half] for x in (generated, real))
    if bool(((p == 0) & (q > 0)).any()):
        raise ValueError("the generated images have no power at a frequency of the real ones: no gain helps")
    gain: Tensor = torch.where(p > 0, q / torch.where(p > 0, p, 1), 0).sqrt()
    return gain


def translate(x: Tensor, gain: Tensor) -> Tensor:
    """Multiply the coefficients of images by a gain; their phases stay.

    Args:
        x: (N, C, H, W).
        gain: as from `translation_gain`.

    >>> x = torch.rand(4, 1, 8, 8)
    >>> bool(torch.allclose(translate(x, torch.full((1, 8, 5), 2.0)), 2 * x, atol=1e-6))
    True
    """
    spectrum = torch.fft.rfft2(x.cpu().double(), norm="ortho") * gain.cpu()
    images: Tensor = torch.fft.irfft2(spectrum, s=x.shape[-2:], norm="ortho")
    return images.to(x.dtype).to(x.device)
