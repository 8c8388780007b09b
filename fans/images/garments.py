"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): from a folder of its four files, or through the hub."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fans.images.files import rows
from fans.images.request import Request, Split, padded, to_range

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
HUB = "zalando-datasets/fashion_mnist"
SIDE = 28
PARTS: dict[Split, tuple[str, slice]] = {
    "train": ("train", slice(0, 50_000)),
    "validation": ("train", slice(50_000, 60_000)),
    "test": ("t10k", slice(0, 10_000)),
}


def fashion(request: Request, *, folder: str | None = None) -> NDArray[np.float32]:
    """Garments of 28x28 pixels in random order without repetition, centred on an empty background."""
    if request.size < SIDE:
        raise ValueError(f"size={request.size} is too small for 'fashion': its images have {SIDE} pixels")
    file, part = PARTS[request.split]
    total = part.stop - part.start
    if request.count > total:
        raise ValueError(
            f"count={request.count} is too large for 'fashion': split {request.split!r} has {total} images"
        )
    place = DEBIAN if folder is None else Path(folder).expanduser()
    chosen = part.start + request.order(total)[: request.count]
    if folder is None and not place.is_dir():
        images = _from_hub(request, "test" if file == "t10k" else "train", chosen)
    else:
        images = _from_file(place / f"{file}-images-idx3-ubyte.gz")[chosen]
    return to_range(padded(images[:, None], request.size))


def _from_file(path: Path) -> NDArray[np.uint8]:
    """Images of an idx file, (N, 28, 28): a header of 16 bytes, then the pixels."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise FileNotFoundError(_help(f"cannot read {str(path)!r} ({error})")) from error
    if content[:4] != b"\x00\x00\x08\x03" or (len(content) - 16) % SIDE**2:
        raise ValueError(_help(f"{str(path)!r} is no idx file of {SIDE}x{SIDE} images"))
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, SIDE, SIDE)


def _from_hub(request: Request, split: str, chosen: NDArray[np.intp]) -> NDArray[np.uint8]:
    try:
        found: Any = rows(request, HUB, None, split)
    except (ConnectionError, FileNotFoundError, ValueError) as error:
        raise FileNotFoundError(_help(f"no folder {str(DEBIAN)!r}, and {error}")) from error
    return np.stack([np.asarray(image) for image in found[chosen.tolist()]["image"]])


def _help(what: str) -> str:
    return (
        f"{what}: install Debian's package dataset-fashion-mnist, or give folder= with"
        " train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz, or go on-line once"
    )
