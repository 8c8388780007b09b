"""Checkpoints: kills at every write, full disks, truncated and foreign files, modes, pruning; configs."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fans.config import Config
from fans.training import TrainingConfig, checkpoints
from fans.training.checkpoints import CheckpointError, load, newest, save, verify


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code may clean up after it."""


def tensors(value: float) -> dict[str, dict[str, Tensor]]:
    return {"model": {"weight": torch.full((3, 2), value)}, "ema": {"weight": torch.full((3, 2), -value)}}


def failing_at(call: int, error: BaseException, original: Callable[..., Any]) -> Callable[..., Any]:
    """The original, which raises at one call and at all later ones, as a dead process does."""
    calls = iter(range(10_000))

    def replacement(*args: Any, **options: Any) -> Any:
        if next(calls) >= call:
            raise error
        return original(*args, **options)

    return replacement


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = {"step": 10, "loss": 0.1 + 0.2, "name": "é"}
    path = save(tmp_path, 10, tensors(1.5), state)
    found = load(path)
    assert found.state == state
    assert {(group, name) for group in found.tensors for name in found.tensors[group]} == {
        ("model", "weight"),
        ("ema", "weight"),
    }
    assert torch.equal(found.tensors["ema"]["weight"], torch.full((3, 2), -1.5))
    assert sorted(file.name for file in path.iterdir()) == [
        "ema.safetensors",
        "manifest.json",
        "model.safetensors",
        "state.json",
    ]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = (save(tmp_path / name, 10, tensors(1), {"step": 10}) for name in "ab")
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()


@pytest.mark.parametrize("function", ["replace", "fsync", "open", "mkdir", "rmtree"])
def test_a_kill_at_any_write_leaves_a_checkpoint(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: Any = {"open": checkpoints, "mkdir": Path, "rmtree": shutil}.get(function, os)
    original = open if function == "open" else getattr(owner, function)
    for call in range(100):
        folder = tmp_path / str(call)
        save(folder, 10, tensors(1), {"step": 10}, keep=1)
        with monkeypatch.context() as patch:
            patch.setattr(owner, function, failing_at(call, Killed(), original), raising=False)
            try:
                save(folder, 20, tensors(2), {"step": 20}, keep=1)
                survived = True
            except Killed:
                survived = False
        path = newest(folder)  # without a warning: what is half done has another name
        assert path is not None
        found = load(path)
        assert found.state["step"] in ([20] if survived else [10, 20])
        assert torch.equal(found.tensors["model"]["weight"], torch.full((3, 2), found.state["step"] / 10))
        save(folder, 30, tensors(3), {"step": 30}, keep=1)
        assert [path.name for path in folder.iterdir()] == ["step-00000030"]
        if survived:
            assert call >= {"replace": 5, "fsync": 9, "open": 4, "mkdir": 2, "rmtree": 2}[function]
            return
    raise AssertionError("never survived")


@pytest.mark.parametrize("function", ["replace", "fsync", "open"])
def test_a_full_disk_is_told_and_costs_one_interval(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: Any = checkpoints if function == "open" else os
    original = open if function == "open" else getattr(os, function)
    save(tmp_path, 10, tensors(1), {"step": 10})
    for call in range(4):
        with monkeypatch.context() as patch:
            full = OSError(errno.ENOSPC, "No space left on device")
            patch.setattr(owner, function, failing_at(call, full, original), raising=False)
            with pytest.raises(OSError, match=r"No space left on device.*step-00000010 remains") as caught:
                save(tmp_path, 20, tensors(2), {"step": 20})
        assert caught.value.errno == errno.ENOSPC
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]  # and its space is free again
    assert load(save(tmp_path, 20, tensors(2), {"step": 20})).state["step"] == 20


def test_a_full_disk_without_an_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing_at(0, OSError(errno.ENOSPC, "No space left"), os.fsync))
    with pytest.raises(OSError, match="no earlier one"):
        save(tmp_path, 10, tensors(1), {"step": 10})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, flip, remove])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_damage_is_named_and_the_previous_checkpoint_used(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    first = save(tmp_path, 10, tensors(1), {"step": 10})
    damage(save(tmp_path, 20, tensors(2), {"step": 20}) / name)
    with pytest.warns(UserWarning, match=f"passed over.*step-00000020.*{name}"):
        assert newest(tmp_path) == first
    with pytest.raises(CheckpointError, match=name):
        load(tmp_path / "step-00000020")
    assert load(save(tmp_path, 20, tensors(2), {"step": 20})).state["step"] == 20  # and it is replaced


def test_files_of_others(tmp_path: Path) -> None:
    first = save(tmp_path, 10, tensors(1), {"step": 10})
    (tmp_path / "step-00000099").write_text("not even a folder")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match="step-00000099"):
        assert newest(tmp_path) == first
    (tmp_path / "step-00000099").unlink()
    other = save(tmp_path, 20, tensors(2), {"step": 20})
    shutil.copy(first / "model.safetensors", other / "model.safetensors")  # of equal length
    with pytest.warns(UserWarning, match=r"model.safetensors.*SHA-256"):
        assert newest(tmp_path) == first
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    "manifest",
    [
        {"format": "another", "files": {}},
        {"format": checkpoints.FORMAT, "files": {"../state.json": {"bytes": 0, "sha256": ""}}},
        {"format": checkpoints.FORMAT, "files": {"state.json": {}}},
        {"format": checkpoints.FORMAT, "files": []},
        {"files": {}},
        [],
    ],
)
def test_foreign_manifests_are_refused(manifest: Any, tmp_path: Path) -> None:
    path = save(tmp_path, 10, tensors(1), {"step": 10})
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"manifest.json"):
        verify(path)
    with pytest.warns(UserWarning, match=r"manifest.json"):
        assert newest(tmp_path) is None


def test_old_checkpoints_go_only_when_the_new_one_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step, tensors(step), {"step": step}, keep=2)
    assert [path.name for path in checkpoints.every(tmp_path)] == ["step-00000020", "step-00000030"]

    def broken(*_: Any) -> bytes:
        return b"{}"

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", broken)  # a disk that returns something else
        with pytest.raises(CheckpointError):
            save(tmp_path, 40, tensors(40), {"step": 40}, keep=1)
    assert len(checkpoints.every(tmp_path)) == 3


def test_two_checkpoints_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    """The second is what a run returns to if the newest is spoiled."""
    for step in (10, 20, 30, 40):
        save(tmp_path, step, tensors(step), {"step": step})
    assert [path.name for path in checkpoints.every(tmp_path)] == ["step-00000030", "step-00000040"]
    assert TrainingConfig().keep == 2


def test_later_broken_checkpoints_do_not_crowd_out_whole_ones(tmp_path: Path) -> None:
    save(tmp_path, 10, tensors(1), {"step": 10})
    truncate(save(tmp_path, 30, tensors(3), {"step": 30}) / "model.safetensors")
    (tmp_path / "step-00000040").write_text("not even a folder")
    saved = save(tmp_path, 20, tensors(2), {"step": 20}, keep=1)
    assert [path.name[-2:] for path in checkpoints.every(tmp_path)] == ["20", "30", "40"]
    with pytest.warns(UserWarning, match="passed over") as caught:
        assert newest(tmp_path) == saved
    assert len(caught) == 2
    save(tmp_path, 40, tensors(4), {"step": 40}, keep=1)
    assert [path.name[-2:] for path in checkpoints.every(tmp_path)] == ["40"]


def test_a_whole_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    save(tmp_path, 10, tensors(1), {"step": 10})
    with pytest.raises(ValueError, match="another folder"):
        save(tmp_path, 10, tensors(2), {"step": 10})
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        save(tmp_path, 20, tensors(2), {"step": 20}, keep=0)


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_modes_are_those_of_ordinary_files(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        path = save(tmp_path, 10, tensors(1), {"step": 10})
    finally:
        os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o644}
    file = tmp_path / "shared.json"
    file.write_text("{}")
    file.chmod(0o664)
    checkpoints.write(file, b"[]")
    assert (file.stat().st_mode & 0o777, file.read_text()) == (0o664, "[]")


@dataclass(frozen=True)
class Example(Config):
    steps: int = 1
    rate: float = 0.1
    name: str = "a"
    widths: tuple[int, ...] = (1, 2)
    fast: bool = False

    def __post_init__(self) -> None:
        self.check_types()


def test_configurations_survive_json() -> None:
    config = Example(steps=7, rate=1e-3, widths=(3,), fast=True)
    assert Example.from_json(config.to_json()) == config
    assert Example.from_json("{}") == Example()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stepz": 1, "b": 2}', "unknown 'stepz', 'b': keys are steps, rate"),
        ('{"steps": 1.5}', "steps=1.5: must be int"),
        ('{"steps": true}', "steps=True: must be int"),
        ('{"rate": "fast"}', "rate='fast': must be float"),
        ('{"fast": 1}', "fast=1: must be bool"),
        ('{"name": 1}', "name=1: must be str"),
        ('{"widths": [1, 2.5]}', r"widths=\(1, 2.5\): must be tuple"),
        ("[]", "JSON object"),
    ],
)
def test_configurations_name_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Example.from_json(text)
