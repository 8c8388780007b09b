"""Checks of arguments that several rooms share, and errors that say what is allowed."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from math import inf
from types import ModuleType

import numpy as np


def known(option: str, value: object, allowed: Iterable[object]) -> None:
    """Check that an option is one of those allowed; True is not taken for 1."""
    values = tuple(allowed)
    if isinstance(value, bool) or value not in values:
        raise ValueError(f"unknown {option} {value!r}: use one of {', '.join(map(str, values))}")


def whole(label: str, value: object, *, low: int) -> int:
    """Check a whole number of at least ``low``; ``label`` names it in the message."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{label} must be a whole number, got {value!r}")
    if value < low:
        raise ValueError(f"{label} must be at least {low}, got {value}")
    return int(value)


def number(label: str, value: object, *, low: float, high: float) -> float:
    """Check a number in [low, high]; NaN is outside. ``label`` names it in the message."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{label} must be a number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{label} must be between {low:g} and {high:g}, got {value}")
    return float(value)


def check_confidence(confidence: float) -> None:
    """Check the confidence of an interval, a probability; NaN is none."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")


def positive(label: str, value: object, *, zero: bool = False) -> float:
    """Check a finite number above 0, or from 0 on; ``label`` names it in the message."""
    found = number(label, value, low=-inf, high=inf)
    if not 0 <= found < inf or (found == 0 and not zero):
        raise ValueError(f"{label} must be finite and {'not negative' if zero else 'positive'}, got {value}")
    return found


def image_size(label: str, value: object) -> tuple[int, int]:
    """Check the size (H, W) of images, of 2 pixels or more; ``label`` names it in the message."""
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(pair) != 2:
        raise TypeError(f"{label} must be a pair (H, W) of whole numbers, got {value!r}")
    height, width = (whole(f"{label}[{i}]", side, low=1) for i, side in enumerate(pair))
    if height * width == 1:
        raise ValueError(f"{label} must have at least 2 pixels, got (1, 1)")
    return height, width


def require(module: str, *, package: str, name: str, extra: str = "", install: str = "") -> ModuleType:
    """Import an optional package when it is needed.

    Args:
        module: to import.
        package: its name for people.
        name: what needs it.
        extra: of this package that brings it.
        install: another way to get it, where no extra does.

    Raises:
        ImportError: it cannot be imported; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        remedy = install or f'pip install "fans-spectral[{extra}]"'
        raise ImportError(f"{name} needs {package}, which cannot be imported ({error}): {remedy}") from error


def require_extra(extra: str, *packages: str, name: str) -> None:
    """Import the packages of an extra without which a room is of no use, before the room does.

    Raises:
        ImportError: as for ``require``, of the first that is missing.
    """
    for package in packages:
        require(package, package=package, name=name, extra=extra)
