"""Photographs, textures and digits that come inside scikit-image and scikit-learn: nothing is downloaded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fans._validation import known, require
from fans.images.request import Request, Split, crop, to_range

Pixels = NDArray[np.uint8]

# Only photographs whose licence the packages state. Each split has smooth and rough ones (china, rocket).
PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut", "chelsea", "china", "flower"),
    "test": ("coffee", "rocket"),
}
FROM_SCIKIT_LEARN = ("china", "flower")
DIGITS_FOR_TRAINING = 1437  # the first four fifths of 1797


def photographs(request: Request, *, only: str | None = None) -> NDArray[np.float32]:
    """Random crops of photographs, each photograph as likely as the next; a split owns its photographs."""
    chosen = PHOTOGRAPHS[request.split]
    if only is not None:
        known("only", only, chosen)
        chosen = (only,)
    return _crops(request, [_picture(request, name) for name in chosen], chosen)


def halved(request: Request) -> NDArray[np.float32]:
    """Random crops of the left (train) or right (test) part of a picture, at least ``size`` pixels apart."""
    name = "hubble_deep_field" if request.name == "hubble" else request.name
    picture = _picture(request, name)
    columns, size = picture.shape[2], request.size
    if size > columns // 3:
        raise ValueError(
            f"size={size} is too large for {request.name!r}: its picture is {columns} pixels wide and keeps "
            f"a gap of one size between the training and the test part, so at most size={columns // 3}"
        )
    half = (columns - size) // 2
    part = picture[:, :, :half] if request.split == "train" else picture[:, :, -half:]
    return _crops(request, [part], [name])


def digits(request: Request) -> NDArray[np.float32]:
    """Handwritten digits of 8x8 pixels in random order without repetition, centred on an empty background."""
    source = require("sklearn.datasets", package="scikit-learn", name=repr(request.name), extra="images")
    images = source.load_digits().images  # (1797, 8, 8), 0..16
    part = images[:DIGITS_FOR_TRAINING] if request.split == "train" else images[DIGITS_FOR_TRAINING:]
    if request.count > len(part):
        raise ValueError(
            f"count={request.count} is too large for 'digits': split {request.split!r} has {len(part)} images"
        )
    before = (request.size - images.shape[1]) // 2
    after = request.size - images.shape[1] - before
    chosen = part[request.order(len(part))[: request.count], None]
    return to_range(np.pad(chosen, ((0, 0), (0, 0), (before, after), (before, after))), white=16.0)


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
    return np.moveaxis(np.atleast_3d(pixels), -1, 0)  # (C, H, W)
