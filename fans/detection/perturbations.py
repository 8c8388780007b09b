"""What happens to pictures on their way: JPEG compression, resizing and blur, each with a stated parameter.

Detectors of generated images are tested on images that went through these (``fans.detection``).
"""

import io
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from fans._validation import require
from fans.metrics.band_powers import ImageArray
from fans.metrics.features import checked

Distortion = Callable[[Tensor], Tensor]


def jpeg(images: ImageArray, *, quality: int) -> Tensor:
    """Images after JPEG compression by Pillow, with its defaults: 4:2:0 chroma at all qualities.

    Values are clipped to [-1, 1] and rounded to 8 bits first.

    Args:
        images: (N, C, H, W), floating point, in [-1, 1], of 1 or 3 channels.
        quality: Of Pillow, 1 to 95.

    Returns:
        The same shape, on the CPU.

    Raises:
        TypeError, ValueError: Images as for ``fans.metrics.features.checked``, other channels or another
            quality.
        ImportError: Pillow is missing.

    Example:
        >>> noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
        >>> errors = [(jpeg(noise, quality=q) - noise).square().mean().item() for q in (90, 50)]
        >>> errors[0] < errors[1]
        True
    """
    x = checked(images)
    if x.shape[1] not in (1, 3) or not 1 <= quality <= 95:
        raise ValueError(
            f"JPEG needs 1 or 3 channels and a quality of 1 to 95, got {x.shape[1]} channels and {quality}"
        )
    pillow = require("PIL.Image", package="pillow", name="JPEG images", extra="metrics")
    levels = ((x.cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    read = []
    for image in levels.numpy():
        file = io.BytesIO()
        pillow.fromarray(image.squeeze(-1) if x.shape[1] == 1 else image).save(file, "JPEG", quality=quality)
        read.append(np.atleast_3d(np.asarray(pillow.open(file))))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).to(x.dtype) / 127.5 - 1


def resized(images: ImageArray, *, factor: float) -> Tensor:
    """Images made smaller by a factor and brought back to their size, bicubic with antialiasing, as Pillow's.

    Args:
        images: (N, C, H, W), floating point.
        factor: Of height and width, between 0 and 1; the small size is rounded to whole pixels.

    Returns:
        The same shape, on the CPU.

    Raises:
        TypeError, ValueError: Images as for ``fans.metrics.features.checked``, a factor out of range or so
            small that no pixel is left.

    Example:
        >>> stripes = torch.tensor([-1.0, 1.0]).repeat(8).expand(1, 1, 16, 16)  # at the Nyquist frequency
        >>> bool(resized(stripes, factor=0.5)[..., 4:-4].abs().max() < 0.1)
        True
    """
    x = checked(images)
    small = [round(factor * n) for n in x.shape[-2:]]
    if not 0 < factor < 1 or min(small) < 1:
        raise ValueError(
            f"factor={factor} must lie between 0 and 1 and leave a pixel of {tuple(x.shape[-2:])}"
        )
    for size in (small, list(x.shape[-2:])):
        x = interpolate(x.cpu(), size, mode="bicubic", antialias=True)
    return x


def blurred(images: ImageArray, *, sigma: float) -> Tensor:
    r"""Images after a Gaussian blur, mirrored at the border.

    Along either axis the gain is that of a sampled Gaussian,

    .. math:: G(f) \propto \sum_{n=-\infty}^\infty e^{-2 \pi^2 \sigma^2 (f + n)^2}, \qquad G(0) = 1,

    of which n = 0 is enough from a sigma of about 1; at 0.5 the term n = -1 doubles it at f = 1/2.

    Args:
        images: (N, C, H, W), floating point.
        sigma: Standard deviation in pixels, positive. The kernel ends after four of them.

    Returns:
        The same shape, on the CPU.

    Raises:
        TypeError, ValueError: Images as for ``fans.metrics.features.checked``, or sigma not positive.

    Example:
        >>> stripes = torch.tensor([1.0, 0.0, -1.0, 0.0]).repeat(8).expand(1, 1, 32, 32)  # f = 1/4
        >>> round(blurred(stripes, sigma=1)[0, 0, 0, 16].item(), 3), round(float(np.exp(-(np.pi**2) / 8)), 3)
        (0.291, 0.291)
    """
    if not sigma > 0:
        raise ValueError(f"sigma={sigma} must be positive")
    return torch.from_numpy(ndimage.gaussian_filter(checked(images).cpu().numpy(), (0, 0, sigma, sigma)))


PERTURBATIONS: Mapping[str, Distortion] = {
    "JPEG quality 90": partial(jpeg, quality=90),
    "JPEG quality 50": partial(jpeg, quality=50),
    "resized by 3/4 and back": partial(resized, factor=0.75),
    "resized by 1/2 and back": partial(resized, factor=0.5),
    "blurred by 0.5 pixels": partial(blurred, sigma=0.5),
    "blurred by 1 pixel": partial(blurred, sigma=1.0),
}
