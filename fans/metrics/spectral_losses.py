r"""Losses on the spectrum of images.

All work on the orthonormal DFT :math:`\hat x` of images x unless another norm is named. S(r) is the *reduced
spectrum*, the mean of :math:`|\hat x|^2` over ring r of ``fans.spectrum.radial_spectrum``, corners kept.
Everything is differentiable in the images except where it says detached.

Sources: the spectral loss is that of Schwarz, Liao and Geiger 2021 (NeurIPS), after Jung and Keuper 2021
(AAAI); the focal frequency loss that of Jiang, Dai, Wu and Loy 2021 (ICCV).
"""

import torch
from torch import Tensor

from fans._validation import known
from fans.spectrum import Norm, power_spectrum, radial_spectrum


def reduced_spectrum(x: Tensor, *, norm: Norm = "ortho") -> Tensor:
    """S(r) of each image, mean over its channels, (N, C, H, W) to (N, K).

    Args:
        x: images.
        norm: of the DFT, as for ``fans.spectrum.power_spectrum``; ``"backward"`` multiplies power by HW.

    >>> reduced_spectrum(torch.eye(8)[None, None]).shape
    torch.Size([1, 7])
    """
    pixels = x.shape[-2] * x.shape[-1]
    factor = {"ortho": 1, "backward": pixels, "forward": 1 / pixels}
    known("norm", norm, factor)
    power: Tensor = radial_spectrum(x).power.mean(1)
    return power * factor[norm]


def log_spectrum(x: Tensor, *, offset: float = 1.0, norm: Norm = "ortho") -> Tensor:
    """``log(offset + S(r))`` of each image, (N, K).

    It is not scale free: power far below the offset does not count. At 32 x 32 pixels, ``offset=1`` weighs
    S = 1e-3 like nothing for ``norm="ortho"``, but like the offset itself for ``norm="backward"``.

    >>> log_spectrum(torch.zeros(1, 1, 8, 8)).max().item()
    0.0
    """
    return torch.log(offset + reduced_spectrum(x, norm=norm))


def spectral_loss(
    generated: Tensor, real: Tensor, *, norm: Norm = "backward", pooled: bool = False
) -> Tensor:
    r"""Mean square difference of log spectra,

    .. math:: \frac1K \sum_r \left(\log(1 + S_x(r)) - \log(1 + S_y(r))\right)^2.

    Zero if and only if all rings have equal power: it knows no phase, no direction and no place.

    Args:
        generated, real: images x and y (N, C, H, W); pairs, unless pooled.
        norm: of the DFT, ``"backward"`` as in the released code of Schwarz et al.
        pooled: compare the mean spectra of both sets, which need no pairs and no equal numbers.

    Returns:
        Scalar.

    Raises:
        ValueError: other shapes, where pairs are needed.

    >>> spectral_loss(torch.ones(1, 1, 8, 8), -torch.ones(1, 1, 8, 8)).item()
    0.0
    """
    if not pooled:
        _check_pairs(generated, real)
        return (log_spectrum(generated, norm=norm) - log_spectrum(real, norm=norm)).square().mean()
    a, b = (torch.log1p(reduced_spectrum(images, norm=norm).mean(0)) for images in (generated, real))
    return (a - b).square().mean()


def focal_frequency_loss(generated: Tensor, real: Tensor, *, alpha: float = 1.0) -> Tensor:
    r"""Mean square difference of coefficients, those that are off the most weighted the most,

    .. math:: \frac1{HW} \sum_f w(f)\, |\hat x(f) - \hat y(f)|^2, \qquad
        w(f) = \frac{|\hat x(f) - \hat y(f)|^\alpha}{\max_f |\hat x(f) - \hat y(f)|^\alpha},

    mean over images and channels, each with its own maximum; w is detached. It favours hard frequencies, not
    high ones: with alpha = 0 it is the mean square error of pixels.

    Args:
        generated, real: pairs of images x and y (N, C, H, W).
        alpha: exponent of the weight, not negative.

    Returns:
        Scalar.

    Raises:
        ValueError: other shapes, or a negative exponent.

    >>> x, y = torch.eye(4)[None, None], torch.zeros(1, 1, 4, 4)
    >>> bool(torch.isclose(focal_frequency_loss(x, y, alpha=0.0), (x - y).square().mean()))
    True
    """
    _check_pairs(generated, real)
    if alpha < 0:
        raise ValueError(f"alpha={alpha}: must not be negative")
    distance = power_spectrum(generated - real)
    weight = distance.detach() ** (alpha / 2)
    peak = weight.amax((-2, -1), keepdim=True)
    loss: Tensor = (weight / torch.where(peak > 0, peak, 1) * distance).mean()
    return loss


def nearest(generated: Tensor, real: Tensor) -> Tensor:
    """The real image that is nearest to each generated one in mean square, (N, C, H, W).

    It makes pairs for losses that need them where a generator has none; the choice is detached.

    >>> nearest(torch.tensor([[1.0], [4.0]]), torch.tensor([[0.0], [5.0]])).tolist()
    [[0.0], [5.0]]
    """
    return real[torch.cdist(generated.detach().flatten(1), real.flatten(1)).argmin(1)]


def _check_pairs(generated: Tensor, real: Tensor) -> None:
    if generated.shape != real.shape:
        raise ValueError(
            f"images {tuple(generated.shape)} and {tuple(real.shape)}: must be pairs of one shape"
        )
