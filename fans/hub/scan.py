"""Which sampler loses which frequencies: the exact spectrum of every scheduler of diffusers.

With the exact denoiser of Gaussian data each frequency is a scalar of its own, and a scheduler is linear in
it. So the scheduler, unmodified, is run on a "picture" whose pixels are frequencies, once from the prior
and once from a unit impulse at each draw of noise, all in one batch. What comes out of the prior is the
gain, and the squares of the responses to the impulses are the power that noise adds. There is no sampling
and no network.
"""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor

from fans.hub.conventions import CONVENTIONS, UNSCANNED, Convention, State
from fans.hub.impulses import Count, Impulses, noise_from
from fans.hub.loops import LOOPS

Network = Literal["denoiser", "consistency"]


@dataclass(frozen=True)
class Scan:
    """What a sampler does to each frequency.

    Attributes:
        name: of the scheduler.
        steps: number of steps asked for.
        options: given to the scheduler.
        calls: number of calls of the network.
        spectrum: C, power of the data.
        power: power of samples, ``(gain * start)^2 + added``.
        gain: from the first state to the sample.
        added: power from the noise drawn on the way.
        start: standard deviation of the first state.
        marginal: power that the first state should have, ``a^2 C + s^2``.

    All tensors are float64 of the shape of the spectrum.
    """

    name: str
    steps: int
    options: Mapping[str, Any]
    calls: int
    spectrum: Tensor
    power: Tensor
    gain: Tensor
    added: Tensor
    start: float
    marginal: Tensor

    @property
    def error(self) -> Tensor:
        """``10 log10(power / C)`` in dB; NaN where the data have no power."""
        return _decibel(self.power, self.spectrum)

    @property
    def rms(self) -> float:
        """Root mean square of the error in dB over all frequencies with power."""
        return float(self.error.square().nanmean().sqrt())

    @property
    def worst(self) -> float:
        """Largest absolute error in dB."""
        return float(self.error.abs().nan_to_num().max())

    @property
    def prior_mismatch(self) -> Tensor:
        """What starting from the practical prior instead of the true distribution costs, in dB."""
        return _decibel(self.power, self.gain.square() * self.marginal + self.added)


def _decibel(power: Tensor, reference: Tensor) -> Tensor:
    return 10 * torch.log10(power / torch.where(reference > 0, reference, torch.nan))


def schedulers() -> list[str]:
    """Names of all scheduler classes that the installed ``diffusers.schedulers`` exports, sorted."""
    return sorted(name for name in dir(import_module("diffusers.schedulers")) if name.endswith("Scheduler"))


def unscanned() -> dict[str, str]:
    """Schedulers of the installed diffusers that ``scan`` refuses, each with the reason."""
    unknown = "not known to this version: its state and its network's output have to be told"
    reasons = {name: UNSCANNED.get(name, unknown) for name in schedulers() if name not in CONVENTIONS}
    return reasons | {name: why for name in CONVENTIONS if (why := _missing(name))}


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
    found = getattr(import_module(places.get(name, "diffusers.schedulers")), name)
    if not callable(getattr(found, "from_config", None)) or "dummy" in found.__module__:
        raise ImportError(f"{name} needs a package that is not installed")
    return found


def response(state: State, spectrum: Tensor, network: Network = "denoiser") -> Tensor:
    """Output of the exact network over its input, per frequency, in the scheduler's convention.

    The denoiser has ``x0_hat = a C / (a^2 C + s^2) x`` and ``eps_hat = s / (a^2 C + s^2) x`` (Wiener). A
    consistency model goes to the end of the probability flow instead, ``x0_hat = sqrt(C / (a^2 C + s^2)) x``
    and ``eps_hat = (x - a x0_hat) / s``.

    >>> response(State(1.0, 1.0, 0.0, 1.0), torch.ones(1)).item()
    0.5
    """
    a, s, c, d = state
    power = a * a * spectrum + s * s
    if network == "denoiser":
        x_0, eps = a * spectrum / power, s / power
    elif network == "consistency":
        x_0 = (spectrum / power).sqrt()
        eps = (1 - a * x_0) / s
    else:
        raise ValueError(f"network={network!r}: must be 'denoiser' or 'consistency'")
    return torch.nan_to_num(c * x_0) + torch.nan_to_num(d * eps)


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
        self.first: State | None = None

    def run(self, x: Tensor, apply: Callable[[Tensor, State], Tensor]) -> Tensor:
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
            warnings.filterwarnings("ignore", module="diffusers")
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


def scan(
    scheduler: Any,
    spectrum: Any,
    steps: int | None = None,
    *,
    network: Network = "denoiser",
    **options: Any,
) -> Scan:
    """Exact spectrum of the samples that a scheduler of diffusers makes with the exact network.

    Args:
        scheduler: name of a class of ``diffusers.schedulers``, the class, or an instance, whose
            configuration is taken over.
        spectrum: C, power of the data per frequency, of any shape, in the units of the images.
        steps: number of steps, unless ``timesteps`` or ``sigmas`` are listed.
        network: what the network is: the exact ``"denoiser"``, or for distilled schedulers a
            ``"consistency"`` model, which predicts the end of the probability flow.
        options: of the scheduler's constructor, of its ``set_timesteps`` or of its ``step``. Clipping and
            thresholding are off.

    Returns:
        The scan; schedulers that compute in float32 give it to seven digits, others to more.

    Raises:
        ValueError: a scheduler that cannot be scanned, an option that it does not have.

    >>> result = scan("DDIMScheduler", [1.0, 0.01], 10)
    >>> result.calls, [round(float(e), 1) for e in result.error]
    (10, [-1.6, -8.7])
    """
    C = torch.as_tensor(spectrum, dtype=torch.float64)
    if not bool((C >= 0).all()) or not bool(C.isfinite().all()):
        raise ValueError("spectrum must be finite and nowhere negative: it is a power per frequency")
    flat = C.reshape(1, 1, -1)
    prepared, count = Prepared(scheduler, steps, options), Count()
    _propagate(deepcopy(prepared), flat[..., :1], network, count)
    rows = _propagate(prepared, flat, network, Impulses(count), 1 + count.rows)
    gain = rows[0].reshape(C.shape) / prepared.start
    added = rows[1:].square().sum(0).reshape(C.shape)
    assert prepared.first is not None
    return Scan(
        name=type(prepared.scheduler).__name__,
        steps=prepared.steps,
        options=options,
        calls=prepared.calls,
        spectrum=C,
        power=(gain * prepared.start).square() + added,
        gain=gain,
        added=added,
        start=prepared.start,
        marginal=prepared.first.a**2 * C + prepared.first.s**2,
    )


def _propagate(
    prepared: Prepared, C: Tensor, network: Network, hook: Count | Impulses, rows: int = 1
) -> Tensor:
    """Run the prior in row 0 and impulses in the others."""
    x = torch.zeros(rows, *C.shape, dtype=torch.float64)
    x[0] = prepared.start
    with noise_from(prepared.scheduler, hook):
        out = prepared.run(x, lambda x, state: (response(state, C, network) * x).to(x.dtype))
    return out.double()


def simulate(
    scheduler: Any,
    spectrum: Tensor,
    steps: int | None = None,
    *,
    size: tuple[int, int],
    count: int,
    seed: int = 0,
    network: Network = "denoiser",
    **options: Any,
) -> Tensor:
    """Draw images with the same scheduler and network; their mean power is what ``scan`` says.

    Args:
        scheduler, steps, network, options: as for ``scan``.
        spectrum: C, (H, W//2 + 1).
        size: (H, W).
        count: number N of images.
        seed: of the global generator, from which schedulers draw; its state is put back.

    Returns:
        Images, float64 of shape (N, H, W).
    """
    C = torch.as_tensor(spectrum, dtype=torch.float64)
    prepared = Prepared(scheduler, steps, options)

    def apply(x: Tensor, state: State) -> Tensor:
        images = x.reshape(count, *size)
        filtered = torch.fft.irfft2(response(state, C, network) * torch.fft.rfft2(images), s=size)
        return filtered.reshape(x.shape).to(x.dtype)

    # the widened network's outputs lie side by side along the last axis, so pixels must be tokens
    shape = (count, size[0] * size[1], 1) if prepared.convention.loop == "widened" else (count, 1, *size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(shape, dtype=torch.float64) * prepared.start
        images = prepared.run(x, apply).double()
    return images.reshape(count, *size)
