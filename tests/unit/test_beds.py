"""Courses of the test beds and their experiments: resumed as uninterrupted, losses by formula, measures."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from test_unet import noise
from torch import Tensor, nn
from torch.nn.functional import softplus

from fans import experiments
from fans.experiments import DiscriminatorBed, Gan, GeneratorBed
from fans.experiments.catalogue import test_beds as beds
from fans.experiments.kinds.gan import draw, generator_of
from fans.experiments.kinds.generator import at_level
from fans.experiments.kinds.test_beds import BedArm, band_names, quantised, recovered
from fans.experiments.machine import Alone
from fans.experiments.registry import run_of
from fans.experiments.run import Run
from fans.metrics.reconstruction import recovery
from fans.metrics.spectral_losses import focal_frequency_loss, nearest, spectral_loss
from fans.networks.gan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from fans.networks.gan_remedies import DualDiscriminator, FrequencyShifted
from fans.spectrum import radial_bands
from fans.training import Loop
from fans.training.adversarial import Adversarial, AdversarialConfig, Pictures
from fans.training.generator import Fitting, FittingConfig
from fans.training.streams import noise as drawn
from fans.training.streams import order
from tiny import know

Kind = Literal["fit", "random", "index"]
KINDS: tuple[Kind, ...] = ("fit", "random", "index")
IMAGES = noise(6, 1, 16, 16)
SIZES = GeneratorConfig(latent=4, widths=(4, 4, 4))


def course(kind: Kind, folder: Path | None = None, **options: Any) -> Any:
    shared = {"steps": 9, "batch": 4, "log_every": 2, "save_every": 3, "ema": 0.9}
    if kind == "fit":
        fit = FittingConfig(**(shared | {"penalty": "spectral", "weight": 0.1} | options))
        return Fitting(Generator(SIZES), IMAGES, fit, folder=folder, accelerator=Alone())
    random = kind == "random"
    critic = Discriminator(DiscriminatorConfig(widths=(4, 4, 4), logits=1 if random else 6))
    generator = Generator(SIZES) if random else Pictures(6, (1, 16, 16))
    config = AdversarialConfig(**(shared | {"codes": kind, "r1_every": 2} | options))
    latent = SIZES.latent if random else 0
    return Adversarial(generator, critic, IMAGES, config, latent=latent, folder=folder, accelerator=Alone())


def state(course: Loop) -> dict[str, Tensor]:
    networks = course.networks.items()
    both = {f"{name}/{key}": value for name, net in networks for key, value in net.state_dict().items()}
    return both | {f"averaged/{key}": value for key, value in course.weights().items()}


def losses(course: Loop) -> list[dict[str, float]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in course.history]


# Courses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [3, 5])
def test_a_resumed_course_is_an_uninterrupted_one(kind: Kind, stop: int, tmp_path: Path) -> None:
    whole = course(kind)
    whole.run()
    course(kind, tmp_path).run(until=stop)
    rest = course(kind, tmp_path)
    assert rest.step == stop
    rest.run()
    assert all(torch.equal(value, state(rest)[name]) for name, value in state(whole).items())
    assert losses(rest) == losses(whole) and len(whole.history) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_resuming_needs(kind: Kind, tmp_path: Path) -> None:
    """The mutants: without the optimisers' state, the run ends elsewhere."""
    whole = course(kind)
    whole.run()
    half = course(kind)
    half.run(until=5)
    forgetful = course(kind)
    for name, network in half.networks.items():
        forgetful.networks[name].load_state_dict(network.state_dict())
    forgetful.step = 5
    forgetful.run()
    assert any(not torch.equal(value, state(forgetful)[name]) for name, value in state(whole).items())


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    course("fit", tmp_path).run(until=3)
    with pytest.raises(ValueError, match=r"is of another run, with other rate \(was 0.001, now 0.1\)"):
        course("fit", tmp_path, rate=0.1)
    with pytest.raises(ValueError, match="with other images"):
        Fitting(
            Generator(SIZES),
            IMAGES + 1,
            FittingConfig(**asdict(course("fit").config)),
            folder=tmp_path,
            accelerator=Alone(),
        )
    assert course("fit", tmp_path, log_every=1).step == 3


def test_a_fit_takes_the_steps_of_adam() -> None:
    """By hand: batches of the epochs, mean square error with its penalty, Adam with betas 0 and 0.99."""
    fit, generator = course("fit", steps=3), Generator(SIZES)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.99))
    codes = drawn(0, (6, 4), 0)
    for step in range(3):
        index = order(0, 6, range(4 * step, 4 * step + 4))
        x, y = generator(codes[index]), IMAGES[index]
        optimizer.zero_grad()
        ((x - y).square().mean() + 0.1 * spectral_loss(x, y)).backward()
        optimizer.step()
    fit.run()
    for name, value in generator.state_dict().items():
        # The fused Adam orders its roundings in another way.
        torch.testing.assert_close(fit.generator.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    found = recovery(generator(codes), IMAGES, radial_bands((16, 16), 8))
    assert fit.judged().mse == pytest.approx(found.mse, rel=1e-5)


@pytest.mark.parametrize("penalty", ["none", "spectral", "focal"])
def test_both_steps_of_a_gan_by_formula(penalty: Any) -> None:
    gan = course("random", penalty=penalty, weight=0.5, r1=3.0)
    terms = gan.critic_loss(0)
    descended = {"critic": terms["critic"] + terms["r1"], "generator": gan.generator_loss(0)["loss"]}
    index, codes = gan.draw(0)
    y, x = IMAGES[index].requires_grad_(), gan.generator(codes).detach()
    real = gan.critic(y)
    (slope,) = torch.autograd.grad(real.sum(), y, create_graph=True)
    plain = softplus(-real).mean() + softplus(gan.critic(x)).mean()
    r1 = slope.flatten(1).square().sum(1).mean()
    torch.testing.assert_close(descended["critic"], plain + 2 * 3.0 / 2 * r1)  # every second step, so doubled
    torch.testing.assert_close(terms["critic"], plain)
    index, others = gan.draw(1)
    assert not torch.equal(others, codes)
    x, y = gan.generator(others), IMAGES[index]
    extra = {
        "none": 0.0,
        "spectral": spectral_loss(x, y, pooled=True),
        "focal": focal_frequency_loss(x, nearest(x, y)),
    }[penalty]
    torch.testing.assert_close(descended["generator"], softplus(-gan.critic(x)).mean() + 0.5 * extra)


def test_each_picture_is_judged_by_its_own_logit() -> None:
    bed = course("index", r1=0.0)
    index, same = bed.draw(0)
    assert torch.equal(index, same)
    logits = bed.critic(IMAGES[index])
    torch.testing.assert_close(
        bed.logit(IMAGES[index], index), torch.stack([logits[n, i] for n, i in enumerate(index)])
    )
    before = bed.generator.table.detach().clone()
    bed.run(until=1)
    moved = (bed.generator.table != before).flatten(1).any(1)
    assert set(moved.nonzero().flatten().tolist()) == set(bed_indices(bed, 1))


def bed_indices(bed: Adversarial, number: int) -> list[int]:
    return [int(i) for i in order(0, 6, range(4 * number, 4 * number + 4))]


def test_pictures_begin_as_kaiming_draws_weights() -> None:
    table = Pictures(50, (3, 16, 16)).table.detach()
    assert float(table.std()) == pytest.approx((2 / (3 * 16 * 16)) ** 0.5, rel=0.02)  # of 38 400 values
    assert torch.equal(Pictures(50, (3, 16, 16)).table, table)
    assert not torch.equal(Pictures(50, (3, 16, 16), seed=1).table, table)


def test_a_fit_learns() -> None:
    """In 60 steps, of a black and a white image."""
    images = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 1, 16, 16).contiguous()
    config = FittingConfig(steps=60, batch=2, rate=1e-2, log_every=60)
    assert Fitting(Generator(SIZES), images, config, accelerator=Alone()).run()[-1]["mse"] < 0.2  # at first 1


def test_pictures_become_the_images_of_their_logits() -> None:
    """In 150 steps correlations of 0.5 to 0.7 with their own images, and none with others."""
    images = noise(4, 1, 8, 8)
    critic = Discriminator(DiscriminatorConfig(widths=(8, 8), logits=4))
    config = AdversarialConfig(steps=150, batch=4, rate=0.02, critic_rate=2e-3, codes="index")
    bed = Adversarial(Pictures(4, (1, 8, 8)), critic, images, config, accelerator=Alone())
    bed.run()
    both = torch.cat([bed.generator(torch.arange(4)).detach(), images]).flatten(1)
    found = torch.corrcoef(both)[:4, 4:]
    own, others = found.diagonal(), found[~torch.eye(4, dtype=torch.bool)]
    assert own.mean() > 0.4 and own.min() > 0.2
    assert others.mean().abs() < 0.15  # 12 correlations of 64 pixels: 3 sigma are 0.11


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"penalty": "none", "weight": 0.0}  # a spectrum refuses such images before
    fit = course("fit", tmp_path, **plain)
    fit.run(until=3)
    fit.images = torch.full_like(IMAGES, float("inf"))
    with pytest.raises(FloatingPointError, match=r"loss is .* at step 4: lower rate"):
        fit.run()
    assert course("fit", tmp_path, **plain).step == 3


class Several(Alone):
    """An accelerator of two processes."""

    num_processes = 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Fitting(Generator(SIZES), IMAGES, FittingConfig(batch=5), accelerator=Several()),
            "2 processes",
        ),
        (
            lambda: Fitting(Generator(SIZES), IMAGES.int(), FittingConfig(), accelerator=Alone()),
            "floating point",
        ),
        (lambda: course("fit", batch=0), "batch=0: must be positive"),
        (lambda: course("fit", ema=1.0), "ema must be below 1"),
        (lambda: course("fit", weight=0.0), "penalty='spectral' with weight=0.0"),
        (lambda: course("fit", penalty="loud"), "penalty='loud': must be one of none, spectral, focal"),
        (lambda: course("fit", bands=0), "bands=0"),
        (lambda: course("random", codes="index"), "codes='index' with latent=4"),
        (lambda: course("random", r1_every=0), "r1_every=0"),
        (lambda: course("random", codes="fixed"), "codes='fixed': must be one of random, index"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_without_an_accelerator_one_is_made() -> None:
    fit = Fitting(Generator(SIZES), IMAGES, FittingConfig(steps=1, batch=2))
    assert isinstance(fit.accelerator, Accelerator) and [record["step"] for record in fit.run()] == [1]


# Experiments


def test_arms_differ_in_what_they_name() -> None:
    bed, seed = Gan("x", experiments.Data("photographs"), (), **beds._SMALL_GAN), 3
    sizes = {arm.name: bed.generator(arm, seed) for arm in beds._remedies(beds._QUARTERS)}
    assert len(sizes) == 10
    assert isinstance(sizes["nearest, carriers"], FrequencyShifted)
    assert sizes["nearest, carriers"](noise(2, 32)).shape == (2, 1, 16, 16)
    assert sizes["nearest, zeros last"].config.upsamplings == ("nearest", "zeros")
    assert sizes["shuffle"].config.widths == (16, 16, 10)
    numbers = {name: sum(p.numel() for p in network.parameters()) for name, network in sizes.items()}
    assert max(numbers.values()) < 1.15 * min(numbers.values())
    critics = {arm.name: bed.discriminator(arm, seed) for arm in beds._remedies(beds._QUARTERS)}
    dual = {name: critic.through for name, critic in critics.items() if isinstance(critic, DualDiscriminator)}
    assert dual == {"nearest, spectral critic": True, "nearest, spectral critic detached": False}


def test_published_sizes_are_those_of_the_code_of_schwarz() -> None:
    paper = {bed.name: bed for bed in beds.GPU}["generator-rings"]
    widths = tuple(min(16384 // size, 512) // 8 for size in (4, 8, 16, 32, 64))
    assert paper.widths == widths and paper.data.size == 64 and paper.budgets[-1] == 100_000
    narrow = paper.generator(BedArm("shuffle", "shuffle"), 0)
    assert isinstance(narrow, Generator)
    assert narrow.config.widths == tuple(min(16384 // size, 512) // 12 for size in (4, 8, 16, 32, 64))


def tiny(experiment: Any) -> Any:
    form = experiment.smoke()
    return replace(form, arms=form.arms[:1] if not isinstance(form, Gan) else (form.arms[0], form.arms[6]))


@pytest.mark.parametrize("name", ["generator-rings", "discriminator-rings", "gan-photographs"])
def test_smoke_forms_run_and_are_fresh(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = replace(tiny(experiments.get(name)), name="tiny")
    know(monkeypatch, form)
    found = experiments.reproduce("tiny", scale="smoke", folder=tmp_path, report=lambda _: None)
    assert experiments.check("tiny", folder=tmp_path).manifest["fingerprint"] == found.manifest["fingerprint"]
    assert np.isfinite(found.table.value).all()
    assert {"loss", "step"} <= set(found.curves.columns)
    if isinstance(form, Gan):
        arms = {*(arm.name for arm in form.arms), "nearest, translated"}
        assert set(found.table.arm) == arms
        run = run_of(form, found.arm("nearest"), 0, {}, None)
        network = generator_of(form, run.arm, found.weights("nearest"))
        again = draw(network, form.latent, 16, 1000)
        stored = (found.samples("nearest") - found.manifest["mean"]) / found.manifest["deviation"]
        # Weights and samples are stored in half precision: 2^-11 relative through some ten layers.
        assert (again - stored).norm() < 0.01 * stored.norm()


def test_translated_samples_come_close_to_the_mean_power() -> None:
    """Fitted on other codes than those it is judged with, so not equal; untrained, so far off before."""
    form = replace(tiny(experiments.get("gan-photographs")), samples=64)
    run = run_of(form, form.arms[0], 0, {}, None)
    images = experiments.data.images_of(form.data, form.samples)
    rows, shown = run.judge(run.trainer(images, None, steps=2, accelerator=Alone()), images, 0)
    error = {
        arm: np.abs([row.value for row in rows if row.arm == arm and row.measure.startswith("band error")])
        for arm in ("nearest", "nearest, translated")
    }
    assert error["nearest"].max() > 5 and error["nearest, translated"].mean() < error["nearest"].mean() / 2
    assert shown.shape == (16, 1, 16, 16)
    measures = {row.measure for row in rows}
    assert {"peak", "detection by spectrum", "detection by fit", "high-frequency accuracy"} <= measures


def test_errors_at_a_level_are_those_of_its_first_passing() -> None:
    history = [{"step": s, "mse": m, "error 0": -s} for s, m in ((1, 0.9), (2, 0.5), (3, 0.7), (4, 0.1))]
    assert at_level(history, 0.5)["step"] == 2 and at_level(history, 0.4)["error 0"] == -4
    assert np.isnan(at_level(history, 0.05)["step"])


def test_a_fit_reports_levels_after_the_last_budget(tmp_path: Path) -> None:
    form = replace(tiny(experiments.get("generator-rings")), levels=(100.0, 1e-9))
    run: Run = run_of(form, form.arms[0], 0, {}, None)
    images = experiments.data.images_of(form.data, form.samples)
    fit = run.trainer(images, None, steps=2, accelerator=Alone())
    fit.run()
    before, after = (run.judge(fit, images, budget)[0] for budget in form.budgets)
    assert not any(" at mse " in row.measure or row.measure.startswith("steps") for row in before)
    values = {row.measure: row.value for row in after}
    assert values["steps at mse 100"] == 1 and np.isnan(values["steps at mse 1e-09"])
    band = band_names(16)[3]
    assert values[f"relative error {band} at mse 100"] == fit.history[0]["error 3"]
    assert len(after) == len(before) + 2 * (2 * 8 + 2)


def test_the_floor_of_a_recovery_is_that_of_eight_bits() -> None:
    """Uniform rounding has the variance (2/255)^2 / 12; white, so that its error falls on all bands alike."""
    images = experiments.data.images_of(experiments.Data("photographs", 32, count=32), 16)
    x = images.restored(quantised(images))
    torch.testing.assert_close(x, images.restored(images.train), rtol=0, atol=1.01 / 255)
    noisy = replace(images, train=images.train + 0.003 * noise(*images.train.shape) / images.deviation)
    floor = recovery(quantised(noisy), noisy.train, radial_bands((32, 32), 8))
    assert floor.mse * images.deviation**2 == pytest.approx((2 / 255) ** 2 / 12, rel=0.05)
    rows = recovered(floor, noisy, ("fit", 0, 0, None))
    assert len(rows) == 18 and all(row.value == row.floor for row in rows)


def test_bands_are_named_as_in_evaluations() -> None:
    images = noise(40, 1, 16, 16)
    from fans.metrics.evaluation import evaluate

    table = evaluate(images[:10], images[10:], features=(), bands=8, resamples=100).table()
    named = [row.measure.removeprefix("band error ") for row in table if row.measure.startswith("band error")]
    assert named == band_names(16)


def test_every_bed_has_its_kind() -> None:
    kinds = {GeneratorBed: "generator-", DiscriminatorBed: "discriminator-", Gan: "gan-"}
    for bed in (*beds.CPU, *beds.GPU):
        assert bed.name.startswith(kinds[type(bed)])
        assert isinstance(bed.generator(bed.arms[0], 0), nn.Module)
