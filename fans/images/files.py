"""A user's own images: a folder, or a data set of the Hugging Face hub."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fans._validation import known, require, whole
from fans.images.request import Request, Split, crop, to_range

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def folder(request: Request, *, channels: int = 3, holdout: int = 5) -> NDArray[np.float32]:
    """Random crops of the images below a folder.

    Of every ``holdout`` images in order of path the last is for testing, the one before it for validation.
    """
    known("channels", channels, (1, 3))
    holdout = whole("holdout", holdout, low=0)
    if holdout in (1, 2):
        raise ValueError(
            f"holdout={holdout} leaves nothing to train on: give 3 or more, or 0 to keep all for training"
        )
    root = Path(request.target).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {str(root)!r}: write 'folder:PATH' with a folder of images")
    paths = listing(root)
    if not paths:
        raise FileNotFoundError(f"no images in {str(root)!r} or below it: looked for {', '.join(SUFFIXES)}")
    chosen = [path for i, path in enumerate(paths) if _split_of(i, holdout) == request.split]
    if not chosen:
        raise ValueError(
            f"{request.name!r} has no {request.split} images: it has {len(paths)}, of which every "
            f"holdout={holdout}-th is for testing and the one before it for validation; change "
            "holdout (0 keeps all for training) or add images"
        )
    pillow = require("PIL.Image", package="pillow", name=repr(request.name), extra="images")

    def read(i: int) -> Any:
        # Taking the bytes first leaves no file open when Pillow gives up on a damaged one.
        return pillow.open(io.BytesIO(chosen[i].read_bytes()))

    return _fill(request, [str(path) for path in chosen], read, channels)


def hub(
    request: Request,
    *,
    channels: int = 3,
    column: str | None = None,
    config: str | None = None,
    hub_split: str | Mapping[str, str] | None = None,
) -> NDArray[np.float32]:
    """Random crops of a hub data set's images; ``hub_split`` is the hub's name of our split, or of both."""
    known("channels", channels, (1, 3))
    part = hub_split.get(request.split) if isinstance(hub_split, Mapping) else hub_split
    part = part or request.split
    table = rows(request, request.target, config, part)
    if not len(table):
        raise ValueError(f"split {part!r} of {request.name!r} has no rows: choose another with hub_split=...")
    key = _image_column(request, table, column)
    labels = [f"row {i} of {request.name}" for i in range(len(table))]
    return _fill(request, labels, lambda i: table[i][key], channels)


def listing(root: Path) -> list[Path]:
    # Hidden files are skipped: macOS leaves a "._photo.png" beside photo.png that is no image.
    found = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(root).parts))


def _split_of(position: int, holdout: int) -> Split:
    held_out: dict[int, Split] = {holdout - 1: "test", holdout - 2: "validation"}
    return held_out.get(position % holdout, "train") if holdout else "train"


def _fill(
    request: Request, labels: list[str], read: Callable[[int], Any], channels: int
) -> NDArray[np.float32]:
    """Image i is a crop of original ``order[i % total]``; an original is read once for all of its crops."""
    upright = require(
        "PIL.ImageOps", package="pillow", name=repr(request.name), extra="images"
    ).exif_transpose
    size, total = request.size, len(labels)
    images = np.empty((request.count, channels, size, size), np.float32)
    for first, original in enumerate(request.order(total)[: request.count].tolist()):
        label = labels[original]
        # Pillow meets damage with OSError, SyntaxError, ValueError, struct.error and more.
        try:
            picture = _pixels(upright(read(original)), channels)
        except Exception as error:
            raise ValueError(f"cannot read {label}: {error}; replace or remove it") from error
        uses = range(first, request.count, total)
        _check_extent(request, label, picture.shape[1:], total if len(uses) > 1 else None)
        for i in uses:
            images[i] = crop(request.rng(i), picture, size)
    return images


def _check_extent(request: Request, label: str, extent: tuple[int, ...], repeated_of: int | None) -> None:
    height, width = extent
    if min(height, width) < request.size:
        raise ValueError(
            f"{label} is {width}x{height} pixels, smaller than size={request.size}: lower size or remove it"
        )
    if repeated_of is not None and height == width == request.size:
        raise ValueError(
            f"count={request.count} asks for more than the {repeated_of} images of {request.name!r}, and "
            f"{label} is exactly size={request.size}, so that it would come twice: lower count or size"
        )


def _pixels(image: Any, channels: int) -> NDArray[np.float32]:
    """A Pillow image as (channels, H, W) in [-1, 1]; transparency is dropped, gray is ITU-R 601 luma."""
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion would clip these to 8 bits
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"mode {image.mode} is neither 8- nor 16-bit integer, convert the image")
        return np.repeat(to_range(values, white=65535.0)[None], channels, axis=0)
    if "transparency" in image.info:  # a palette with transparency warns unless it passes through RGBA
        image = image.convert("RGBA")
    values = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return to_range(np.moveaxis(np.atleast_3d(values), -1, 0))


def rows(request: Request, target: str, config: str | None, split: str) -> Any:
    """The rows of a split of a hub data set; failures come as one of three types, with advice."""
    library = require("datasets", package="datasets", name=repr(request.name), extra="images")
    # The library reports failure by many types: keep the two that a caller may want to tell apart.
    try:
        return library.load_dataset(target, config, split=split)
    except Exception as error:
        kinds = (k for k in (ConnectionError, FileNotFoundError) if isinstance(error, k))
        raise next(kinds, ValueError)(
            f"cannot load split {split!r} of {target!r} from the hub: check the name and the network "
            f"(and options config and hub_split), or download the images and use 'folder:PATH' ({error})"
        ) from error


def _image_column(request: Request, table: Any, column: str | None) -> str:
    image = require("datasets", package="datasets", name=repr(request.name), extra="images").Image
    found: list[str] = [name for name, feature in table.features.items() if isinstance(feature, image)]
    if column is None and len(found) == 1:
        return found[0]
    if column is not None and column in found:
        return column
    given = "no column was given" if column is None else f"column={column!r} is not one of them"
    raise ValueError(
        f"{request.name!r} has {len(found)} image columns ({', '.join(found) or 'none'}) among "
        f"{', '.join(table.features)}, and {given}: choose one with column=..."
    )
