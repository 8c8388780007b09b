"""Equal tables however they came about: at once, in pieces, by several workers and processes."""

import os
import random
import shutil
import socket
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from conftest import Whole
from safetensors.torch import save

from fans import experiments
from fans.experiments import data, grid, machine, results
from fans.experiments import run as training
from fans.experiments.kinds import denoiser_measures
from fans.experiments.kinds.denoising import DenoisingRun
from fans.experiments.run import outcome
from tiny import GRID, TINY, contents, reproduce
from victims import until, victims

CALL = import_module("fans.experiments.reproduce")  # the package gives the function of that name
KNOWN = {"a number": 1.0}
POINTS = ("alpha=0.3 beta=0.5 gamma=1", "alpha=0.6 beta=0.5 gamma=1")

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_known")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run left."""
    folder, form = tmp_path_factory.mktemp("finished"), TINY.smoke()
    training.train(DenoisingRun(form, form.arms[0], 0, {}), folder)
    return folder


def test_results_are_whole(whole: Whole) -> None:
    result = experiments.check("tiny", folder=whole.folder)
    assert [path.name for path in whole.folder.iterdir() if path.name != ".tiny.lock"] == ["tiny"]
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


@pytest.mark.parametrize("workers", [1, 2])
def test_two_reproductions_are_identical(workers: int, whole: Whole, tmp_path: Path) -> None:
    told: list[str] = []
    reproduce(tmp_path, workers=workers, report=told.append)
    assert contents(tmp_path) == contents(whole.folder)
    assert told == ["tiny: grid of FANS, spectral", "tiny: white-scalar-0", "tiny: fans-spectral-0"]


def test_results_that_are_up_to_date_are_left_alone(copied: Path) -> None:
    before = (copied / "tiny/manifest.json").stat().st_mtime_ns
    (copied / ".tiny.smoke.runs").mkdir()  # of a call that was killed at its very end
    told: list[str] = []
    reproduce(copied, report=told.append)
    assert told == ["tiny: results are up to date"] and not (copied / ".tiny.smoke.runs").exists()
    assert (copied / "tiny/manifest.json").stat().st_mtime_ns == before


@pytest.mark.skipif(os.name == "nt", reason="processes are forked")
def test_kills_at_random_moments_do_not_show(whole: Whole, tmp_path: Path) -> None:
    rng, kills = random.Random(0), 0
    with victims("tiny", "reproduce_until_killed") as kill:
        for _ in range(3):
            later = time.monotonic() + rng.uniform(0.2, 0.9) * whole.seconds
            kills += kill(tmp_path, partial(until, lambda end=later: time.monotonic() > end))
    assert kills
    reproduce(tmp_path)
    assert contents(tmp_path) == contents(whole.folder)
    assert {path.name for path in tmp_path.iterdir()} == {".tiny.lock", "tiny"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code may clean up after it."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize("function", ["replace", "rmtree"])
def test_kills_while_publishing_do_not_show(
    function: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call in turn that renames or deletes, until none is left; runs are made once."""
    shutil.copytree(whole.folder / "tiny", tmp_path / "tiny")
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
    assert call >= 2 and contents(tmp_path) == contents(whole.folder)
    assert {path.name for path in tmp_path.iterdir()} == {".tiny.lock", "tiny"}


def test_runs_of_other_code_are_not_taken_over(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CALL, "publish", die)
        patch.setattr(denoiser_measures, "BANDS", 4)  # as the code was when the runs were made
        with pytest.raises(Killed):
            reproduce(tmp_path)
    told: list[str] = []
    reproduce(tmp_path, report=told.append)
    assert told[0] == "tiny: begins anew, since configuration or code changed"
    assert contents(tmp_path) == contents(whole.folder)


@pytest.mark.parametrize("name", ["measures-0.json", "curve.json", "weights.safetensors", "grid"])
def test_a_damaged_file_of_a_run_is_made_again(
    name: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert contents(tmp_path) == contents(whole.folder)


@pytest.mark.parametrize("name", ["measures-2.json", "curve.json", "samples.safetensors"])
@pytest.mark.parametrize("content", [b"[[1]]", b"5", b"[{}]", b"{}", b"null"])
def test_a_file_of_the_wrong_form_is_named(name: str, content: bytes, finished: Path) -> None:
    form = TINY.smoke()
    run = DenoisingRun(form, form.arms[0], 0, {})
    assert len(outcome(run, finished).measures) > 50
    good = (finished / name).read_bytes()
    (finished / name).write_bytes(content)
    try:
        with pytest.raises(ValueError, match=rf"{name} is damaged \("):
            outcome(run, finished)
    finally:
        (finished / name).write_bytes(good)


def test_samples_are_named_in_their_file(finished: Path) -> None:
    form, file = TINY.smoke(), finished / "samples.safetensors"
    good = file.read_bytes()
    file.write_bytes(save({"others": torch.zeros(1)}))
    try:
        with pytest.raises(ValueError, match=r"samples.safetensors is damaged \(has no tensor 'samples'\)"):
            outcome(DenoisingRun(form, form.arms[0], 0, {}), finished)
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("content", [b"[[1]]", b"5", b"[{}]", b"[5]", b"[[1, 2], [1, 2], [1, 2]]"])
def test_a_damaged_grid_begins_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_bytes(content)
    assert grid._earlier(tmp_path / "grid.json", 2) == []
    (tmp_path / "grid.json").write_bytes(b"[[1, 2.5]]")
    assert grid._earlier(tmp_path / "grid.json", 2) == [(1.0, 2.5)]


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
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.multiprocessing.start_processes(
        share, args=(port, str(tmp_path)), nprocs=2, start_method=machine.fresh_processes().get_start_method()
    )
    one, two = (experiments.load("tiny", folder=folder) for folder in (whole.folder, tmp_path))
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
