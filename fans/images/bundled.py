"""Photographs, textures and digits that come inside scikit-image and scikit-learn: nothing is downloaded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fans._validation import known, require
from fans.images.request import Request, Split, crop, padded, to_range

Pixels = NDArray[np.uint8]

# Only photographs whose licence the packages state. Train and test have smooth and rough (china, rocket).
PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut", "chelsea", "china", "flower"),
    "test": ("coffee", "rocket"),
    "validation": ("camera",),  # grey: the packages have no further colour photograph of stated licence
}
FROM_SCIKIT_LEARN = ("china", "flower")
DIGITS: dict[Split, slice] = {  # of 1797: about two thirds, a fifth, and the rest
    "train": slice(0, 1200),
    "validation": slice(1200, 1437),
    "test": slice(1437, 1797),
}


def photographs(request: Request, *, only: str | None = None) -> NDArray[np.float32]:
    """Random crops of photographs, each photograph as likely as the next; a split owns its photographs."""
    chosen = PHOTOGRAPHS[request.split]
    if only is not None:
        known("only", only, chosen)
        chosen = (only,)
    return _crops(request, [_picture(request, name) for name in chosen], chosen)


def parted(request: Request) -> NDArray[np.float32]:
    """Random crops of a part of a picture, at least ``size`` pixels apart from the other parts.

    Train is the left half, test the upper right quarter, validation the lower right.
    """
    name = "hubble_deep_field" if request.name == "hubble" else request.name
    picture, size = _picture(request, name), request.size
    rows, columns = picture.shape[1:]
    if size > min(rows, columns) // 3:
        raise ValueError(
            f"size={size} is too large for {request.name!r}: its picture is {columns}x{rows} pixels and keeps"
            f" a gap of one size between its parts, so at most size={min(rows, columns) // 3}"
        )
    half, quarter = (columns - size) // 2, (rows - size) // 2
    part = {
        "train": picture[:, :, :half],
        "test": picture[:, :quarter, -half:],
        "validation": picture[:, -quarter:, -half:],
    }
    return _crops(request, [part[request.split]], [name])


def digits(request: Request) -> NDArray[np.float32]:
    """Handwritten digits of 8x8 pixels in random order without repetition, centred on an empty background."""
    source = require("sklearn.datasets", package="scikit-learn", name=repr(request.name), extra="images")
    part = source.load_digits().images[DIGITS[request.split]]  # (n, 8, 8), 0..16
    if request.count > len(part):
        raise ValueError(
            f"count={request.count} is too large for 'digits': split {request.split!r} has {len(part)} images"
        )
    chosen = part[request.order(len(part))[: request.count], None]
    return to_range(padded(chosen, request.size), white=16.0)


def _crops(request: Request, pictures: Sequence[Pixels], names: Sequence[str]) -> NDArray[np.float32]:
    sides = [min(picture.shape[1:]) for picture in pictures]
    if request.size > min(sides):
        raise ValueError(
            f"size={request.size} is too large for {request.name!r}: split {request.split!r} allows at most "
            f"size={min(sides)} (the shorter side of {names[int(np.argmin(sides))]})"
        )

    def draw(rng: np.random.Generator) -> NDArray[np.float32]:
        return to_range(crop(rng, pictures[int(rng.integers(len(pictures)))], request.size))

    return request.stack(draw)


def _picture(request: Request, name: str) -> Pixels:
    if name in FROM_SCIKIT_LEARN:
        source = require("sklearn.datasets", package="scikit-learn", name=repr(request.name), extra="images")
        pixels = source.load_sample_image(f"{name}.jpg")
    else:
        source = require("skimage.data", package="scikit-image", name=repr(request.name), extra="images")
        pixels = getattr(source, name)()
    planes = np.moveaxis(np.atleast_3d(pixels), -1, 0)  # (C, H, W)
    return np.repeat(planes, 3, axis=0) if name in PHOTOGRAPHS["validation"] else planes
