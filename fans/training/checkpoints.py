"""Checkpoints that survive a kill, a full disk and a truncated file, and configurations in JSON.

A checkpoint is a folder ``step-00001000`` of safetensors files (``fans.training.tensors``), ``state.json``
and ``manifest.json``, which lists the SHA-256 of the others. It is written as ``step-00001000.partial`` and
renamed when it is complete, so that a folder with the final name was complete once, and its manifest tells
whether it still is.

>>> import tempfile, torch
>>> folder = Path(tempfile.mkdtemp())
>>> _ = save(folder, 10, {"model": {"weight": torch.ones(2)}}, {"step": 10})
>>> newest(folder).name
'step-00000010'
>>> load(newest(folder)).tensors["model"]["weight"].tolist()
[1.0, 1.0]
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor

from fans._validation import whole
from fans.training.tensors import packed, unpacked

FORMAT = "fans checkpoint, version 2"
Tensors = Mapping[str, Mapping[str, Tensor]]
_NAME = re.compile(r"step-(\d{8,})")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ -]*")  # a file name on any system, and no path
_TRIAL = "step-trial.partial"  # a name that pruning deletes, if a kill leaves it


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says why."""


class Checkpoint(NamedTuple):
    """What was saved: tensors by group and name, and a state of plain values."""

    path: Path
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(folder: Path, step: int, tensors: Tensors, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write a checkpoint, read it back, and only then delete old ones.

    Args:
        folder: where checkpoints live; made if missing.
        step: number of finished steps, its name.
        tensors: groups of named tensors, a safetensors file each.
        state: plain values, for JSON; floats survive exactly.
        keep: number of checkpoints to keep, at least 1.

    Returns:
        Path of the checkpoint.

    Raises:
        ValueError: a checkpoint of that step exists and is whole, ``keep`` is not positive, the step is
            negative, a group has a name that is no plain file name, or something cannot be saved; names it.
        OSError: the disk is full or fails; says which checkpoint remains.
    """
    whole("keep", keep, low=1)
    whole("step", step, low=0)
    _check_groups(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    partial = final.with_name(final.name + ".partial")
    _make_way(final)
    try:
        _write_all(partial, tensors, state)
        os.replace(partial, final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk the space is needed
        last = newest(folder)
        remains = f"{last.name} remains" if last else "there is no earlier one"
        raise OSError(
            error.errno, f"checkpoint not saved ({error.strerror}), {remains}; resume from there", str(final)
        ) from error
    verify(final)
    _prune(final, keep)
    return final


def rehearse(folder: Path, tensors: Tensors, state: Mapping[str, Any]) -> None:
    """Write everything once and delete it: what cannot be saved fails here, before the work and not after it.

    Raises:
        ValueError: as for ``save``.
        OSError: the folder cannot be written, or the disk is full.
    """
    _check_groups(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / _TRIAL
    try:
        _write_all(trial, tensors, state)
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _check_groups(tensors: Tensors) -> None:
    wrong = [name for name in tensors if not _GROUP.fullmatch(name)]
    if wrong:
        raise ValueError(
            f"group {wrong[0]!r} of tensors: its name becomes a file, so it must consist of letters, digits,"
            " spaces, - and _"
        )


def _make_way(final: Path) -> None:
    """Delete a broken checkpoint of this name, refuse to overwrite a whole one."""
    if not final.exists():
        return
    try:
        verify(final)
    except CheckpointError:
        _delete(final)
    else:
        raise ValueError(f"{final} exists: resume from it, or save to another folder")


def _write_all(partial: Path, tensors: Tensors, state: Mapping[str, Any]) -> None:
    """The files, the manifest last."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    manifest: dict[str, Any] = {"format": FORMAT, "files": {}}
    for name, group in tensors.items():
        # Bytes, since the library's own files are readable by their owner only.
        manifest["files"][f"{name}.safetensors"] = write(partial / f"{name}.safetensors", packed(name, group))
    manifest["files"]["state.json"] = write(partial / "state.json", _json(state))
    write(partial / "manifest.json", _json(manifest))


def write(path: Path, data: bytes) -> dict[str, Any]:
    """Write a file so that after a crash it has its old or its new content, nothing between.

    The data go to a temporary name beside it, to the disk, and only then to the name. A file that is
    replaced keeps its mode.

    Returns:
        ``{"bytes": ..., "sha256": ...}``.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        os.chmod(temporary, path.stat().st_mode & 0o7777)
    os.replace(temporary, path)
    _sync(path.parent)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync(folder: Path) -> None:
    """Make names in a folder permanent."""
    if os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(values: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(values, indent=2) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"the state {', '.join(values)} must be plain values for JSON: {error}") from error


def verify(path: Path) -> None:
    """Compare a checkpoint with its manifest.

    Raises:
        CheckpointError: a file is missing, truncated or another than was saved, or the manifest is not ours.
    """
    for name, expected in _manifest(path).items():
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path / name}: cannot be read ({error.strerror})") from error
        if len(data) != expected["bytes"]:
            raise CheckpointError(f"{path / name}: has {len(data)} of {expected['bytes']} bytes")
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            raise CheckpointError(f"{path / name}: is not the file that was saved, its SHA-256 differs")


def _manifest(path: Path) -> dict[str, Any]:
    """The files of a checkpoint by name."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_bytes())
        files: dict[str, Any] = manifest["files"]
        ours = manifest["format"] == FORMAT and "state.json" in files
        local = all(Path(name).name == name and {"bytes", "sha256"} <= set(files[name]) for name in files)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{file}: not a readable manifest ({error})") from error
    if not (ours and local):
        raise CheckpointError(f"{file}: not the manifest of a {FORMAT!r}")
    return files


def every(folder: Path) -> list[Path]:
    """Checkpoints by their names, oldest first, whole or not."""
    if not folder.is_dir():
        return []
    found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found)]


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, or None; warns of newer ones that are not, naming the file."""
    for path in reversed(every(folder)):
        try:
            verify(path)
        except CheckpointError as error:
            warnings.warn(f"checkpoint passed over: {error}", stacklevel=2)
        else:
            return path
    return None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, once it is verified.

    Raises:
        CheckpointError: as for ``verify``.
    """
    verify(path)
    state: dict[str, Any] = json.loads((path / "state.json").read_bytes())
    tensors = {}
    for name in _manifest(path):
        if name.endswith(".safetensors"):
            try:
                tensors[name.removesuffix(".safetensors")] = unpacked((path / name).read_bytes())
            except SafetensorError as error:
                raise CheckpointError(f"{path / name}: not a safetensors file ({error})") from error
    return Checkpoint(path, tensors, state)


def _prune(saved: Path, keep: int) -> None:
    """Delete what an interrupted save left, and all but the newest of the checkpoints up to a verified one.

    Later ones, which can only be broken, do not count: they are not what a run resumes from.
    """
    names = every(saved.parent)
    for path in names[: max(0, names.index(saved) + 1 - keep)]:
        _delete(path)
    for path in saved.parent.glob("step-*.partial"):
        _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
