"""Measure, shape and check the spectrum of generative models.

Modules load on first use, so that ``import fans`` costs nothing:

>>> import fans
>>> fans.spectrum.alias(0.7)
-0.3
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"
_MODULES = (
    "config",
    "detection",
    "diffusion",
    "experiments",
    "filters",
    "images",
    "metrics",
    "networks",
    "spectrum",
    "training",
    "wavelets",
)
__all__ = list(_MODULES)


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
