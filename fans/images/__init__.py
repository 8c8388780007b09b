"""Where pictures come from: bundled photographs and textures, synthetic fields, a folder, hub data sets.

Every data set is a tensor (N, C, H, W) in [-1, 1], and image i depends on the seed, the split and i alone:

>>> from fans import images
>>> few = images.load("power_law", size=32, count=4)
>>> many = images.load("power_law", size=32, count=8)
>>> bool((many[:4] == few).all())
True
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fans._validation import known, whole
from fans.images import bundled, files, galaxies, garments, leaves, synthetic
from fans.images.cache import cache_directory
from fans.images.cards import CARDS, Card, Kind
from fans.images.request import SMALLEST, SPLITS, Request, Split
from fans.images.synthetic import mixture_spectra, power_law_spectrum, rings_spectrum

__all__ = [
    "Card",
    "Kind",
    "Split",
    "cache_directory",
    "card",
    "load",
    "mixture_spectra",
    "names",
    "power_law_spectrum",
    "rings_spectrum",
]

_LOADERS: dict[str, Callable[..., NDArray[np.float32]]] = {
    "photographs": bundled.photographs,
    "brick": bundled.parted,
    "grass": bundled.parted,
    "gravel": bundled.parted,
    "hubble": bundled.parted,
    "galaxies": galaxies.galaxies,
    "stars": synthetic.stars,
    "digits": bundled.digits,
    "power_law": synthetic.power_law,
    "pltb": synthetic.pltb,
    "egm": synthetic.egm,
    "rings": synthetic.rings,
    "mixture": synthetic.mixture,
    "dead_leaves": leaves.dead_leaves,
    "fashion": garments.fashion,
    "folder:PATH": files.folder,
    "hub:DATASET": files.hub,
}


def names() -> tuple[str, ...]:
    """The names that ``load`` and ``card`` know.

    ``folder:PATH`` and ``hub:DATASET`` stand for any path and any data set of the hub.

    Example:
        >>> names()[:3]
        ('photographs', 'brick', 'grass')
    """
    return tuple(_LOADERS)


def card(name: str) -> Card:
    """The provenance of a data set: title, number of originals, licence, attribution, caveats.

    Args:
        name: As for ``load``.

    Raises:
        ValueError: Unknown name.

    Example:
        >>> card("brick").licence
        'CC0'
    """
    return CARDS[_entry(name)[0]]


def load(
    name: str, *, size: int = 64, count: int = 256, seed: int = 0, split: Split = "train", **options: Any
) -> torch.Tensor:
    """Load or draw images.

    Image i depends on (seed, split, i) only, so a smaller count gives the first images of a larger one.
    Nothing is ever resampled: pictures are cropped, digits are padded. Options by name:

    - ``photographs``: ``only`` (one photograph of the split, such as "china").
    - ``galaxies``: ``noise=0.005`` (standard deviation relative to the peak); noiseless images are cached in
      ``cache_directory()``.
    - ``stars``: ``fwhm=2.5`` (pixels), ``noise=0.005``, ``density=0.01`` (stars per pixel).
    - ``power_law``: ``alpha=2.0``, ``scale=1``; scale=1 gives a periodic field whose expected periodogram is
      ``power_law_spectrum``; a larger scale crops from a field that many times larger, which has structure
      beyond the frame, as a photograph has.
    - ``pltb``: ``alpha=1.0``, ``normalise=True`` (each image to mean 0 and standard deviation 0.2).
    - ``rings``: ``frequencies=(0.1, 0.4)`` and ``width=0.03`` (cycles per pixel), ``floor=1e-4`` (relative);
      the expected periodogram is ``rings_spectrum``.
    - ``mixture``: ``alphas=(2.0,)``, ``decibels=(0, -7.5, -15, -22.5, -30)``; one component for each pair,
      all drawn equally often; their expected periodograms are ``mixture_spectra``.
    - ``dead_leaves``: ``channels=3`` (or 1), ``radii=(1.0, 32.0)`` (pixels; the density falls as r^-3),
      ``oversampling=2`` (a pixel is the mean over so many points squared).
    - ``fashion``: ``folder`` (with the idx files; by default that of Debian's package dataset-fashion-mnist,
      else the hub).
    - ``folder:PATH``: ``channels=3`` (or 1), ``holdout=5`` (of every five files in order of path the last is
      for testing, the one before it for validation; 0 keeps all for training).
    - ``hub:DATASET``: ``channels=3`` (or 1), ``column`` (needed when there are several image columns),
      ``config``, ``hub_split`` (the hub's name of the split, such as "validation" or "train[:80%]", or of
      both in a dict: ``{"train": "train[:80%]", "test": "train[80%:]"}``).

    Values beyond +-1 are clipped. This is rare by design: synthetic textures have an expected standard
    deviation of 0.2; skies lie at -0.5 and peaks at +0.5, which leaves noise of 0.1 five deviations of room.

    Args:
        name: One of ``names()``, with a path or a hub data set after ``folder:`` or ``hub:``.
        size: Height and width in pixels, at least 8.
        count: Number of images N.
        seed: Seed, not negative.
        split: ``"train"``, ``"test"`` or ``"validation"``. They share no photograph, no part of a texture,
            no digit and no random stream.
        **options: Options of that name, see above.

    Returns:
        (N, C, H, W) float32 in [-1, 1].

    Raises:
        TypeError: An argument of the wrong type, or an option that the name does not have.
        ValueError: Unknown name or split, size or count too large for the source, an option out of range,
            an image that cannot be read or is smaller than ``size``.
        FileNotFoundError: No such folder, no images in it, or no such hub data set.
        ConnectionError: The hub cannot be reached.
        ImportError: An optional package is missing.

    Example:
        >>> tuple(load("rings", size=32, count=5).shape)
        (5, 1, 32, 32)
    """
    entry, target = _entry(name)
    if entry != name and not target:
        raise ValueError(f"{name!r} names no source: write {entry!r}")
    known("split", split, SPLITS)
    _check_options(name, entry, options)
    request = Request(
        name=name,
        size=whole("size", size, low=SMALLEST),
        count=whole("count", count, low=1),
        seed=whole("seed", seed, low=0),
        split=split,
        target=target,
    )
    images = _LOADERS[entry](request, **options)
    return torch.from_numpy(np.ascontiguousarray(np.clip(images, -1.0, 1.0)))


def _entry(name: str) -> tuple[str, str]:
    """The registry's key of a name, and what follows its colon."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    family, _, target = name.partition(":")
    for entry in _LOADERS:
        if name == entry or (":" in entry and entry.startswith(f"{family}:")):
            return entry, target
    close = get_close_matches(name, _LOADERS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"unknown data set {name!r}: {hint}The names are {', '.join(_LOADERS)}")


def _check_options(name: str, entry: str, options: dict[str, Any]) -> None:
    parameters = inspect.signature(_LOADERS[entry]).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    unknown = [option for option in options if option not in allowed]
    if unknown:
        listed = ", ".join(allowed) or "none"
        raise TypeError(f"{name!r} has no option {unknown[0]!r}; its options are: {listed}")
