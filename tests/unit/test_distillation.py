"""Distillation: losses by loops and by Parseval, what learns and what does not, exact resume, students."""

import hashlib
import json
import os
import shutil
import socket
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from test_process import power_law_spectrum
from test_training import assert_identical, everything
from test_unet import awake, noise
from torch import Tensor, nn

from fans import diffusion, experiments
from fans.diffusion import filtered
from fans.diffusion.preconditioning import Preconditioned
from fans.experiments.config import Data
from fans.experiments.data import images_of
from fans.experiments.kinds.compression import Compression, Paced, Student, StudentRun
from fans.experiments.machine import one_thread
from fans.experiments.registry import run_of
from fans.networks import LinearDenoiser, UNet, UNetConfig, WaveletUNet, WaveletUNetConfig
from fans.training import DistillationConfig, Distiller, Trainer, TrainingConfig
from fans.training.distillation import frequency_loss, frequency_weight, spatial_loss, tapped
from tiny import know

SIZE = (8, 8)
WHITE = diffusion.white(size=SIZE)
SMALL, LARGE = UNetConfig(widths=(4, 8), groups=2), UNetConfig(widths=(8, 16), groups=2)
SHORT = DistillationConfig(steps=8, batch=4, log_every=2, save_every=3, ema=0.9, pairs="features")
IMAGES = filtered(noise(10, 1, *SIZE), power_law_spectrum(SIZE).sqrt())


pytestmark = pytest.mark.usefixtures("one_thread")


def large() -> UNet:
    """A teacher that predicts something."""
    return awake(UNet(LARGE, seed=7))


def distiller(
    config: DistillationConfig = SHORT, folder: Path | None = None, teacher: nn.Module | None = None
) -> Distiller:
    alone = config.pairs == "outputs" and teacher is None
    return Distiller(
        UNet(SMALL),
        None if alone else teacher or large(),
        IMAGES,
        WHITE,
        config,
        folder=folder,
        accelerator=Accelerator(cpu=True),
    )


# Losses


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (5, 7)])
@pytest.mark.parametrize("alpha", [-2.0, -1.0, 0.0])
def test_the_weight_stands_inside_the_sum_over_frequencies(size: tuple[int, int], alpha: float) -> None:
    """Against plain loops over images, channels and the full DFT plane, in double precision."""
    a, b, x_0 = (noise(2, channels, *size, seed=channels).double() for channels in (3, 4, 2))
    b = b[:, :3]
    expected = []
    for n in range(2):
        X_0 = np.fft.fft2(x_0[n].numpy(), norm="ortho")
        omega = np.maximum(np.sqrt((np.abs(X_0) ** 2).mean(0)), 0.1) ** alpha
        terms = [np.abs(np.fft.fft2((a - b)[n, c].numpy(), norm="ortho")) ** 2 for c in range(3)]
        expected.append(sum((omega * term).sum() for term in terms) / (3 * size[0] * size[1]))
        outside = np.linalg.norm(omega) ** 2 * sum(term.sum() for term in terms) / (3 * omega.size)
        assert not np.isclose(outside, expected[-1], rtol=0.1)  # the weight in the wrong place
    found = frequency_loss(a, b, x_0, alpha=alpha)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-12, atol=0)  # some 10^3 roundings


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_without_exponent_it_is_the_spatial_loss(size: tuple[int, int]) -> None:
    a, b, x_0 = (noise(3, 2, *size, seed=seed).double() for seed in range(3))
    equal = {"rtol": 1e-13, "atol": 0.0}
    torch.testing.assert_close(frequency_loss(a, b, x_0, alpha=0), spatial_loss(a, b), **equal)
    other = frequency_loss(a, b, x_0, alpha=-1)
    assert not torch.allclose(other, spatial_loss(a, b), rtol=1e-2)


def test_clean_images_are_averaged_to_the_scale_of_the_features() -> None:
    x_0 = noise(2, 3, 8, 8).double()
    small = x_0.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(frequency_weight(x_0, (4, 4)), frequency_weight(small, (4, 4)))
    omega = frequency_weight(torch.zeros(1, 1, 8, 8), (8, 8), alpha=-2, floor=0.05)
    torch.testing.assert_close(omega, torch.full((1, 8, 5), 400.0))  # |X_0| replaced by the floor


def loss_per_radius(alpha: float) -> Tensor:
    """Loss per unit radius in four octaves, over the first: S = 1/f^2, errors of 0.1 |X_0| everywhere."""
    size = (128, 128)
    x_0 = torch.fft.irfft2(power_law_spectrum(size).sqrt(), s=size, norm="ortho")[None, None]
    r = size[0] * diffusion.radius(size)
    octaves = [(r >= first) & (r < 2 * first) for first in (4, 8, 16, 32)]
    errors = [0.1 * filtered(x_0, octave.double()) for octave in octaves]
    loss = [frequency_loss(error, 0 * error, x_0, alpha=alpha, floor=1e-9) for error in errors]
    density = torch.cat(loss) / torch.tensor([4.0, 8, 16, 32])
    return density / density[0]


def test_for_photographs_the_exponent_minus_one_weighs_octaves_alike() -> None:
    """2 pi r coefficients, each of ``f^(-2 - alpha)``: loss per radius ``r^(-1 - alpha)``, flat for -1.

    Tolerance: the lattice has 1.5 % more or fewer points in the first octave than its area.
    """
    octaves = 2.0 ** torch.arange(4)
    for alpha in (-2.0, -1.0, 0.0):
        torch.testing.assert_close(
            loss_per_radius(alpha), octaves.double() ** (-1 - alpha), rtol=0.05, atol=0
        )
    assert loss_per_radius(0.0)[-1] < 0.2  # the control: without weight, fine detail hardly counts


# Who learns


def gradients(run: Distiller) -> dict[str, float]:
    run.loss(0)["loss"].backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad for name, p in run.network.named_parameters() if p.grad is not None}
    return {name: float(g.abs().max()) for name, g in found.items()}


@pytest.mark.parametrize("only", ["spatial", "frequency"])
def test_gradients_reach_the_student_and_the_convolutions_alone(only: str) -> None:
    factors = {"spatial": 0.0, "frequency": 0.0} | {only: 1.0}
    run = distiller(replace(SHORT, **factors))  # type: ignore[arg-type]
    found = gradients(run)
    assert found.keys() == dict(run.network.named_parameters()).keys()
    learn = [
        name for name in found if name.startswith("match") or name.endswith(("conv1.weight", "conv2.weight"))
    ]
    # measured are 0.05 of the largest and more; rounding makes 1e-7 of it
    assert min(found[name] for name in learn) > 1e-3 * max(found.values())
    assert run.teacher is not None
    assert all(p.grad is None and not p.requires_grad for p in run.teacher.parameters())
    without = gradients(distiller(replace(SHORT, spatial=0.0, frequency=0.0)))
    assert not any(value for name, value in without.items() if name.startswith("match"))  # the control
    # the last convolution starts at zero, so that the task alone reaches nothing before it
    assert without["network.blocks.conv_in.weight"] == 0 < found["network.blocks.conv_in.weight"]


def test_the_teacher_stays_as_it_is() -> None:
    layers = (nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1))

    class Timeless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers)

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            found: Tensor = self.layers(x_t)
            return found

    given = Timeless().train()
    before = deepcopy(given.state_dict())
    run = distiller(replace(SHORT, pairs="outputs"), teacher=given)
    run.run()
    assert run.teacher is not None and not run.teacher.training and given.training
    for name, value in run.teacher.state_dict().items():  # with the running mean of the batch norm
        assert torch.equal(value, before[name]) and torch.equal(given.state_dict()[name], value), name
    x_t, t = noise(4, 1, *SIZE), torch.ones(4, dtype=torch.int64)
    assert torch.equal(*(run._taught(x_t, t, x_t)[0] for _ in range(2)))  # no dropout
    given(x_t, t)
    assert not torch.equal(given.state_dict()["layers.1.running_mean"], before["layers.1.running_mean"])


def test_a_student_comes_closer_to_its_teacher() -> None:
    """The same steps with and without the outputs of a teacher that predicts nothing that helps the task."""
    teacher = large()
    x_t, t = noise(8, 1, *SIZE, seed=5), torch.arange(100, 900, 100)

    def distance(factor: float) -> float:
        config = DistillationConfig(
            steps=40, batch=4, rate=1e-2, spatial=factor, frequency=0.0, pairs="outputs", ema=0.0
        )
        run = distiller(config, teacher=teacher)
        run.run()
        return float((run.denoiser()(x_t, t) - teacher(x_t, t)).square().mean().detach())

    assert distance(10.0) < 0.5 * distance(0.0)


def test_without_pairs_it_is_the_plain_training() -> None:
    config = replace(SHORT, spatial=0.0, frequency=0.0, pairs="outputs")
    plain_config = TrainingConfig(steps=8, batch=4, log_every=2, save_every=3, ema=0.9)
    plain = Trainer(UNet(SMALL), IMAGES, WHITE, plain_config, accelerator=Accelerator(cpu=True))
    run = distiller(config)
    assert [r["loss"] for r in run.run()] == [r["loss"] for r in plain.run()]
    assert_identical(run.weights(), plain.weights())
    focal = distiller(replace(config, focal=1.0))
    weighed = distiller(replace(config, frequency=0.1))  # the weight against the true target
    for other in (focal, weighed):
        assert other.run()[-1]["loss"] > 1.02 * run.history[-1]["loss"]
    doubled = distiller(replace(config, spatial=1.0))
    assert doubled.run()[0]["loss"] > 1.5 * run.history[0]["loss"]  # twice the loss of the task


# Features


@pytest.mark.parametrize("gated", [False, True])
def test_features_of_all_scales_are_matched(gated: bool) -> None:
    sizes = {"widths": (4, 8, 12), "groups": 4, "layers": 2, "attention": (1,)}
    student = WaveletUNet(WaveletUNetConfig(**sizes)) if gated else UNet(UNetConfig(**sizes))  # type: ignore[arg-type]
    teacher = awake(UNet(UNetConfig(widths=(8, 8, 16), groups=4)))
    run = Distiller(student, teacher, IMAGES, WHITE, SHORT, accelerator=Accelerator(cpu=True))
    x_t, t = noise(3, 1, *SIZE), torch.tensor([1, 500, 999])
    (_, own), (shown, taught) = run.network(x_t, t), tapped(teacher, x_t, t)
    assert [a.shape for a in own] == [b.shape for b in taught]
    assert [a.shape[-1] for a in own] == [8, 4, 2, 2, 2, 4, 8]
    assert torch.equal(shown, teacher(x_t, t))
    assert not any(module._forward_hooks for module in (*teacher.modules(), *run.network.modules()))
    assert type(run.denoiser()) is type(student)
    assert run.denoiser().state_dict().keys() == student.state_dict().keys()  # convolutions are dropped


def test_a_preconditioned_student_is_tapped_inside() -> None:
    spectrum = power_law_spectrum(SIZE)
    student, teacher = (Preconditioned(UNet(config), WHITE, spectrum) for config in (SMALL, LARGE))
    run = Distiller(student, teacher, IMAGES, WHITE, SHORT, accelerator=Accelerator(cpu=True))
    assert run.run(until=2)[-1]["loss"] > 0
    with pytest.raises(ValueError, match="prediction='sample', but the network returns 'v_prediction'"):
        Distiller(student, teacher, IMAGES, WHITE, replace(SHORT, prediction="sample"))


# The run


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_run_ends_like_one_that_was_not_interrupted(tmp_path: Path, stop: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run = distiller(folder=whole)
    run.run()
    distiller(folder=parts).run(until=stop)
    resumed = distiller(folder=parts)
    assert resumed.step == stop
    resumed.run()
    assert_identical(everything(run, whole), everything(resumed, parts))
    assert any("match" in name for name in everything(run, whole))


def share(rank: int, port: int, folder: str) -> None:
    """What each of two processes does."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with one_thread():
        run = distiller(folder=Path(folder))
        assert run.accelerator.num_processes == 2
        run.run()
        run.accelerator.end_training()


def test_two_processes_do_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.multiprocessing.spawn(share, args=(port, str(tmp_path / "two")), nprocs=2)
    single = distiller(folder=tmp_path / "one")
    single.run()
    found, expected = everything(single, tmp_path / "two"), everything(single, tmp_path / "one")
    assert found.keys() == expected.keys()
    for name in expected:  # other orders of summation, amplified by Adam in 8 steps
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-5)


def test_only_the_same_teacher_continues_a_run(tmp_path: Path) -> None:
    distiller(folder=tmp_path).run(until=2)
    with pytest.raises(ValueError, match="of another run, with other teacher"):
        distiller(folder=tmp_path, teacher=awake(UNet(LARGE, seed=8)))
    with pytest.raises(ValueError, match=r"other alpha \(was -1.0, now -2.0\)"):
        distiller(replace(SHORT, alpha=-2.0), tmp_path)


def test_bf16_is_close_to_single_precision() -> None:
    losses = [
        float(distiller(replace(SHORT, precision=p)).loss(0)["loss"].detach()) for p in ("bf16", "fp32")
    ]  # type: ignore[arg-type]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spatial": -0.1}, "spatial=-0.1: factors of losses must not be negative"),
        ({"focal": -1.0}, "focal=-1.0"),
        ({"floor": 0.0}, "floor=0.0: must be positive"),
        ({"pairs": "all"}, "pairs='all': must be one of features, outputs"),
        ({"alpha": "high"}, "alpha='high'"),
    ],
)
def test_numbers_that_do_not_work_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SHORT, **change)


def test_networks_that_do_not_fit_are_refused() -> None:
    deep = UNet(UNetConfig(widths=(4, 4, 4), groups=2))
    with pytest.raises(ValueError, match=r"the teacher's .* as many widths, or compare pairs='outputs'"):
        distiller(teacher=deep)
    with pytest.raises(ValueError, match="LinearDenoiser has no blocks to tap"):
        distiller(teacher=LinearDenoiser(SIZE, 1000))
    with pytest.raises(ValueError, match="pairs='features' needs a teacher"):
        Distiller(UNet(SMALL), None, IMAGES, WHITE, SHORT)


# Students as experiments


def tiny(name: str, arms: tuple[Student, ...], **options: Any) -> Compression:
    sizes: dict[str, Any] = {"widths": (4, 8), "groups": 2, "batch": 4, "samples": 32, "sampler_steps": (2,)}
    data = Data("photographs", count=64)
    return Compression(name, data, arms, seeds=1, features=("spectrum",), **sizes, **options)


TINY = (
    tiny("tiny-capacity", (Student("large", widths=(8, 16)),), budgets=(3,)),
    tiny(
        "tiny-students",
        (
            Student("both", learns="features", spatial=0.1, frequency=0.1, gated=True),
            Student("alone, long", pace=3),
        ),
        budgets=(1, 2),
        teacher="tiny-capacity",
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two tiny experiments: a teacher, and its student."""
    folder = tmp_path_factory.mktemp("students")
    with pytest.MonkeyPatch.context() as patch, one_thread():
        know(patch, *TINY)
        for experiment in TINY:
            experiments.reproduce(experiment.name, folder=folder, report=lambda _: None)
    return folder


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, *TINY)


@pytest.mark.usefixtures("_known")
def test_students_have_the_published_teacher_and_tell_what_they_cost(trained: Path) -> None:
    result = experiments.load("tiny-students", folder=trained)
    own = run_of(result.experiment, result.experiment.arms[0], 0, {}, trained)
    assert isinstance(own, StudentRun)
    taught = experiments.load("tiny-capacity", folder=trained).denoiser("large")[1].state_dict()
    assert_identical(own.teacher().state_dict(), taught)
    steps = result.curves.groupby("arm").step.max().to_dict()
    assert steps == {"both": 2, "alone, long": 6}
    table = result.table[result.table.budget == 2].set_index(["arm", "measure"]).value
    for arm in ("both", "alone, long"):
        network = result.denoiser(arm)[1]
        assert isinstance(network, WaveletUNet) == (arm == "both")
        assert table[arm, "parameters"] == sum(p.numel() for p in network.parameters())
        assert table[arm, "step time"] > 0


def test_a_run_at_another_pace_counts_steps_of_its_budget(tmp_path: Path) -> None:
    def paced(folder: Path) -> Paced:
        return Paced(distiller(replace(SHORT, steps=6), folder), 3)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    paced(whole).run(until=2)
    paced(parts).trainer.run(until=4)  # killed between two steps of the budget
    resumed = paced(parts)
    assert resumed.step == 1 and resumed.history[-1]["step"] == 4
    resumed.run(until=2)
    assert resumed.step == 2
    assert_identical(everything(paced(whole).trainer, whole), everything(resumed.trainer, parts))


def test_multiplications_are_those_of_the_layers() -> None:
    """Counted with hooks: pixels times kernel times channels for a convolution, features for a matrix."""
    experiment = replace(TINY[0], budgets=(0,))
    run = StudentRun(experiment, experiment.arms[0], 0, {})
    images = images_of(experiment.data, experiment.samples)
    course = run.trainer(images, None, steps=1, accelerator=Accelerator(cpu=True))
    total = 0

    def add(module: Any, args: Any, out: Tensor) -> None:
        nonlocal total
        total += out.numel() * module.weight[0].numel()

    network = course.trainer.denoiser()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    network(images.train[:1], torch.ones(1, dtype=torch.int64))
    found = {row.measure: row.value for row in run.judge(course, images, 0)[0]}
    assert found["MACs"] == total > 1e5


@pytest.mark.usefixtures("_known")
def test_students_are_stale_when_their_teacher_is_another(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "results")
    experiments.check("tiny-students", folder=tmp_path / "results")
    place = tmp_path / "results/tiny-capacity"
    tensors = load_file(place / "weights.safetensors")
    tensors["large/blocks.conv_in.bias"] += 1e-3
    save_file(tensors, place / "weights.safetensors")
    with pytest.raises(experiments.StaleError, match="not the file that was written"):
        experiments.check("tiny-students", folder=tmp_path / "results")
    manifest = json.loads((place / "manifest.json").read_bytes())
    digest = hashlib.sha256((place / "weights.safetensors").read_bytes()).hexdigest()
    manifest["files"]["weights.safetensors"] = digest  # as if trained anew
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(experiments.StaleError, match="'teacher 0'"):
        experiments.check("tiny-students", folder=tmp_path / "results")


@pytest.mark.usefixtures("_known")
def test_a_student_without_a_trained_teacher_says_so(tmp_path: Path) -> None:
    with pytest.raises(experiments.StaleError, match="no results of 'tiny-capacity'"):
        experiments.reproduce("tiny-students", folder=tmp_path, report=lambda _: None)


def test_gates_and_preconditioner_exclude_each_other() -> None:
    arm = Student("both", gated=True, precondition="spectral", loss="unit")
    run = StudentRun(TINY[0], arm, 0, {})
    spectrum = images_of(TINY[0].data, 32).spectrum
    with pytest.raises(ValueError, match="'both': gated networks have no preconditioner"):
        run.network(run.process(spectrum), spectrum)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_teachers_and_students_fit(scale: Any) -> None:
    """Equal images, equally many levels, a teacher of 8 times the parameters, and arms of equal ones."""
    found = {name: experiments.get(name, scale) for name in experiments.names(scale)}
    students = [e for name, e in found.items() if isinstance(e, Compression) and e.teacher]
    assert students
    for experiment in students:
        teacher = found[experiment.teacher]
        assert teacher.data == experiment.data
        assert isinstance(teacher, Compression)
        large = next(arm for arm in teacher.arms if arm.name == "large")
        spectrum = torch.ones(experiment.data.size, experiment.data.size // 2 + 1)
        noising = diffusion.white(size=(16, 16))
        plain = [arm for arm in experiment.arms if arm.precondition == "none"]
        with torch.device("meta"):
            networks = [
                StudentRun(e, arm, 0, {}).network(noising, spectrum)
                for e, arm in ((teacher, large), *((experiment, arm) for arm in plain))
            ]
        first, *others = (sum(p.numel() for p in network.parameters()) for network in networks)
        assert first > 8 * max(others) and max(others) < 1.02 * min(others)
        assert experiment.smoke().teacher == ""


@pytest.mark.parametrize("name", ["photographs", "grass"])
def test_both_losses_are_given_the_strength_of_the_other(name: str) -> None:
    """Factors of ``strength-NAME`` are 0.1 times and over the mean weight, to their two digits."""
    strong, weak = experiments.get(f"strength-{name}").arms
    experiment = experiments.get(f"distill-{name}")
    train = images_of(experiment.data, 32).train
    pairs = {16: 3, 8: 2, 4: 3}  # with the predictions
    mean = sum(n * float(frequency_weight(train, (k, k)).mean()) for k, n in pairs.items()) / 8
    assert strong.spatial / 0.1 == pytest.approx(mean, rel=0.02) and strong.frequency == 0
    assert 0.1 / weak.frequency == pytest.approx(mean, rel=0.02) and weak.spatial == 0
