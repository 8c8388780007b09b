"""A directory of images that are slow to draw.

A file is an ordinary .npy array followed by the SHA-256 of its key and its bytes. ``numpy.load`` ignores what
follows the array; here it tells whether the file is whole and belongs to the key.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
SEAL = sha256().digest_size


def cache_directory() -> Path:
    """Where images are cached: ``$FANS_CACHE``, else ``fans`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("FANS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fans"


def cached(prefix: str, key: str, count: int, draw: Callable[[int], Images]) -> Images:
    """The images ``draw(0) .. draw(count - 1)``, from the cache as far as it goes.

    A file holds the first images of its key. A smaller count takes a part of them; a larger one draws only
    what is missing and stores the longer list. A damaged or foreign file counts as empty.

    Args:
        prefix: Start of the file name, for people who look into the directory.
        key: Everything that ``draw`` depends on besides the index.
        count: Number of images.
        draw: Draws one image from its index.

    Returns:
        (count, ...) images.
    """
    path = cache_directory() / f"{prefix}-{sha256(key.encode()).hexdigest()[:20]}.npy"
    stored = _read(path, key)
    known = 0 if stored is None else len(stored)
    if stored is not None and known >= count:
        return stored[:count]
    fresh = np.stack([draw(i) for i in range(known, count)])
    images = fresh if stored is None else np.concatenate([stored, fresh])
    _write(path, key, images)
    return images


def _seal(key: str, body: bytes) -> bytes:
    return sha256(key.encode() + b"\0" + body).digest()


def _read(path: Path, key: str) -> Images | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    body = stored[:-SEAL]
    if stored[-SEAL:] != _seal(key, body):
        return None
    images: Images = np.load(io.BytesIO(body), allow_pickle=False)
    return images


def _write(path: Path, key: str, images: Images) -> None:
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    body = buffer.getvalue()
    # A name of its own in the same directory: two processes never share it, and the replacement is atomic.
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as handle:
            handle.write(body + _seal(key, body))
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        warnings.warn(f"images are not cached: {error}; set FANS_CACHE to a writable directory", stacklevel=2)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
