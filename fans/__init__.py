"""Measure, shape and check the spectrum of generative models.

Modules load on first use, so that ``import fans`` costs nothing:

>>> import fans
>>> fans.spectrum.alias(0.7)
-0.3
"""

from importlib import import_module
from typing import Any

__version__: str
_MODULES = (
    "config",
    "detection",
    "diffusion",
    "experiments",
    "filters",
    "hub",
    "images",
    "metrics",
    "networks",
    "spectrum",
    "training",
    "wavelets",
)
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    """That of the installed package, from ``pyproject.toml``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fans-spectral")
    except PackageNotFoundError:
        return "unknown"


def __dir__() -> list[str]:
    return [*globals(), "__version__", *_MODULES]
