"""Corrections that cost nothing: a filter on a sampler's output, or a last step of another size.

On Gaussian data both are exact. A network makes errors of its own, which a filter amplifies together with
the image where the sampler loses power.
"""

import torch
from torch import Tensor

from fans.diffusion import filtered
from fans.hub.scan import Scan


def output_filter(scan: Scan, *, most: float = float("inf")) -> Tensor:
    """``sqrt(C / P)``, P being the predicted power of samples; at most ``most``, and 1 where C is 0.

    >>> from fans.hub import scan
    >>> result = scan("DDIMScheduler", [1.0, 0.01], 10)
    >>> corrected = output_filter(result).square() * result.power
    >>> torch.allclose(corrected, result.spectrum)
    True
    """
    ratio = (scan.spectrum / scan.power).sqrt()
    return torch.where(scan.spectrum > 0, ratio, 1.0).clamp(max=most)


def corrected(images: Tensor, scan: Scan, *, most: float = float("inf")) -> Tensor:
    """Images (..., H, W) through the output filter of a scan over the plane (H, W//2 + 1)."""
    return filtered(images, output_filter(scan, most=most).to(images.dtype))


def last_step(scan: Scan, sigma: float) -> Tensor:
    """How much of the estimated noise the last step should take away, per frequency, instead of all.

    The last step of DDIM or Euler, from noise level sigma (of noise to signal), returns ``x - sigma eps_hat``
    for x scaled to ``x_0 + sigma eps``. With ``x - c sigma eps_hat``,

        c = (1 - G r) / (1 - G),   G = C / (C + sigma^2),   r = sqrt(C / P),

    the spectrum is that of the data. c falls below 1 where the sampler has lost power.

    >>> from fans.hub import scan
    >>> weight = last_step(scan("DDIMScheduler", [1.0, 0.01], 10), 0.1)
    >>> bool((weight < 1).all())
    True
    """
    G = scan.spectrum / (scan.spectrum + sigma**2)
    return (1 - G * output_filter(scan)) / (1 - G)
