"""Experiments by name: every smoke form runs, wrong names suggest, and whoever likes adds a kind."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fans import experiments
from fans.experiments import Data, Denoising, Experiment, machine, registry
from fans.experiments import run as training
from fans.experiments.data import Images
from fans.experiments.kinds.adapters import Adapting
from fans.experiments.registry import run_of
from fans.experiments.results import fingerprint
from fans.experiments.run import Measure, Run, outcome
from tiny import TINY

RESULTS = Path(__file__).resolve().parents[2] / "results"
PUBLISHED = sorted(path.name for path in RESULTS.glob("[!.]*") if path.is_dir())
OTHERS = [name for name in experiments.names("cpu") if name not in PUBLISHED] or ["terms-0"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", OTHERS)
def test_the_smoke_form_of_every_experiment_runs(name: str) -> None:
    """That of published ones runs when they are checked, below."""
    experiment = experiments.get(name)
    found = fingerprint(experiment, RESULTS)
    assert all(f"{arm.name} loss" in found for arm in experiment.arms)
    assert all(math.isfinite(value) for value in found.values())


def gpu_forms() -> list[Experiment]:
    """Smoke forms of the gpu experiments: every arm once, and of every experiment at least its first arm."""
    forms, seen = [], set[str]()
    for name in experiments.names("gpu"):
        form = experiments.get(name, "gpu").smoke()
        fresh = tuple(arm for arm in form.arms if arm.name not in seen) or form.arms[:1]
        seen |= {arm.name for arm in fresh}
        forms.append(replace(form, arms=fresh))
    return forms


@pytest.mark.parametrize("form", gpu_forms(), ids=lambda form: form.name)
def test_the_smoke_form_of_every_gpu_experiment_runs_on_a_cpu(form: Experiment, tmp_path: Path) -> None:
    if isinstance(form, Denoising):
        assert form.precision == "bf16"
        assert len(form.widths) <= 3 and max(form.widths) <= 8 and not form.attention
    for arm in form.arms:
        run = run_of(form, arm, 0, arm.options, None)
        training.train(run, tmp_path / run.folder)
        found = outcome(run, tmp_path / run.folder)
        assert {row.budget for row in found.measures} == {0, 2}
        assert all(math.isfinite(row.value) for row in found.measures)
        shown = 0 if isinstance(form, Adapting) else 16  # adaptations have no pictures of their own
        assert found.samples.shape == (shown, form.data.channels, form.data.size, form.data.size)


def test_an_experiment_of_a_kind_that_nobody_runs_is_named() -> None:
    with pytest.raises(TypeError, match=r"'odd' is a Experiment: kinds that run are Denoising"):
        run_of(Experiment("odd", TINY.data, TINY.arms), TINY.arms[0], 0, {}, None)


def test_smoke_covers_all_and_is_small() -> None:
    assert set(experiments.names("smoke")) == {*experiments.names("cpu"), *experiments.names("gpu")}
    for name in experiments.names("smoke"):
        form = experiments.get(name, "smoke")
        assert ":" not in form.data.name and form.seeds == 1 and form.budgets == (0, 2)
        assert json.loads(json.dumps(form.plain()))["name"] == name


@pytest.mark.parametrize(
    "name", [name for name in experiments.names("gpu") if experiments.get(name, "gpu").features]
)
def test_gpu_experiments_have_images_enough(name: str) -> None:
    """Six held-out images for every sample; the hub's data sets have so many rows, or larger pictures."""
    experiment = experiments.get(name, "gpu")
    source = experiment.data
    if source.name == "hub:uoft-cs/cifar10":
        assert source.options["hub_split"] == {"train": "train[:40000]", "test": "train[40000:]+test"}
        assert source.count == 40_000 and 6 * experiment.samples <= 20_000
    assert experiment.samples > 2048 and experiments.get(name, "gpu", fid=True).features[0] == "inception"


def test_test_beds_compare_no_features_and_so_have_no_fid() -> None:
    assert experiments.get("generator-rings", "gpu", fid=True) == experiments.get("generator-rings", "gpu")


def test_unknown_names_suggest() -> None:
    with pytest.raises(
        ValueError, match=r"no experiment 'fans-pltp' at scale 'cpu': did you mean 'fans-pltb'\?"
    ):
        experiments.get("fans-pltp")
    for function in (experiments.load, experiments.check):
        with pytest.raises(ValueError, match=r"did you mean 'terms-1'\?"):
            function("terms1")
    with pytest.raises(ValueError, match="no experiment 'fans-cifar10' at scale 'cpu'"):
        experiments.get("fans-cifar10")
    with pytest.raises(ValueError, match="scale='tpu': must be one of smoke, cpu, gpu"):
        experiments.names("tpu")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="needs more than 2048 samples, and 'fans-pltb' at scale 'cpu' has 256"
    ):
        experiments.get("fans-pltb", fid=True)


# A kind from outside the package


@dataclass(frozen=True)
class Offset:
    """An arm: where the search for the mean begins."""

    name: str
    start: float = 0.0
    options: Any = None
    grid: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Means(Experiment):
    """Finds the mean image by gradient descent."""

    arms: tuple[Offset, ...]


class Descent:
    """Half the way to the mean of the images with each step."""

    def __init__(self, images: Images, start: float, accelerator: Any) -> None:
        self.mean, self.x = images.train.mean(0), torch.full_like(images.train[0], start)
        self.step, self.accelerator = 0, accelerator or machine.processes()
        self.history: list[dict[str, float]] = []

    def run(self, *, until: int | None = None) -> list[dict[str, float]]:
        while self.step < (2 if until is None else until):
            self.x, self.step = (self.x + self.mean) / 2, self.step + 1
            self.history.append({"step": self.step, "loss": float((self.x - self.mean).square().mean())})
        return self.history

    def weights(self) -> dict[str, Tensor]:
        return {"x": self.x}


@experiments.kind(Means)
@dataclass(frozen=True)
class MeansRun(Run):
    experiment: Means
    arm: Offset
    telling: ClassVar[tuple[str, ...]] = ("mse",)

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Descent:
        return Descent(images, self.arm.start, accelerator)

    def judge(self, course: Descent, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        error = float((course.x - images.train.mean(0)).square().mean())
        return [Measure(self.arm.name, self.seed, budget, None, "mse", error)], images.test[:16]


MEANS = Means(
    "means",
    Data("rings", count=64),
    (Offset("near", options={}), Offset("far", start=8.0, options={})),
    seeds=2,
    budgets=(0, 2),
    samples=16,
    features=("spectrum",),
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of experiments of the test's own."""
    monkeypatch.setitem(registry._NAMED, "cpu", dict(registry._NAMED["cpu"]))


@pytest.mark.usefixtures("registered")
def test_a_kind_from_outside_is_run_checked_and_loaded(tmp_path: Path) -> None:
    experiments.register(MEANS)
    assert experiments.get("means") is MEANS and "means" in experiments.names("smoke")
    experiments.reproduce("means", folder=tmp_path, workers=2, report=lambda _: None)
    assert experiments.check("means", folder=tmp_path).manifest["scale"] == "cpu"
    result = experiments.load("means", folder=tmp_path)
    errors = result.table.set_index(["arm", "seed", "budget"]).value
    for arm in ("near", "far"):  # each step halves the distance; six digits are stored
        for seed in (0, 1):
            started = errors[arm, 0, 0]
            assert errors[arm, seed, 2] == pytest.approx(started / 16, rel=1e-4)
    assert result.weights("far")["x"].shape == (1, 16, 16)
    with pytest.raises(ValueError, match="means trains no denoisers"):
        result.denoiser("far")
    experiments.register(replace(MEANS, seeds=1), again=True)
    with pytest.raises(experiments.StaleError, match=r"other seeds \(was 2, is 1\)"):
        experiments.load("means", folder=tmp_path)


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_registered_is_refused() -> None:
    experiments.register(MEANS, MEANS)
    with pytest.raises(ValueError, match="another experiment is called 'means' at scale 'cpu': choose"):
        experiments.register(replace(MEANS, seeds=1))
    with pytest.raises(ValueError, match="unknown scale 'smoke': use one of cpu, gpu"):
        experiments.register(MEANS, scale="smoke")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'odd' is a Experiment: kinds that run are Denoising"):
        experiments.register(Experiment("odd", MEANS.data, MEANS.arms))
    assert "odd" not in experiments.names()
