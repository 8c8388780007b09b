"""The generative CNN as formulas: layers, rectifiers as masks, and the one filter of a chain without them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from fans._validation import known
from fans.filters.correlation import filter_spectrum
from fans.filters.upsampling import METHODS, Upsampling, factor, repeated, upsample, upsampling_gain
from fans.spectrum import Size

Filters = Sequence[Tensor]
Upsamplings = Upsampling | Sequence[Upsampling]


def convolve(maps: Tensor, filters: Tensor) -> Tensor:
    r"""Circular convolution, summed over channels.

    .. math:: y^i(n) = \sum_c \sum_m F^{ic}(m)\, x^c(n - m), \qquad \hat y^i = \sum_c \hat F^{ic} \hat x^c

    with the responses of `filter_spectrum`. (``torch.nn.Conv2d`` has n + m and another origin.)

    Args:
        maps: (B, C, H, W).
        filters: (I, C, k, k), tap [0, 0] at the origin; larger than the maps if need be.

    Returns:
        (B, I, H, W).

    >>> shift = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    >>> convolve(torch.tensor([[[[1.0, 2.0, 3.0]]]]), shift).tolist()
    [[[[3.0, 1.0, 2.0]]]]
    """
    if filters.ndim != 4 or maps.ndim != 4 or filters.shape[1] != maps.shape[1]:
        raise ValueError(
            "maps (B, C, H, W) need filters (I, C, k, k) with the same C, got"
            f" {tuple(maps.shape)} and {tuple(filters.shape)}"
        )
    rows, columns = (
        torch.arange(1 - taps, pixels, device=maps.device) % pixels
        for taps, pixels in zip(filters.shape[-2:], maps.shape[-2:], strict=True)
    )
    return conv2d(maps[..., rows[:, None], columns], filters.flip(-2, -1))


def relu_mask(maps: Tensor) -> Tensor:
    """Where ReLU lets maps pass: 1 where they are positive, otherwise 0."""
    return (maps > 0).to(maps.dtype)


def rectify(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""ReLU as a product with a mask: the maps' own, or one that is held fixed.

    It makes new frequencies, in either case: the product convolves the spectra of maps and mask. What a fixed
    mask does not do is change with the weights.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> torch.equal(rectify(x), x.relu())
    True
    """
    return maps * (relu_mask(maps) if mask is None else mask)


def generative_layer(
    maps: Tensor, filters: Tensor, *, upsampling: Upsampling = "nearest", mask: Tensor | None = None
) -> Tensor:
    r"""One layer of the generator, :math:`H_{l+1}^i = \sum_c F_l^{ic} * \mathrm{Up}(\sigma(H_l^c))`.

    Args:
        maps: H_l, (B, C, H, W); (B, 4C, H, W) for ``upsampling="shuffle"``.
        filters: F_l, (I, C, k, k).
        upsampling: Up, as for `upsample`.
        mask: in place of the rectifier's own, of the shape of maps, or ones for a linear layer.

    Returns:
        H_{l+1}, (B, I, 2H, 2W).

    >>> generative_layer(torch.rand(2, 3, 8, 8), torch.rand(5, 3, 3, 3)).shape
    torch.Size([2, 5, 16, 16])
    """
    return convolve(upsample(rectify(maps, mask), upsampling), filters)


def feature_maps(
    latent: Tensor,
    filters: Filters,
    *,
    upsampling: Upsamplings = "nearest",
    masks: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """All maps of a generator, H_1 (the latent) to H_{L+1} (its output), before rectification.

    With masks held fixed, the output is linear in the latent and in the filters of each single layer, so that
    it is a polynomial of all weights.

    Args:
        latent: H_1, (B, C, H, W).
        filters: of each of L layers, (I, C, k, k).
        upsampling: of all layers, or of each.
        masks: of each layer, in place of the rectifiers' own.

    >>> maps = feature_maps(torch.rand(1, 2, 4, 4), [torch.rand(3, 2, 3, 3), torch.rand(1, 3, 3, 3)])
    >>> [tuple(h.shape[1:]) for h in maps]
    [(2, 4, 4), (3, 8, 8), (1, 16, 16)]
    """
    each = _one_per_layer(upsampling, filters)
    if masks is not None and len(masks) != len(filters):
        raise ValueError(f"{len(masks)} masks for {len(filters)} layers: give one for each")
    maps = [latent]
    for l, weights in enumerate(filters):
        mask = None if masks is None else masks[l]
        maps.append(generative_layer(maps[-1], weights, upsampling=each[l], mask=mask))
    return maps


def flip_distance(
    latent: Tensor,
    filters: Filters,
    direction: Tensor,
    *,
    layer: int,
    upsampling: Upsamplings = "nearest",
) -> float:
    r"""How far one layer's filters can move along a direction before any rectifier switches.

    Up to that t the masks are fixed, and all maps are linear in t: :math:`h(t) = h + t h'`. So

    .. math:: t^* = \min \{-h / h' : h > 0 > h' \text{ or } h \le 0 < h'\}

    over all pixels of all maps that are rectified, exactly. It is positive for almost all weights, and zero
    for some, e.g. zero weights: then no neighbourhood of the weights has fixed masks.

    Args:
        latent: H_1, (B, C, H, W); the distance is the smallest over the batch.
        filters: of each of L layers, (I, C, k, k).
        direction: of the shape of ``filters[layer]``; distances are multiples of it.
        layer: which layer's filters move, 0 ... L-1.
        upsampling: of all layers, or of each.

    Returns:
        t*, infinite if no mask can switch, as for the last layer, whose output is not rectified.

    >>> latent, filters = torch.ones(1, 1, 2, 2), [torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)]
    >>> flip_distance(latent, filters, torch.full((1, 1, 1, 1), -2.0), layer=0)
    0.5
    """
    if not 0 <= layer < len(filters):
        raise ValueError(f"layer={layer}: must be 0 ... {len(filters) - 1}")
    if direction.shape != filters[layer].shape:
        shapes = [tuple(x.shape) for x in (filters[layer], direction)]
        raise ValueError(f"direction must have the filters' shape {shapes[0]}, got {shapes[1]}")
    maps = feature_maps(latent, filters, upsampling=upsampling)[:-1]
    masks = [relu_mask(h) for h in maps]
    moved = [*filters[:layer], filters[layer] + direction, *filters[layer + 1 :]]
    after = feature_maps(latent, moved, upsampling=upsampling, masks=masks)[:-1]
    distances = [_first_zero(h, there - h) for h, there in zip(maps, after, strict=True)]
    return min(distances)


def _first_zero(h: Tensor, slope: Tensor) -> float:
    """Smallest t >= 0 at which some ``h + t slope`` stops or starts being positive."""
    leaves = torch.where(h > 0, slope < 0, slope > 0)
    return float(torch.where(leaves, (h / slope).abs(), torch.inf).amin())


def effective_filter(filters: Filters, size: Size, *, upsampling: Upsamplings = "nearest") -> Tensor:
    r"""The one response of a linear chain of layers, which have masks of ones.

    .. math:: E_l(w) = F_l(w)\, G_l(w)\, E_{l-1}(w \bmod d_{l-1}), \qquad
        \hat H_{L+1}(w) = E_L(w)\, \hat H_1(w \bmod d_0)

    with the responses F of `filter_spectrum` and the gains G of `upsampling_gain`, matrices between channels,
    and a DFT without normalisation. The response of layer l is repeated by all later ones: only layers on
    a large grid can treat a high frequency otherwise than the low one that it is a repetition of.

    Args:
        filters: of each of L layers, (I, C, k, k).
        size: (H, W) of the latent.
        upsampling: of all layers, or of each.

    Returns:
        complex128 (I, C, H', W'), from channels of the latent to those of the output, on the output's grid.

    >>> points = [torch.ones(1, 1, 1, 1)] * 3
    >>> bool((effective_filter(points, (4, 4), upsampling="zeros") == torch.ones(32, 32)).all())
    True
    """
    each = _one_per_layer(upsampling, filters)
    channels = filters[0].shape[1] * (4 if each[0] == "shuffle" else 1)
    effective = torch.eye(channels, dtype=torch.complex128)[..., None, None].repeat(1, 1, *size)
    for weights, method in zip(filters, each, strict=True):
        gain = upsampling_gain(method, (effective.shape[-2], effective.shape[-1]))  # (J, H, W)
        copies = repeated(effective, factor(method))
        copies = copies.reshape(-1, len(gain), *copies.shape[1:])  # (C, J, C_0, H, W)
        response = filter_spectrum(weights, (gain.shape[-2], gain.shape[-1]))
        effective = torch.einsum("ichw,jhw,cjxhw->ixhw", response, gain, copies)
    return effective


def _one_per_layer(upsampling: Upsamplings, filters: Filters) -> list[Upsampling]:
    if not filters:
        raise ValueError("a generator has at least one layer: filters is empty")
    each: list[Upsampling] = [upsampling] * len(filters) if isinstance(upsampling, str) else list(upsampling)
    if len(each) != len(filters):
        raise ValueError(f"{len(each)} upsamplings for {len(filters)} layers: give one for all, or for each")
    for method in each:
        known("upsampling", method, METHODS)
    return each
