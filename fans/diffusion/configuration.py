"""Processes from their configuration: families by name, with plain options."""

from collections.abc import Callable, Collection, Mapping, Set
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import numpy as np
from torch import Tensor

from fans._validation import image_size, known, whole
from fans.diffusion.checks import as_spectrum
from fans.diffusion.plane import Spectrum
from fans.diffusion.process import Recipe, SpectralProcess
from fans.diffusion.schedules import schedule_config, schedule_of

P = ParamSpec("P")
Built = TypeVar("Built", bound=SpectralProcess)
_FAMILIES: dict[str, Callable[..., SpectralProcess]] = {}


def family(build: Callable[P, Built]) -> Callable[P, Built]:
    """Make a function that builds processes a family: its arguments are checked, and make a configuration.

    The function is known to ``from_config`` by its name. ``size``, ``timesteps``, ``schedule`` and
    ``spectrum``, where it takes them, come to it checked: a pair of whole numbers, a whole number, a function
    of times and T, a tensor (``as_spectrum``). All else must be plain: numbers, strings, None, lists of them.

    >>> from fans.diffusion import from_config
    >>> @family
    ... def fading(*, size, timesteps=1000, rate=1.0):
    ...     levels = lambda t: ((1 - t / timesteps) ** rate, t / timesteps)
    ...     return SpectralProcess("fading", size, timesteps, levels)
    >>> config = fading(size=(8, 8), rate=2.0).config
    >>> config
    {'family': 'fading', 'size': [8, 8], 'timesteps': 1000, 'rate': 2.0}
    >>> from_config(config).signal(500).item()
    0.25
    """
    form = signature(build)
    if not {"size", "timesteps"} <= form.parameters.keys():
        raise TypeError(f"a family takes size and timesteps by name, {build.__name__} does not")
    if _FAMILIES.get(build.__name__, build).__module__ != build.__module__:
        raise ValueError(f"there is a family {build.__name__!r} already: choose another name")

    @wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> Built:
        given = form.bind(*args, **kwargs)
        given.apply_defaults()
        options = dict(given.arguments)
        size = image_size("size", options["size"])
        spectrum = as_spectrum(options.pop("spectrum"), size) if "spectrum" in options else None
        options = {name: _plain(name, value) for name, value in options.items()}
        options["timesteps"] = whole("timesteps", options["timesteps"], low=2)
        given.arguments.update(options | {"size": size})
        if spectrum is not None:
            given.arguments["spectrum"] = spectrum
        if "schedule" in options:
            given.arguments["schedule"] = schedule_of(options["schedule"])
        made = build(*given.args, **given.kwargs)
        object.__setattr__(made, "recipe", Recipe(built, options | {"size": list(size)}, spectrum))
        return made

    _FAMILIES[build.__name__] = built
    return built


def from_config(config: Mapping[str, Any], spectrum: Spectrum | None = None) -> SpectralProcess:
    """The process of a configuration (``SpectralProcess.config``), exactly.

    Args:
        config: family and options; options left out have their defaults.
        spectrum: power of the data per coefficient (``SpectralProcess.spectrum``), for families of data.

    Raises:
        ValueError: unknown family or option, or no spectrum where one is needed, or one where none is.

    >>> from fans.diffusion import equal_snr, from_config
    >>> process = equal_snr([[4, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], size=(4, 4))
    >>> from_config(process.config, process.spectrum).digest() == process.digest()
    True
    """
    options = dict(config)
    name = options.pop("family", None)
    known("family", name, tuple(_FAMILIES))
    build = _FAMILIES[str(name)]
    allowed = signature(build).parameters
    for option in options:
        known(f"option of {name}", option, tuple(allowed.keys() - {"spectrum"}))
    if ("spectrum" in allowed) != (spectrum is not None):
        needs = (
            "needs spectrum=, the power of the data per coefficient"
            if spectrum is None
            else "takes no spectrum"
        )
        raise ValueError(f"family {name!r} {needs}")
    return build(**({} if spectrum is None else {"spectrum": spectrum}), **options)


def _plain(name: str, value: Any) -> Any:
    """An option as JSON has it; a schedule of your own stays a function."""
    if name == "schedule":
        try:
            return schedule_config(value)
        except ValueError:
            schedule_of(value)
            return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Collection) and not isinstance(value, str | Mapping):
        plain = [_plain(name, item) for item in value]
        return sorted(plain) if isinstance(value, Set) else plain
    if not isinstance(value, int | float | str | None):
        raise TypeError(f"{name}={value!r}: must be a number, a string, None, or a list of them")
    return value
