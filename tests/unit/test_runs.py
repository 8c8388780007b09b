"""Experiments: every one in its smoke form, equal tables however they came about, and stale results named."""

import json
import math
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from fans import experiments
from fans.diffusion import losses, streams, wiener
from fans.diffusion.sampling import sample
from fans.experiments import data, judge, machine, publish, registry, results
from fans.experiments import train as training
from fans.experiments.config import Arm, Data, Denoising, Experiment
from fans.experiments.denoising import DenoisingRun
from fans.experiments.kinds import run_of
from fans.experiments.results import StaleError, fingerprint
from fans.experiments.run import outcome
from victims import until, victims

CALL = import_module("fans.experiments.reproduce")  # the package gives the function of that name
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
PUBLISHED = sorted(path.name for path in RESULTS.glob("[!.]*") if path.is_dir())
OTHERS = [name for name in experiments.names("cpu") if name not in PUBLISHED] or ["terms-0"]
TABLES = ("table.csv", "curves.csv", "weights.safetensors", "samples.safetensors")
GRID = tuple({"alpha": alpha, "beta": 0.5, "gamma": 1.0} for alpha in (0.3, 0.6))
TINY = Denoising(
    "tiny",
    Data("rings"),
    (
        Arm("white, scalar", precondition="scalar", loss="unit"),
        Arm("FANS, spectral", "fans", precondition="spectral", loss="unit", grid=GRID),
    ),
)


def reproduce(folder: Path, **options: Any) -> experiments.Result:
    """The smallest experiment that has all parts, in seconds."""
    options.setdefault("report", lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._CPU, "tiny", TINY)
        return experiments.reproduce("tiny", scale="smoke", folder=folder, **options)


def reproduce_until_killed(folder: str) -> None:
    reproduce(Path(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "tiny" / name).read_bytes() for name in TABLES}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CPU, "tiny", TINY)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Results of an uninterrupted call in this process, and how long they took."""
    folder, started = tmp_path_factory.mktemp("whole"), time.monotonic()
    reproduce(folder)
    return folder, time.monotonic() - started


@pytest.fixture
def copied(whole: tuple[Path, float], tmp_path: Path) -> Path:
    """A copy of these results, to be spoiled."""
    shutil.copytree(whole[0] / "tiny", tmp_path / "tiny")
    return tmp_path


# Every experiment


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
        assert len(form.widths) == len(experiments.get(form.name, "gpu").widths)
    for arm in form.arms:
        run = run_of(form, arm, 0, arm.options, None)
        training.train(run, tmp_path / run.folder)
        found = outcome(run, tmp_path / run.folder)
        assert {row.budget for row in found.measures} == {0, 2}
        assert all(math.isfinite(row.value) for row in found.measures)
        assert found.samples.shape == (16, form.data.channels, 16, 16)


def test_an_experiment_of_a_kind_that_nobody_runs_is_named() -> None:
    with pytest.raises(TypeError, match=r"'odd' is a Experiment: kinds that run are Denoising"):
        run_of(Experiment("odd", TINY.data, TINY.arms), TINY.arms[0], 0, {}, None)


def test_test_beds_have_weights_but_no_denoiser_and_no_grid() -> None:
    result = experiments.load("generator-rings", folder=RESULTS)
    name = result.experiment.arms[0].name
    assert all(tensor.isfinite().all() for tensor in result.weights(name).values())
    with pytest.raises(ValueError, match=r"generator-rings trains no denoisers: `weights` has what it"):
        result.denoiser(name)
    run = run_of(result.experiment, result.arm(name), 0, {}, None)
    with pytest.raises(ValueError, match=f"has no grid: leave '{name}' without one"):
        run.distance(None, None)  # type: ignore[arg-type]


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


# Equal tables


def test_results_are_whole(whole: tuple[Path, float]) -> None:
    result = experiments.check("tiny", folder=whole[0])
    assert [path.name for path in whole[0].iterdir() if path.name != ".tiny.lock"] == ["tiny"]
    assert result.manifest["scale"] == "smoke" and result.manifest["chosen"].keys() == {"FANS, spectral"}
    table = result.table
    assert set(table.arm) == {
        "white, scalar",
        "FANS, spectral",
        *(f"FANS, spectral {text}" for text in POINTS),
    }
    assert {"bound", "bound 7", "sampler 0", "gain 0", "stray 0", "total 0", "FD_spectrum"} <= set(
        table.measure
    )
    assert set(result.curves.step) == {1, 2}
    grid = table[table.seed == 100]
    assert list(result.manifest["chosen"].values()) == [GRID[int(grid.value.to_numpy().argmin())]]


POINTS = ("alpha=0.3 beta=0.5 gamma=1", "alpha=0.6 beta=0.5 gamma=1")


@pytest.mark.parametrize("workers", [1, 2])
def test_two_reproductions_are_identical(workers: int, whole: tuple[Path, float], tmp_path: Path) -> None:
    told: list[str] = []
    reproduce(tmp_path, workers=workers, report=told.append)
    assert contents(tmp_path) == contents(whole[0])
    assert told == ["tiny: grid of FANS, spectral", "tiny: white-scalar-0", "tiny: fans-spectral-0"]


def test_results_that_are_up_to_date_are_left_alone(copied: Path) -> None:
    before = (copied / "tiny/manifest.json").stat().st_mtime_ns
    (copied / ".tiny.smoke.runs").mkdir()  # of a call that was killed at its very end
    told: list[str] = []
    reproduce(copied, report=told.append)
    assert told == ["tiny: results are up to date"] and not (copied / ".tiny.smoke.runs").exists()
    assert (copied / "tiny/manifest.json").stat().st_mtime_ns == before


@pytest.mark.skipif(os.name == "nt", reason="processes are forked")
def test_kills_at_random_moments_do_not_show(whole: tuple[Path, float], tmp_path: Path) -> None:
    rng, kills = random.Random(0), 0
    with victims("test_runs", "reproduce_until_killed") as kill:
        for _ in range(6):
            later = time.monotonic() + rng.uniform(0.2, 0.9) * whole[1]
            kills += kill(tmp_path, partial(until, lambda end=later: time.monotonic() > end))
    assert kills
    reproduce(tmp_path)
    assert contents(tmp_path) == contents(whole[0])
    assert {path.name for path in tmp_path.iterdir()} == {".tiny.lock", "tiny"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code may clean up after it."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize("function", ["replace", "rmtree"])
def test_kills_while_publishing_do_not_show(
    function: str, whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call in turn that renames or deletes, until none is left; runs are made once."""
    shutil.copytree(whole[0] / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny/table.csv").write_text("to be replaced")
    owner: Any = os if function == "replace" else shutil
    original = getattr(owner, function)
    monkeypatch.setattr(results, "fingerprint", lambda *_: KNOWN)
    with monkeypatch.context() as patch:
        patch.setattr(CALL, "publish", die)
        with pytest.raises(Killed):
            reproduce(tmp_path)
    for call in range(50):
        calls = iter(range(50))

        def killed(*places: Any, last: int = call, calls: Iterator[int] = calls, **options: Any) -> Any:
            if next(calls) == last:
                raise Killed
            return original(*places, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, function, killed)
            try:
                reproduce(tmp_path)
            except Killed:
                continue
        break
    assert call >= 2 and contents(tmp_path) == contents(whole[0])
    assert {path.name for path in tmp_path.iterdir()} == {".tiny.lock", "tiny"}


KNOWN = {"a number": 1.0}


def test_runs_of_other_code_are_not_taken_over(
    whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CALL, "publish", die)
        patch.setattr(judge, "BANDS", 4)  # as the code was when the runs were made
        with pytest.raises(Killed):
            reproduce(tmp_path)
    told: list[str] = []
    reproduce(tmp_path, report=told.append)
    assert told[0] == "tiny: begins anew, since configuration or code changed"
    assert contents(tmp_path) == contents(whole[0])


@pytest.mark.parametrize("name", ["measures-0.json", "curve.json", "weights.safetensors", "grid"])
def test_a_damaged_file_of_a_run_is_made_again(
    name: str, whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "fingerprint", lambda *_: KNOWN)
    with monkeypatch.context() as patch:
        patch.setattr(CALL, "publish", die)
        with pytest.raises(Killed):
            reproduce(tmp_path)
    work, told = tmp_path / ".tiny.smoke.runs", list[str]()
    damaged = work / ("grid-fans-spectral.json" if name == "grid" else f"white-scalar-0/{name}")
    damaged.write_bytes(damaged.read_bytes()[:-3])
    reproduce(tmp_path, report=told.append)
    assert any("white-scalar-0 begins anew" in text for text in told) == (name != "grid")
    assert contents(tmp_path) == contents(whole[0])


def test_a_gap_in_a_run_is_named(tmp_path: Path) -> None:
    form = experiments.get("tiny", "smoke")
    run = DenoisingRun(form, form.arms[0], 0, {})
    training.train(run, tmp_path)
    (tmp_path / "measures-0.json").unlink()
    training.train(run, tmp_path)  # from the start, since checkpoints of finished runs are deleted
    images = data.images_of(form.data, form.samples)
    trainer = run.trainer(images, tmp_path / "other", steps=2)
    trainer.run()
    with pytest.raises(
        ValueError, match=r"measures-0.json is missing, but the run is at step 2 already: delete"
    ):
        training._judge(run, trainer, images, tmp_path / "other", 0)


# Two processes


def share(rank: int, port: int, folder: str) -> None:
    """What each of two processes does that ``accelerate launch`` would start."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "ACCELERATE_USE_CPU": "true",
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    told: list[str] = []
    reproduce(Path(folder), report=told.append)
    assert (told != []) == (rank == 0)
    with pytest.raises(ValueError, match="workers=2 with 2 launched processes"):
        reproduce(Path(folder), workers=2)
    reproduce(Path(folder), report=told.append)
    assert told[-1:] == (["tiny: results are up to date"] if rank == 0 else [])
    Accelerator().end_training()


def test_two_processes_make_the_table_of_one(
    whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.multiprocessing.spawn(share, args=(port, str(tmp_path)), nprocs=2)
    one, two = (experiments.load("tiny", folder=folder) for folder in (whole[0], tmp_path))
    assert one.manifest["fingerprint"] == two.manifest["fingerprint"]
    assert one.table.drop(columns=["value", "low", "high"]).equals(
        two.table.drop(columns=["value", "low", "high"])
    )
    assert (one.table.value - two.table.value).abs().max() < 0.01


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    from fans.experiments.reproduce import _each

    with pytest.raises(ChildProcessError, match="a worker was killed, perhaps for lack of memory"):
        _each(os._exit, [(1,), (1,)], 2, lambda _: None)


def test_a_folder_is_for_one_call_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / ".tiny.lock"
    with (
        machine.locked(path),
        pytest.raises(BlockingIOError, match=r"\.tiny\.lock: another process works on these results"),
    ):
        reproduce(tmp_path)
    with machine.locked(path):
        pass


def test_threads_are_given_back(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        form = experiments.get("terms-0", "smoke")
        training.train(DenoisingRun(form, form.arms[0], 0, {}), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


# Stale results


def spoiled_manifest(folder: Path, **changes: Any) -> None:
    file = folder / "tiny/manifest.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))


def test_a_changed_configuration_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CPU, "tiny", replace(TINY, rate=1e-3))
    message = (
        r"tiny: .*another configuration now, other rate \(was 0.002, is 0.001\); run `fans reproduce tiny`"
    )
    with pytest.raises(StaleError, match=message):
        experiments.check("tiny", folder=copied)
    monkeypatch.setitem(registry._CPU, "tiny", replace(TINY, arms=TINY.arms[:1]))
    with pytest.raises(StaleError, match="other arms; run"):
        experiments.load("tiny", folder=copied)


def doubled(original: Any) -> Any:
    return lambda *arguments, **options: 1.1 * original(*arguments, **options)


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        (wiener, "reconstruction_filter", "bound"),
        (losses, "residual_power", "loss"),
        (losses, "weighted_error", "loss"),
    ],
)
def test_changed_code_is_named(
    module: Any, function: str, number: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, function, doubled(getattr(module, function)))
    message = (
        rf"tiny: code or data changed, .* fingerprint differ, first '.* {number}.*' \(was .*, now .*\); run"
    )
    with pytest.raises(StaleError, match=message):
        experiments.check("tiny", folder=copied)


def test_changed_data_are_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = data.load
    monkeypatch.setattr(data, "load", lambda *a, **o: original(*a, **o).square())
    data._images.cache_clear()
    try:
        with pytest.raises(
            StaleError, match=r"data, or features of images, changed, .* first 'features spectrum'"
        ):
            experiments.check("tiny", folder=copied)
    finally:
        data._images.cache_clear()


def test_not_a_number_is_a_difference() -> None:
    nan, inf = math.nan, math.inf
    then = {"a": 1.0, "b": nan, "c": inf, "d": 2.0, "e": 3.0}
    assert results.differences(then, {"a": 1.001, "b": nan, "c": inf, "d": nan, "f": 3.0}) == ["d", "f", "e"]


@pytest.mark.parametrize("name", TABLES)
def test_a_truncated_file_is_named(name: str, copied: Path) -> None:
    file = copied / "tiny" / name
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(
        StaleError, match=f"{name}: missing, or not the file that was written; restore it from"
    ):
        experiments.load("tiny", folder=copied)
    file.unlink()
    with pytest.raises(StaleError, match=f"{name}: missing"):
        experiments.check("tiny", folder=copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another, version 9"}, "not a manifest of 'fans results, version 1'"),
        ({"name": "fans-pltb"}, "the manifest of 'fans-pltb', not of 'tiny'"),
        ({"scale": "tpu"}, "scale missing or of the wrong kind"),
        ({"files": [], "config": None}, "config, files missing or of the wrong kind"),
    ],
)
def test_a_foreign_manifest_is_named(changes: dict[str, Any], message: str, copied: Path) -> None:
    spoiled_manifest(copied, **changes)
    with pytest.raises(StaleError, match=rf"manifest.json: {message}; run `fans reproduce tiny`"):
        experiments.load("tiny", folder=copied)


def test_a_truncated_manifest_is_named_and_made_again(copied: Path, whole: tuple[Path, float]) -> None:
    file = copied / "tiny/manifest.json"
    for text in (file.read_text()[:-20], "[]", ""):
        file.write_text(text)
        with pytest.raises(StaleError, match=r"manifest.json: not "):
            experiments.check("tiny", folder=copied)
    reproduce(copied)
    assert contents(copied) == contents(whole[0])


def test_results_of_another_scale_are_not_replaced(copied: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has results of scale 'smoke': give another folder for scale 'cpu'"
    ):
        experiments.reproduce("tiny", folder=copied, force=True)


def test_what_is_not_ours_is_not_replaced(copied: Path) -> None:
    (copied / "tiny/manifest.json").unlink()
    with pytest.raises(
        ValueError, match=r"tiny holds no results of ours: move it away, or give another folder"
    ):
        reproduce(copied, force=True)
    assert (copied / "tiny/table.csv").exists()


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match=r"no results of 'tiny' in .*: run `fans reproduce tiny`"):
        experiments.load("tiny", folder=tmp_path)


# What results hold


@pytest.mark.parametrize("name", [arm.name for arm in TINY.arms])
def test_stored_networks_draw_the_stored_samples(name: str, whole: tuple[Path, float]) -> None:
    """To the rounding of weights and samples to half precision."""
    result = experiments.load("tiny", folder=whole[0])
    process, denoiser = result.denoiser(name)
    shape = (16, 1, *process.size)
    drawn = sample(
        process,
        denoiser,
        shape,
        generator=streams(judge.SAMPLING_SEED, 16),
        steps=result.experiment.sampler_steps[-1],
        prediction=result.arm(name).prediction,
    )
    restored = drawn * result.manifest["deviation"] + result.manifest["mean"]
    torch.testing.assert_close(restored, result.samples(name), rtol=2e-3, atol=2e-3)
    assert result.samples("real").shape == shape
    with pytest.raises(ValueError, match="no arm 'black' in tiny: it has white, scalar, FANS, spectral"):
        result.denoiser("black")


def test_home_is_that_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    book = tmp_path / "book"
    (book / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(book / "notebooks")
    assert results.home() == tmp_path / "results"
    (book / ".git").mkdir()
    assert results.home() == book / "results"
    (book / "results").mkdir()
    assert results.home() == book / "results"
    assert results.home("elsewhere") == Path("elsewhere")


def test_the_commit_is_that_of_the_package(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    package = tmp_path / "fans"
    package.mkdir()
    (package / "__init__.py").touch()
    assert publish._commit(package) is None
    git("init", "-q")
    assert publish._commit(package) is None  # another's repository, which does not track the package
    git("add", ".")
    git("commit", "-qm", "x")
    clean = publish._commit(package)
    assert clean and len(clean) == 40
    (tmp_path / "results.csv").touch()
    assert publish._commit(package) == clean
    (package / "__init__.py").write_text("1")
    assert publish._commit(package) == f"{clean}-dirty"


def test_there_may_be_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert publish.provenance()["commit"] is None


def test_large_sets_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(50, 2, 8, 8, generator=torch.Generator().manual_seed(0)) + 1
    at_once = (data._moments(x), data._spectrum(x))
    monkeypatch.setattr(data, "_CHUNK", 7)
    moments, spectrum = data._moments(x), data._spectrum(x)
    assert moments == pytest.approx(at_once[0], rel=1e-12)
    assert moments == pytest.approx((float(x.double().mean()), float(x.double().std())), rel=1e-12)
    torch.testing.assert_close(spectrum, at_once[1])


def test_images_are_standardised_by_those_for_training() -> None:
    found = data.images_of(TINY.data, 4)
    assert (len(found.train), len(found.validate), len(found.test)) == (4096, 12, 12)
    assert abs(float(found.train.mean())) < 1e-5 and abs(float(found.train.std()) - 1) < 1e-5
    assert not any(bool((image == found.validate).flatten(1).all(1).any()) for image in found.test)
    torch.testing.assert_close(found.restored(found.train[:1]), data.load("rings", size=16, count=1))


# Published results


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_results_are_those_of_this_code(name: str) -> None:
    assert experiments.check(name, folder=RESULTS).manifest["scale"] != "smoke"


def test_published_results_are_small() -> None:
    size = sum(path.stat().st_size for name in PUBLISHED for path in (RESULTS / name).rglob("*"))
    assert size < 40e6
