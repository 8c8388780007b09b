"""Levels as functions of time: real times, other types, configurations, memory; bad input at every door."""

import copy
import json
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_process import FAMILIES, families

from fans import diffusion
from fans.diffusion import SpectralProcess, from_config, losses, schedules

SIZE = (8, 10)
C = 1 / (0.05 + diffusion.radius(SIZE)) ** 2


def family_of_tests(name: str, timesteps: int = 1000) -> SpectralProcess:
    return families(SIZE, timesteps)[name]


BUILDERS = {name: partial(family_of_tests, name) for name in FAMILIES} | {
    "linear": partial(diffusion.white, size=SIZE, schedule="linear"),
    "ended": partial(diffusion.white, size=SIZE, schedule=partial(schedules.cosine, end=0.9)),
    "flipped_snr": partial(diffusion.flipped_snr, C, size=SIZE, schedule="sigmoid"),
    "band": partial(diffusion.band, (0.3, 0.7), size=SIZE, schedule="rectified"),
    "fans": partial(diffusion.fans, C, size=SIZE, bands=4, ramp="sigmoid"),
    "code": partial(diffusion.fans_as_published, C, size=SIZE, bands=4, release="code", faults=()),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_real_times_join_whole_ones(name: str) -> None:
    """Equal at whole times whatever their type, and within what is on both sides between them."""
    process = BUILDERS[name](timesteps=50)
    whole = torch.arange(51)
    for level, real in zip(process.levels(whole), process.levels(whole.double()), strict=True):
        assert torch.equal(level, real)
    for before, middle, after in zip(
        *(process.levels(t) for t in (whole[:-1], whole[:-1] + 0.5, whole[1:])), strict=True
    ):
        low, high = torch.minimum(before, after), torch.maximum(before, after)
        room = 0.5 * (high - low).max()  # FANS changes its colour while it falls: not quite monotone
        assert ((middle > low - room) & (middle < high + room)).all()


def test_real_times_follow_the_closed_form() -> None:
    t = torch.tensor([0.0, 12.3, 777.7], dtype=torch.float64)
    a, s = diffusion.white(size=SIZE).levels(t)
    torch.testing.assert_close(a[:, 0, 0], torch.cos(torch.pi * t / 2000), rtol=0, atol=1e-14)
    torch.testing.assert_close(s[:, 0, 0], torch.sin(torch.pi * t / 2000), rtol=0, atol=1e-14)


def test_real_times_of_other_schedules_follow_the_closed_form() -> None:
    t = torch.tensor([0.25, 333.3, 999.9], dtype=torch.float64)
    low, high = torch.sigmoid(torch.tensor([-3.0, 3.0], dtype=torch.float64))
    wanted = (torch.sigmoid(-3 + 6 * t / 1000) - low) / (high - low)
    found = diffusion.white(size=SIZE, schedule="sigmoid").noise(t)[:, 0, 0].square()
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)
    linear = diffusion.white(size=SIZE, schedule="linear")  # log alpha_bar is linear between whole times
    between = linear.signal(7) ** 0.75 * linear.signal(8) ** 0.25
    torch.testing.assert_close(linear.signal(7.25), between, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_snr_falls_between_whole_times_too(name: str) -> None:
    process = BUILDERS[name](timesteps=20)
    rho = process.snr(torch.linspace(0, 20, 2001, dtype=torch.float64)[1:])
    assert float((rho[1:] / rho[:-1]).max()) < 1 + 1e-9  # rounding of equal ratios


@pytest.mark.parametrize("t", [7, 7.5, torch.tensor(7), torch.ones(2, 3), torch.ones(4, dtype=torch.int32)])
def test_levels_have_the_shape_and_type_asked_for(t: object) -> None:
    process = BUILDERS["fans"](timesteps=20)
    shape = torch.as_tensor(t).shape
    for level in process.levels(t, dtype=torch.float32):
        assert level.shape == (*shape, 8, 6) or level.shape == (*shape, 1, 1)
        assert level.dtype == torch.float32
    assert process.signal(t).dtype == torch.float64


@pytest.mark.parametrize("name", BUILDERS)
def test_a_process_is_rebuilt_from_its_configuration(name: str) -> None:
    process = BUILDERS[name](timesteps=30)
    again = from_config(json.loads(json.dumps(process.config)), process.spectrum)
    assert type(again) is type(process) and again.config == process.config
    assert again.digest() == process.digest()
    copies = pickle.loads(pickle.dumps(process)), copy.deepcopy(process)
    assert {other.digest() for other in copies} == {process.digest()}
    for mine, theirs in zip(process.tables(), again.tables(), strict=True):
        assert torch.equal(mine, theirs)


def test_digests_tell_processes_apart() -> None:
    digests = {build(timesteps=30).digest() for build in BUILDERS.values()}
    digests |= {diffusion.equal_snr(2 * C, size=SIZE, timesteps=30).digest()}
    assert len(digests) == len(BUILDERS) + 1


@settings(max_examples=30, deadline=None)
@given(
    alpha=st.floats(0, 1),
    beta=st.floats(0, 2),
    gamma=st.floats(0, 2),
    guardrail=st.floats(0, 0.9),
    ramp=st.sampled_from(["linear", "sigmoid"]),
    end=st.floats(0.5, 1),
)
def test_every_configuration_survives_json(
    alpha: float, beta: float, gamma: float, guardrail: float, ramp: diffusion.Ramp, end: float
) -> None:
    options = {"alpha": alpha, "beta": beta, "gamma": gamma, "guardrail": guardrail, "ramp": ramp}
    schedule = partial(schedules.cosine, end=end)
    process = diffusion.fans(C, size=SIZE, timesteps=10, schedule=schedule, bands=3, **options)
    again = from_config(json.loads(json.dumps(process.config)), process.spectrum)
    assert again.digest() == process.digest() and torch.equal(again.noise(5), process.noise(5))


def test_a_process_of_ones_own_has_levels_and_no_configuration() -> None:
    line = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None, None]
    tables = SpectralProcess.from_tables("line", SIZE, 1 - line, line)
    formula = SpectralProcess("line", SIZE, 10, lambda t: (1 - t / 10, t / 10))
    torch.testing.assert_close(
        tables.noise(torch.tensor([2.5, 7.0])), formula.noise(torch.tensor([2.5, 7.0]))
    )
    assert tables.digest() != diffusion.white(size=SIZE, timesteps=10, schedule="rectified").digest()
    for process in (tables, formula):
        with pytest.raises(ValueError, match="of your own, which no configuration can"):
            _ = process.config


def test_a_schedule_of_ones_own_is_known_by_its_levels() -> None:
    def straight(t: torch.Tensor, timesteps: int) -> schedules.Schedule:
        return schedules.rectified(t, timesteps)

    own, other = (
        diffusion.white(size=SIZE, timesteps=10, schedule=schedule)
        for schedule in (straight, lambda t, last: schedules.cosine(t, last))
    )
    same = SpectralProcess.from_tables("white", SIZE, *own.tables())
    assert own.digest() == same.digest() != other.digest()


# Large images

LARGE = """
import resource, time
import torch
from fans import diffusion
from fans.diffusion import losses
size = (1024, 1024)
C = 1 / (1e-3 + diffusion.radius(size)) ** 2
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
diffusion.fans(C[:32, :17] * 0 + 1, size=(32, 32)).levels(3)  # what libraries need the first time
before, start = peak(), time.perf_counter()
process = diffusion.fans(C, size=size)
weight = losses.weights(process, "velocity", "v_prediction")
built, memory = time.perf_counter() - start, peak() - before
x, e = torch.randn(2, 4, 1, *size)
t = torch.tensor([1, 300, 700, 1000])
start = time.perf_counter()
x_t, target = losses.noised(process, x, e, t, "v_prediction")
losses.weighted_error(x_t - target, weight.rows(t, dtype=torch.float32))
print(built, memory, time.perf_counter() - start)
"""


def test_a_megapixel_costs_no_table() -> None:
    """A table of all timesteps would take 4 GB. Times are five times what a quiet core needs."""
    run = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    built, memory, draw = map(float, run.stdout.split())
    assert built < 5 and memory < 200 and draw < 10, (built, memory, draw)


# Bad input

X, WIDE = torch.ones(2, 1, *SIZE), torch.ones(2, 1, 8, 11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: p.add_noise(X.to(torch.uint8), X, 5),
            "x_0 is torch.uint8: must be a tensor of float",
        ),
        (lambda p: p.add_noise(X.numpy(), X, 5), "x_0 is ndarray"),
        (lambda p: losses.noised(p, X.long(), X, torch.tensor([5, 5]), "sample"), "x_0 is torch.int64"),
        (lambda p: p.signal(True), "t is of type torch.bool"),
        (lambda p: p.levels(torch.ones(2, dtype=torch.uint8)), "t is of type torch.uint8"),
        (lambda p: p.levels("soon"), "must be a whole or real number"),
        (lambda p: diffusion.white(size=(8.5, 8)), "size"),
    ],
)
def test_wrong_types_are_refused(call, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(BUILDERS["fans"](timesteps=20))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        # 8 x 11 has the half plane of 8 x 10, and so no product would notice
        (
            lambda p: p.add_noise(torch.ones(1, 1, 8, 11), torch.ones(1, 1, 8, 11), 5),
            r"must end in the size \(8, 10\)",
        ),
        (lambda p: p.target(torch.ones(1, 1, 8, 11), X, 5, "sample"), r"must end in the size"),
        (
            lambda p: losses.noised(p, X, torch.ones(2, 1, 8, 11), torch.tensor([5, 5]), "sample"),
            "epsilon has shape",
        ),
        (lambda p: p.levels(-1), "from 0 to T = 20"),
        (lambda p: p.levels(float("nan")), "t=nan"),
        (lambda p: p.levels(torch.tensor([3, 21])), "t=21"),
        (lambda p: p.target(X, X, 0, "v_prediction"), "t=0 is the clean image"),
        (lambda p: losses.noised(p, X, X, torch.tensor([0, 3]), "v_prediction"), "t=0 is the clean image"),
        (lambda p: p.add_noise(X, X, torch.tensor([1, 2, 3])), "give one t, or one an image"),
        (lambda p: diffusion.blur(size=SIZE, floor=5), "floor"),
        (lambda p: diffusion.blur(size=SIZE, sigma_min=0.0), "sigma_min"),
        (lambda p: diffusion.fans_as_published(C, size=SIZE, bands=4, churn=float("nan")), "churn"),
        (lambda p: from_config({"family": "pink"}), "unknown family 'pink'"),
        (
            lambda p: from_config({"family": "white", "size": [8, 8], "hue": 1}),
            "unknown option of white 'hue'",
        ),
        (lambda p: from_config({"family": "fans", "size": [8, 10]}), "needs spectrum="),
    ],
)
def test_wrong_values_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(BUILDERS["fans"](timesteps=20))


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.mixture(0, "epsilon"),
        lambda p: p.target(X, X, torch.tensor([0, 5]), "score"),
        lambda p: p.inversion(0, "sample"),
        lambda p: p.predicted_sample(X, X, 0, "sample"),
        lambda p: p.elbo_weight(0),
        lambda p: losses.residual_power(p, C, 0, "sample"),
        lambda p: losses.weights(p, "flat", "sample").rows(torch.tensor([0, 5])),
    ],
)
def test_every_door_refuses_the_clean_image(call) -> None:
    """What users of ``randint(0, T)`` need: a word, not one step in a thousand that is not finite."""
    with pytest.raises(ValueError, match=r"draw t with torch.randint\(1, T \+ 1"):
        call(BUILDERS["fans"](timesteps=20))


@pytest.mark.parametrize("process", [BUILDERS["white"](), BUILDERS["equal_snr"]()], ids=["white", "coloured"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_that_of_single_rounded(process: SpectralProcess, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    x, e = (torch.randn(2, 1, *SIZE, generator=g) for _ in range(2))
    t = torch.tensor([100, 900])
    single, half = (
        losses.noised(process, a, b, t, "v_prediction") for a, b in ((x, e), (x.to(dtype), e.to(dtype)))
    )
    for wanted, found in zip(single, half, strict=True):
        assert found.dtype == dtype
        # inputs and outputs are rounded, each to half a unit of 2^-8 or finer; values reach about 5
        torch.testing.assert_close(found.float(), wanted, rtol=2**-7, atol=5 * 2**-7)


def test_errors_of_half_precision_do_not_overflow() -> None:
    error = torch.full((1, 1, *SIZE), 300.0, dtype=torch.float16)  # its square is beyond half precision
    for weight in (torch.ones(1, 1, 1), torch.ones(1, 8, 6)):
        assert losses.weighted_error(error, weight).item() == pytest.approx(9e4, rel=1e-5)


def test_numpy_times_are_times() -> None:
    process = BUILDERS["fans"](timesteps=20)
    assert torch.equal(process.noise(np.int64(3)), process.noise(3))
    assert torch.equal(process.noise(np.array([3, 4])), process.noise(torch.tensor([3, 4])))
