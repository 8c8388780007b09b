"""A scheduler of diffusers made ready: built with its options, its timesteps set, run by its own loop."""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fans._validation import require
from fans.hub.conventions import CONVENTIONS, UNSCANNED, Convention, NetworkCall
from fans.hub.loops import LOOPS


def schedulers() -> list[str]:
    """Names of all scheduler classes that the installed ``diffusers.schedulers`` exports, sorted."""
    return sorted(name for name in dir(_module("diffusers.schedulers")) if name.endswith("Scheduler"))


def unscanned() -> dict[str, str]:
    """Schedulers of the installed diffusers that ``scan`` refuses, each with the reason."""
    unknown = "not known to this version: its state and its network's output have to be told"
    reasons = {name: UNSCANNED.get(name, unknown) for name in schedulers() if name not in CONVENTIONS}
    return reasons | {name: why for name in CONVENTIONS if (why := _missing(name))}


def _module(name: str) -> Any:
    return require(name, package="diffusers", name="scan", extra="hub")


def _missing(name: str) -> str | None:
    """Why the class cannot be built here, or None."""
    try:
        _class(name)
    except (ImportError, AttributeError) as error:
        return str(error)
    return None


def _class(name: str) -> Any:
    """The class of this name; deprecated ones are hidden behind a placeholder and looked up in their file."""
    places = {
        "KarrasVeScheduler": "diffusers.schedulers.deprecated.scheduling_karras_ve",
        "ScoreSdeVpScheduler": "diffusers.schedulers.deprecated.scheduling_sde_vp",
    }
    found = getattr(_module(places.get(name, "diffusers.schedulers")), name)
    if not callable(getattr(found, "from_config", None)) or "dummy" in found.__module__:
        raise ImportError(f"{name} needs a package that is not installed")
    return found


class Prepared:
    """A scheduler with its timesteps set, its convention, and the options of its steps.

    Attributes:
        scheduler: a fresh one.
        start: standard deviation of the first state.
        calls: number of calls of the network so far.
    """

    def __init__(self, scheduler: Any, steps: int | None, options: Mapping[str, Any]) -> None:
        given = _class(scheduler) if isinstance(scheduler, str) else scheduler
        kind: Any = given if isinstance(given, type) else type(given)
        self.convention = _convention(kind)
        init, grid, self.options = _sorted(kind, self.convention.defaults | dict(options))
        config = {} if isinstance(given, type) else given.config
        with quiet():
            self.scheduler = kind.from_config(config, **init)
            self.steps = _set_grid(self.scheduler, steps, grid)
        own = self.convention.start
        self.start = float(own(self.scheduler) if own else getattr(self.scheduler, "init_noise_sigma", 1.0))
        self.calls = 0
        self.first: NetworkCall | None = None

    def run(self, x: Tensor, apply: Callable[[Tensor, NetworkCall], Tensor]) -> Tensor:
        """From the first state to the sample; ``apply(x, state)`` is the network."""

        def predict(x: Tensor, t: Any) -> Tensor:
            state = self.convention.level(self.scheduler, t)
            self.first = self.first or state
            self.calls += 1
            return apply(x, state)

        with quiet(), torch.no_grad():
            x = LOOPS[self.convention.loop](self.scheduler, x, predict, self.options)
        return x


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what diffusers' own code is warned of, such as NumPy's deprecations, and what it logs."""
    log = logging.getLogger("diffusers")
    level = log.level
    try:
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", module="diffusers|torchsde")
            yield
    finally:
        log.setLevel(level)


def _convention(kind: Any) -> Convention:
    """The convention of a class, or of the one that it is derived from."""
    for base in kind.__mro__:
        if base.__name__ in CONVENTIONS:
            return CONVENTIONS[base.__name__]
    why = UNSCANNED.get(kind.__name__, "its state and its network's output are not known")
    raise ValueError(f"{kind.__name__} cannot be scanned: {why}; unscanned() lists all such")


def _sorted(kind: Any, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of the constructor, of ``set_timesteps`` and of ``step``."""
    if options.get("thresholding"):
        raise ValueError("thresholding=True: not linear, its spectrum depends on the images; leave it out")
    methods = [kind.__init__, kind.set_timesteps, getattr(kind, "step", kind.__init__)]
    known = [set(inspect.signature(m).parameters) - {"self", "kwargs"} for m in methods]
    parts: list[dict[str, Any]] = [{}, {}, {}]
    for key, value in options.items():
        place = next((i for i, names in enumerate(known) if key in names), None)
        if place is None:
            allowed = ", ".join(sorted(known[0] | known[1]))
            raise ValueError(f"{kind.__name__} has no option {key!r}: allowed are {allowed}")
        parts[place][key] = value
    return parts[0], parts[1], parts[2]


def _set_grid(scheduler: Any, steps: int | None, grid: dict[str, Any]) -> int:
    """Set the timesteps, by number or as listed; the number of steps."""
    listed = grid.get("timesteps") if grid.get("timesteps") is not None else grid.get("sigmas")
    if steps is None and listed is None:
        raise ValueError("say how many steps=, or list timesteps= or sigmas=")
    number = inspect.signature(scheduler.set_timesteps).parameters["num_inference_steps"]
    if listed is None or number.default is inspect.Parameter.empty:
        scheduler.set_timesteps(num_inference_steps=steps, **grid)
    else:
        scheduler.set_timesteps(**grid)
    return int(scheduler.num_inference_steps if steps is None else steps)
