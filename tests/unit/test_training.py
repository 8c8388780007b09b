"""The loop and its losses: identities, exact resume, kills, several processes, bf16, learning, errors."""

import json
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from accelerate import Accelerator
from test_process import CLEAR, FAMILIES, families, impulse, power_law_spectrum
from torch import Tensor, nn

from fans import diffusion
from fans.diffusion import Prediction, filtered, losses
from fans.diffusion.preconditioning import Preconditioned
from fans.diffusion.sampling import Denoiser
from fans.diffusion.wiener import WienerDenoiser
from fans.networks import UNet, UNetConfig
from fans.training import (
    Trainer,
    TrainingConfig,
    checkpoints,
    derived_seed,
    load_denoiser,
    noise,
    order,
    timesteps,
)
from victims import until, victims

SIZE = (8, 8)
SPECTRUM = power_law_spectrum(SIZE)
WHITE = diffusion.white(size=SIZE)
TINY = UNetConfig(widths=(4, 8), groups=2, dropout=0.1)  # 4 groups of 1 would cancel biases
SHORT = TrainingConfig(steps=12, batch=4, log_every=3, save_every=5, ema=0.9)


def field(count: int, seed: int = 0) -> Tensor:
    """Gaussian fields of the known spectrum."""
    draws = torch.randn(count, 1, *SIZE, generator=torch.Generator().manual_seed(seed))
    return filtered(draws, SPECTRUM.sqrt())


IMAGES = field(10)  # a batch of 4 crosses the ends of epochs


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(config: TrainingConfig = SHORT, folder: Path | None = None, **options: Any) -> Trainer:
    network = options.pop("network", None) or UNet(TINY)
    images, member = options.pop("images", IMAGES), options.pop("process", WHITE)
    options.setdefault("accelerator", Accelerator(cpu=True))
    return Trainer(network, images, member, config, folder=folder, **options)


def everything(run: Trainer, folder: Path) -> dict[str, Tensor]:
    """All tensors of the newest checkpoint, and what the next step would draw."""
    path = checkpoints.newest(folder)
    assert path is not None
    found = checkpoints.load(path)
    values = {f"{group}/{name}": v for group, named in found.tensors.items() for name, v in named.items()}
    values |= {f"draw/{i}": drawn for i, drawn in enumerate(run.draw(run.step))}
    return values | {"counters": torch.tensor([found.state["step"], found.state["ema_updates"]])}


def assert_identical(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def curve(run: Trainer) -> list[dict[str, float]]:
    return [{key: record[key] for key in record if key != "seconds"} for record in run.history]


# Losses


@pytest.mark.parametrize("kind", get_args(Prediction))
@pytest.mark.parametrize("name", FAMILIES)
def test_whitened_and_elbo_losses_are_errors_of_noise_and_image(name: str, kind: Prediction) -> None:
    member = families(SIZE, 10, CLEAR)[name]
    if name in ("inverse_heat", "article") and kind not in ("sample", "v_prediction", "v_pixel"):
        for loss in ("elbo", "velocity", "whitened_velocity"):
            with pytest.raises(ValueError, match="does not determine the image"):
                losses.weights(member, loss, kind)
        return  # no signal left
    x_0, epsilon, wrong = (noise(0, (9, 1, *SIZE), 9 * i).double() for i in range(3))
    t = torch.arange(1, 10)
    x_t = member.add_noise(x_0, epsilon, t)
    prediction = member.target(x_0, epsilon, t, kind) + 0.1 * wrong
    image = member.predicted_sample(x_t, prediction, t, kind)
    noise_found = filtered(x_t - filtered(image, member.signal(t)), 1 / member.noise(t))
    error = {"sample": image - x_0, "whitened": noise_found - epsilon}
    own = prediction - member.target(x_0, epsilon, t, kind)
    whitened = losses.weighted_error(own, losses.weights(member, "whitened", kind).rows(t))
    torch.testing.assert_close(whitened, error["whitened"].square().mean((1, 2, 3)), rtol=1e-6, atol=0)
    elbo = losses.weights(member, "elbo", kind).table()
    assert (elbo[:2] == 0).all()
    bound = losses.weighted_error(error["sample"], member.elbo_weight(t.clamp(min=2)))
    torch.testing.assert_close(losses.weighted_error(own, elbo[t])[1:], 9 * bound[1:], rtol=1e-6, atol=1e-12)


def test_the_whitened_loss_is_the_flat_loss_of_epsilon() -> None:
    for schedule in ("cosine", CLEAR):  # cosine has no signal left at T
        white = diffusion.white(size=SIZE, schedule=schedule)
        whitened, flat = (losses.weights(white, loss, "epsilon").table() for loss in ("whitened", "flat"))
        torch.testing.assert_close(whitened, flat, rtol=1e-12, atol=0)
        of_image = losses.weights(white, "whitened", "sample").table()[1:]
        torch.testing.assert_close(of_image, white.snr(torch.arange(1, 1001)))


@pytest.mark.parametrize("kind", ["sample", "v_prediction", "v_pixel"])
@pytest.mark.parametrize("name", FAMILIES)
def test_velocity_losses_are_errors_of_the_image_over_the_power_of_the_noise(
    name: str, kind: Prediction
) -> None:
    member = families(SIZE, 10)[name]  # with T, where most have no signal
    x_0, epsilon, wrong = (noise(0, (10, 1, *SIZE), 10 * i).double() for i in range(3))
    t = torch.arange(1, 11)
    own = 0.1 * wrong
    prediction = member.target(x_0, epsilon, t, kind) + own
    error = member.predicted_sample(member.add_noise(x_0, epsilon, t), prediction, t, kind) - x_0
    # the variance of the noise in a pixel
    energy = filtered(impulse(10, SIZE), member.noise(t)).square().sum((1, 2))
    wanted = {
        "velocity": error.square().mean((1, 2, 3)) / energy,
        "whitened_velocity": filtered(error, 1 / member.noise(t)).square().mean((1, 2, 3)),
    }
    found = {loss: losses.weighted_error(own, losses.weights(member, loss, kind).rows(t)) for loss in wanted}
    for loss in wanted:  # rounding of float64, amplified where little noise leaves little to divide by
        torch.testing.assert_close(found[loss], wanted[loss], rtol=1e-8, atol=0)
    alike = torch.allclose(found["velocity"], found["whitened_velocity"], rtol=1e-3, atol=0)
    assert alike == (member.noise(1).shape == (1, 1))  # one loss where the noise is white, else two


@pytest.mark.parametrize("name", ["white", "fans", "power_law", "band", "equal_snr"])
def test_velocity_is_that_of_a_straight_path(name: str) -> None:
    member = families(SIZE, 10, "rectified")[name]
    x_0, epsilon, wrong = (noise(0, (10, 1, *SIZE), 10 * i).double() for i in range(3))
    t = torch.arange(1, 11)
    u = t.double()[:, None, None, None] / 10
    x_t = member.add_noise(x_0, epsilon, t)  # (1 - u) x_0 + u times the noise
    estimate = x_0 + 0.1 * wrong
    error = (estimate - x_t) / u - (x_0 - x_t) / u  # the image less the noise, estimated and true
    loss = losses.weighted_error(0.1 * wrong, losses.weights(member, "velocity", "sample").rows(t))
    # a noise that is not of mean power 1 (EqualSNR's is the data's, 0.25) only scales the loss
    colour = 0.25 if name == "equal_snr" else 1.0
    torch.testing.assert_close(loss * colour, error.square().mean((1, 2, 3)), rtol=1e-9, atol=0)


def test_velocity_is_flat_in_v_pixel_where_signal_and_noise_keep_the_variance() -> None:
    def table(name: str, schedule: str, loss: losses.Loss = "velocity") -> Tensor:
        return losses.weights(families(SIZE, 10, schedule)[name], loss, "v_pixel").table()[1:]

    for name in ("white", "fans", "power_law", "band"):  # noise of mean power 1
        for schedule in ("cosine", "sigmoid"):  # a^2 + s^2 = 1
            flat = table(name, schedule)
            torch.testing.assert_close(flat, torch.ones_like(flat), rtol=1e-12, atol=0)
        assert float((table(name, "rectified") - 1).abs().max()) > 0.5  # u = 1/2: 1 / (1/4 + 1/4)^2 = 4
        assert name == "white" or float((table(name, "cosine", "whitened_velocity") - 1).abs().max()) > 0.5
    assert float((table("equal_snr", "cosine") - 1).abs().max()) > 0.5


def test_whitened_velocity_divides_by_the_spectrum_under_equal_snr() -> None:
    tables = {
        name: losses.weights(families(SIZE, 10)[name], "whitened_velocity", "sample").table()[1:]
        for name in ("white", "equal_snr")
    }
    torch.testing.assert_close(tables["equal_snr"] * SPECTRUM, tables["white"].expand(10, 8, 5))
    white, whitened = (
        losses.weights(WHITE, loss, "v_prediction").table() for loss in ("velocity", "whitened_velocity")
    )
    torch.testing.assert_close(whitened, white)


@pytest.mark.parametrize("name", FAMILIES)
def test_noised_is_add_noise_and_target(name: str) -> None:
    member, t = families(SIZE, 10)[name], torch.tensor([1, 5, 9])
    x_0, epsilon = noise(0, (3, 2, *SIZE), 0), noise(0, (3, 2, *SIZE), 3)
    x_t, target = losses.noised(member, x_0, epsilon, t, "v_prediction")
    torch.testing.assert_close(x_t, member.add_noise(x_0, epsilon, t))
    torch.testing.assert_close(target, member.target(x_0, epsilon, t, "v_prediction"))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_errors_are_weighted_by_parseval(size: tuple[int, int]) -> None:
    error = noise(0, (3, 2, *size), 0).double()
    weight = torch.stack([power_law_spectrum(size, alpha) for alpha in (0.0, 1.0, 2.0)])
    in_space = filtered(error, weight.sqrt()).square().mean((1, 2, 3))
    torch.testing.assert_close(losses.weighted_error(error, weight), in_space)
    scalar = losses.weighted_error(error, torch.full((3, 1, 1), 0.25))
    torch.testing.assert_close(scalar, error.square().mean((1, 2, 3)) / 4)


@pytest.mark.parametrize("loss", get_args(losses.Loss))
def test_the_wiener_loss_is_what_the_wiener_denoiser_costs(loss: losses.Loss) -> None:
    member = diffusion.fans(SPECTRUM, size=SIZE, timesteps=10, bands=3)
    weight = losses.weights(member, loss, "v_prediction", spectrum=SPECTRUM)
    expected = losses.wiener_loss(member, SPECTRUM, "v_prediction", weight)
    t = torch.full((4000,), 6)
    x_t, target = losses.noised(member, field(4000), noise(0, (4000, 1, *SIZE), 0), t, "v_prediction")
    prediction = Preconditioned(Silent(), member, SPECTRUM)(x_t, t).detach()
    cost = losses.weighted_error(prediction - target, weight.rows(t))
    assert abs(float(cost.mean() / expected[6]) - 1) < 5 * float(cost.std() / expected[6]) / 4000**0.5


class Silent(nn.Module):
    """Predicts zero, with a weight that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.weight * x_t


@pytest.mark.parametrize("importance", ["uniform", "wiener"])
def test_importance_does_not_change_the_expected_loss(importance: losses.Importance) -> None:
    weight = losses.weights(WHITE, "whitened", "v_prediction")
    probability = losses.timestep_probability(WHITE, weight, importance, "v_prediction", SPECTRUM)
    assert probability[0] == 0
    torch.testing.assert_close(probability.sum(), torch.tensor(1.0, dtype=torch.float64))
    per_step = losses.wiener_loss(WHITE, SPECTRUM, "v_prediction", weight)
    drawn = (probability * losses.correction(probability) * per_step).sum()
    torch.testing.assert_close(drawn, per_step.sum() / 999)  # at T there is no signal, and no weight
    second_moment = float((probability * (losses.correction(probability) * per_step) ** 2).sum())
    assert (second_moment < 1.2 * float(drawn) ** 2) == (importance == "wiener")  # less scatter


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(1000, 1, 1), "weight has shape"),
        (torch.zeros(1001, 1, 1), "positive somewhere"),
        (-torch.ones(1001, 8, 5), "not negative"),
        (torch.full((1001, 1, 1), torch.nan), "finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weight: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(replace(SHORT, loss="custom"), weight=weight)


# Draws


def test_draws_depend_on_their_place_in_the_run_only() -> None:
    assert torch.equal(noise(3, (4, 1, 2, 2), 6)[2:], noise(3, (2, 1, 2, 2), 8))
    assert not torch.equal(noise(3, (1, 1, 2, 2), 0), noise(4, (1, 1, 2, 2), 0))
    both = order(1, 10, range(0, 20))
    assert torch.equal(both[7:13], order(1, 10, range(7, 13)))
    assert sorted(both[:10].tolist()) == sorted(both[10:].tolist()) == list(range(10))
    assert both[:10].tolist() != both[10:].tolist()
    assert len({derived_seed(0, purpose, n) for purpose in range(1, 5) for n in range(100)}) == 400


def test_timesteps_have_their_probability() -> None:
    probability = torch.tensor([0, 0.5, 0, 0.3, 0.2, 0], dtype=torch.float64)
    drawn = torch.cat([timesteps(0, step, 7, probability) for step in range(2000)])
    share = torch.bincount(drawn, minlength=6) / len(drawn)
    assert set(drawn.tolist()) == {1, 3, 4}
    assert (share - probability).abs().max() < 0.01
    for step in range(20):  # in every batch, nearly
        assert abs(int((timesteps(0, step, 10, probability) == 1).sum()) - 5) <= 1


# Resume

RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mid-record": {"config": replace(SHORT, log_every=4)},
    "accumulated": {"config": replace(SHORT, accumulation=2)},
    "channels last": {"config": replace(SHORT, channels_last=True)},
    "bf16": {"config": replace(SHORT, precision="bf16")},
    "unit": {"config": replace(SHORT, loss="unit", importance="wiener"), "spectrum": SPECTRUM},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(name: str, tmp_path: Path) -> None:
    options = RUNS[name]
    whole = trainer(folder=tmp_path / "whole", **options)
    whole.run()
    first = trainer(folder=tmp_path / "parts", **options)
    first.run(until=6)
    second = trainer(folder=tmp_path / "parts", **options, network=UNet(TINY, seed=9))
    assert second.step == 6
    second.run()
    assert_identical(everything(whole, tmp_path / "whole"), everything(second, tmp_path / "parts"))
    assert curve(whole) == curve(second)
    logs = [(tmp_path / part / "log.jsonl").read_text().splitlines() for part in ("whole", "parts")]
    assert [json.loads(line)["loss"] for line in logs[0]] == [json.loads(line)["loss"] for line in logs[1]]


def test_the_steps_after_the_last_checkpoint_are_done_again(tmp_path: Path) -> None:
    whole, lost = (trainer(folder=tmp_path / name) for name in ("whole", "lost"))
    whole.run()
    lost.run(until=5)
    for _ in range(4):  # as far as step 9, with a record at 6 and 9, and then the power fails
        lost._update()
        if lost.step % 3 == 0:
            lost._record()
    again = trainer(folder=tmp_path / "lost")
    assert again.step == 5
    assert len((tmp_path / "lost" / "log.jsonl").read_text().splitlines()) == 1
    again.run()
    assert_identical(everything(whole, tmp_path / "whole"), everything(again, tmp_path / "lost"))
    assert curve(whole) == curve(again)


def test_a_truncated_checkpoint_costs_one_interval(tmp_path: Path) -> None:
    whole, parts = (trainer(folder=tmp_path / name) for name in ("whole", "parts"))
    whole.run()
    parts.run(until=10)
    weights = tmp_path / "parts" / "step-00000010" / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"passed over.*ema.safetensors: has 100 of"):
        again = trainer(folder=tmp_path / "parts")
    assert again.step == 5
    again.run()
    assert_identical(everything(whole, tmp_path / "whole"), everything(again, tmp_path / "parts"))


KILLED = replace(SHORT, steps=60, save_every=1, log_every=7)


def be_killed(folder: str) -> None:
    """What each victim does: take the run over where the one before it died."""
    torch.set_num_threads(1)
    trainer(KILLED, Path(folder)).run()


def progress(folder: Path) -> int:
    """Ten for each step saved, and one for each file of the checkpoint that is being written."""
    step = max((int(path.name[5:]) for path in checkpoints.every(folder)), default=0)
    with suppress(FileNotFoundError):  # renamed between the finding and the listing
        return 10 * step + len(list(folder.glob(f"step-{step + 1:08d}.partial/*")))
    return 10 * (step + 1)


@pytest.mark.skipif(os.name == "nt", reason="processes are forked")
def test_a_run_killed_at_20_random_moments_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = trainer(replace(KILLED, save_every=60), tmp_path / "whole")
    whole.run()
    rng, folder, mid_write = random.Random(0), tmp_path / "killed", 0
    with victims("test_training", "be_killed") as kill:
        for _ in range(20):
            goal = progress(folder) // 10 * 10 + rng.randrange(25)
            assert kill(folder, partial(until, lambda g=goal: progress(folder) >= g, then=rng.random() / 100))
            mid_write += progress(folder) % 10 > 0
    assert mid_write >= 3
    again = trainer(KILLED, folder)  # without a warning
    assert 0 < again.step < 60
    again.run()
    assert_identical(everything(whole, tmp_path / "whole"), everything(again, folder))
    assert curve(whole) == curve(again)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    trainer(folder=tmp_path).run(until=5)
    with pytest.raises(ValueError, match=r"another run, with other batch \(was 4, now 8\); rate"):
        trainer(replace(SHORT, batch=8, rate=1e-3), tmp_path)
    with pytest.raises(ValueError, match="other images"):
        trainer(folder=tmp_path, images=field(10, seed=1))
    with pytest.raises(ValueError, match="other process"):
        trainer(folder=tmp_path, process=diffusion.white(size=SIZE, schedule="linear"))
    with pytest.raises(ValueError, match="other network"):
        trainer(folder=tmp_path, network=UNet(UNetConfig(widths=(8, 8), groups=4)))
    assert trainer(replace(SHORT, log_every=2, save_every=3, keep=4), tmp_path).step == 5


# Processes


def share(rank: int, port: int, folder: str) -> None:
    """What each of two processes does."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    for accumulation in (1, 2):
        config = replace(SHORT, accumulation=accumulation)
        network = UNet(replace(TINY, dropout=0.0), seed=rank)  # that of the main process counts
        run = trainer(config, Path(folder) / str(accumulation), network=network, accelerator=accelerator)
        run.run()
    accelerator.end_training()


def test_an_accelerator_with_a_precision_of_its_own_is_refused() -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.state._mixed_precision = "bf16"
    try:
        with pytest.raises(ValueError, match="precision='bf16' in the configuration"):
            trainer(accelerator=accelerator)
    finally:
        accelerator.state._mixed_precision = "no"


def test_two_processes_do_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.multiprocessing.spawn(share, args=(port, str(tmp_path)), nprocs=2)
    single = trainer(folder=tmp_path / "one", network=UNet(replace(TINY, dropout=0.0)))
    single.run()
    expected = everything(single, tmp_path / "one")
    for accumulation in ("1", "2"):
        found = everything(single, tmp_path / accumulation)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-5)
        log = (tmp_path / accumulation / "log.jsonl").read_text().splitlines()
        losses_found = [json.loads(line)["loss"] for line in log]
        assert losses_found == pytest.approx([record["loss"] for record in single.history], rel=1e-4)


# The loop


def test_accumulation_does_not_change_the_result() -> None:
    runs = [
        trainer(replace(SHORT, accumulation=parts), network=UNet(replace(TINY, dropout=0.0)))
        for parts in (1, 2, 4)
    ]
    for run in runs:
        run.run()
    for name, weight in runs[0].network.state_dict().items():
        for other in runs[1:]:
            torch.testing.assert_close(other.network.state_dict()[name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", [*get_args(losses.Loss), "custom"])
@pytest.mark.parametrize("name", ["white", "fans", "equal_snr"])
def test_every_loss_trains(name: str, loss: Any) -> None:
    member = families(SIZE, 20)[name]
    weight = losses.weights(member, "unit", "v_prediction", spectrum=SPECTRUM) if loss == "custom" else None
    config = replace(SHORT, steps=3, log_every=1, loss=loss, importance="wiener")
    history = trainer(config, process=member, spectrum=SPECTRUM, weight=weight).run()
    assert [record["step"] for record in history] == [1, 2, 3]
    assert all(record["loss"] > 0 and record["gradient"] > 0 for record in history)


def test_custom_weights_are_the_loss_they_are_a_table_of() -> None:
    table = losses.weights(WHITE, "unit", "v_prediction", spectrum=SPECTRUM).table()
    custom = trainer(replace(SHORT, loss="custom"), weight=table)
    assert curve_of(custom) == curve_of(trainer(replace(SHORT, loss="unit"), spectrum=SPECTRUM))


def curve_of(run: Trainer) -> list[float]:
    return [record["loss"] for record in run.run()]


def test_the_average_of_the_weights() -> None:
    run = trainer(replace(SHORT, steps=3))
    average: dict[str, Tensor] = {}
    for step in range(3):
        run.run(until=step + 1)
        decay = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        now = {name: p.detach().clone() for name, p in run.network.named_parameters()}
        average = {name: decay * average.get(name, now[name]) + (1 - decay) * now[name] for name in now}
    ema = run.denoiser().state_dict()
    for name in average:
        torch.testing.assert_close(ema[name], average[name])
        assert torch.equal(run.denoiser("model").state_dict()[name], run.network.state_dict()[name])
    assert not run.denoiser().training


def test_a_denoiser_is_loaded_for_sampling(tmp_path: Path) -> None:
    network = Preconditioned(UNet(TINY), WHITE, SPECTRUM)
    run = trainer(folder=tmp_path, network=network)
    run.run()
    loaded = load_denoiser(tmp_path, Preconditioned(UNet(TINY, seed=3), WHITE, SPECTRUM))
    x, t = IMAGES[:2], torch.tensor([1, 900])
    assert torch.equal(loaded(x, t), run.denoiser()(x, t))
    again = trainer(folder=tmp_path, network=Preconditioned(UNet(TINY, seed=4), WHITE, SPECTRUM))
    assert torch.equal(again.denoiser()(x, t), run.denoiser()(x, t))
    with pytest.raises(FileNotFoundError, match="no whole checkpoint"):
        load_denoiser(tmp_path / "elsewhere", UNet(TINY))


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trainer().run()
    assert torch.equal(torch.get_rng_state(), before)


def test_trainers_run_side_by_side_in_threads() -> None:
    def run(trainer: Trainer) -> list[float]:
        torch.set_num_threads(1)
        return curve_of(trainer)

    def pair() -> list[Trainer]:
        sizes = replace(TINY, dropout=0.0)
        return [trainer(replace(SHORT, seed=seed), network=UNet(sizes)) for seed in range(2)]

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, pair()))
    assert together == [run(alone) for alone in pair()]


def test_bf16_differs_from_fp32_a_little() -> None:
    exact, half = (curve_of(trainer(replace(SHORT, precision=p))) for p in ("fp32", "bf16"))
    assert exact != half
    assert half == pytest.approx(exact, rel=0.02)


def test_compile_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compiled(network: nn.Module) -> nn.Module:
        seen.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compiled)
    run = trainer(replace(SHORT, compile=True, steps=1))
    run.run()
    assert seen == [run.network]


def test_a_sequence_of_images_is_as_good_as_a_tensor() -> None:
    assert curve_of(trainer(images=list(IMAGES))) == curve_of(trainer())


def test_records_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    records: list[dict[str, float]] = []
    run = trainer()
    run.run(on_record=records.append, progress=True)
    assert records == run.history
    assert "12/12" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    images = IMAGES.clone()
    run = trainer(folder=tmp_path, images=images)
    run.run(until=5)
    images[:] = torch.nan
    with pytest.raises(FloatingPointError, match=r"at step 6: lower rate=0.002"):
        run.run()
    assert [path.name for path in checkpoints.every(tmp_path)] == ["step-00000005"]


def test_clipping_bounds_the_update() -> None:
    run = trainer(replace(SHORT, clip=1e-12, steps=3))
    before = [p.detach().clone() for p in run.trained["model"].values()]
    run.run()
    free = trainer(replace(SHORT, clip=0.0, steps=3))
    free.run()
    moved = [
        max(
            float((p.detach() - b).abs().max())
            for p, b in zip(r.trained["model"].values(), before, strict=True)
        )
        for r in (run, free)
    ]
    assert moved[0] < 0.1 * moved[1]  # Adam's epsilon is no longer small beside the gradient


# Learning


def test_learning_rates() -> None:
    config = TrainingConfig(steps=100, rate=1.0, warmup=9)
    rates = [config.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, abs=0.01)
    assert rates.index(max(rates)) == 9
    assert 0 < rates[-1] < 1e-3
    constant = replace(config, decay="constant", warmup=0)
    assert {constant.learning_rate(step) for step in range(100)} == {1.0}


def test_a_gaussian_field_is_learned_nearly_as_well_as_can_be() -> None:
    """From predicting zero to near the best denoiser, which preconditioning starts from."""
    config = TrainingConfig(steps=200, batch=32, rate=1e-2)
    best = held_out(WienerDenoiser(WHITE, SPECTRUM, "v_prediction"))
    weight = losses.weights(WHITE, "flat", "v_prediction")
    expected = losses.wiener_loss(WHITE, SPECTRUM, "v_prediction", weight)[1:].mean()
    assert best == pytest.approx(float(expected), rel=0.02)
    nothing = held_out(lambda x_t, t: 0 * x_t)
    sizes = UNetConfig(widths=(8, 8), groups=4)
    plain = trainer(config, images=field(2000), network=UNet(sizes))
    plain.run()
    assert best < held_out(plain.denoiser()) < best + 0.15 * (nothing - best)
    network = Preconditioned(UNet(sizes), WHITE, SPECTRUM)
    assert held_out(network) == pytest.approx(best, rel=1e-5)
    whitened = trainer(replace(config, steps=50), images=field(2000), network=network)
    whitened.run()
    assert best < held_out(whitened.denoiser()) < best + 0.15 * (nothing - best)


def held_out(denoiser: Denoiser) -> float:
    """Loss on fresh images."""
    t = 1 + torch.arange(2000) // 2
    x_t, target = losses.noised(WHITE, field(2000, seed=1), noise(9, (2000, 1, *SIZE), 0), t, "v_prediction")
    with torch.no_grad():
        return float((denoiser(x_t, t) - target).square().mean())


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: must be positive"),
        ({"loss": "l2"}, "loss='l2': must be one of flat, whitened"),
        ({"prediction": "x0"}, "prediction='x0': must be one of sample"),
        ({"importance": "all"}, "must be one of uniform, wiener"),
        ({"precision": "fp16"}, "must be one of fp32, bf16"),
        ({"ema": 1.0}, "ema must be below 1"),
        ({"clip": -1.0}, "clip=-1.0: must not be negative"),
        ({"batch": 4.0}, "batch=4.0: must be int"),
    ],
)
def test_settings_that_do_not_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**options)


def test_settings_survive_json() -> None:
    config = TrainingConfig(steps=7, loss="elbo", rate=3e-4)
    assert TrainingConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown 'learning_rate'"):
        TrainingConfig.from_json('{"learning_rate": 1}')


def test_arguments_that_do_not_fit_are_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"images": IMAGES[:, 0]}, r"needs at least one of \(C, 8, 8\)"),
        ({"images": IMAGES[:0]}, "0 images"),
        ({"images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, "uint8: must be floating point"),
        ({"images": torch.zeros(4, 1, 8, 10)}, r"of shape \(1, 8, 10\)"),
        ({"config": replace(SHORT, accumulation=3)}, "batch=4: must be a multiple of accumulation=3"),
        ({"config": replace(SHORT, loss="unit")}, "'unit' needs spectrum="),
        ({"config": replace(SHORT, importance="wiener")}, "needs spectrum="),
        ({"config": replace(SHORT, loss="custom")}, "weight= is needed by loss='custom'"),
        ({"weight": torch.ones(1001, 1, 1)}, "and by no other"),
        ({"network": Preconditioned(UNet(TINY), WHITE, SPECTRUM, "sample")}, "network returns 'sample'"),
        ({"config": replace(SHORT, loss="elbo", prediction="epsilon")}, "does not determine the image"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            trainer(**options)
