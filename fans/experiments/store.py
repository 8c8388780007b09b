"""Files of a finished experiment: ``results/NAME`` is written whole or not at all, and read by its hashes.

A folder holds ``table.csv`` (every measure), ``curves.csv`` (training losses), ``weights.safetensors`` (the
averaged weights of seed 0 after the last budget, in half precision), ``samples.safetensors`` and
``manifest.json``, written last. The manifest has the configuration, the commit, versions, hardware, the
seconds of the call that finished it, the SHA-256 of every file, and the fingerprint of the code
(``fans.experiments.results``).
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from safetensors.torch import load_file
from torch import Tensor

from fans.experiments.config import Scale
from fans.training import checkpoints

FORMAT = "fans results, version 1"
_KEYS = {
    "config": dict,
    "mean": float,
    "deviation": float,
    "chosen": dict,
    "files": dict,
    "fingerprint": dict,
}


class StaleError(RuntimeError):
    """Results that are missing or are not those of the present code; the message says why."""


def home(folder: Path | str | None = None) -> Path:
    """The folder of results: the one given, else ``results`` here or in the nearest folder above.

    The search ends at the root of a repository, which gets a new one.
    """
    if folder is not None:
        return Path(folder)
    here = Path.cwd()
    known = (p for p in (here, *here.parents) if (p / "results").is_dir() or (p / ".git").exists())
    return next(known, here) / "results"


def manifest(place: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        StaleError: there is none, or it is damaged or none of ours.
    """
    file, remedy = place / "manifest.json", f"run `fans reproduce {place.name}`"
    if not file.is_file():
        raise StaleError(f"no results of {place.name!r} in {place.parent}: {remedy}")
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise StaleError(f"{file}: not readable ({error}); {remedy}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StaleError(f"{file}: not a manifest of {FORMAT!r}; {remedy}")
    if found.get("name") != place.name:
        raise StaleError(f"{file}: the manifest of {found.get('name')!r}, not of {place.name!r}; {remedy}")
    wrong = [key for key, kind in _KEYS.items() if not isinstance(found.get(key), kind)]
    if not wrong and not all(isinstance(value, int | float) for value in found["fingerprint"].values()):
        wrong = ["fingerprint"]
    if wrong or found.get("scale") not in get_args(Scale):
        raise StaleError(f"{file}: {', '.join(wrong) or 'scale'} missing or of the wrong kind; {remedy}")
    return found


def check_files(place: Path, files: Mapping[str, str]) -> None:
    """Check the files of a folder by the hashes of its manifest.

    Raises:
        StaleError: one is missing, or another.
    """
    for name, expected in files.items():
        file = place / Path(name).name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise StaleError(
                f"{file}: missing, or not the file that was written; restore it from version control or run"
                f" `fans reproduce {place.name}`"
            )


def check_config(place: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the configuration of a manifest with that of today.

    Raises:
        StaleError: they differ.
    """
    now = json.loads(json.dumps(now))
    # Manifests older than the option have no such key, and their networks were built so.
    then = {"time_scale_shift": "default"} | dict(then) if "time_scale_shift" in now else then
    different = [key for key in {**now, **then} if now.get(key) != then.get(key)]
    if different:
        changes = "; ".join(_change(key, then.get(key), now.get(key)) for key in different)
        raise StaleError(
            f"{place}: the experiment has another configuration now, other {changes}; run"
            f" `fans reproduce {place.name}`"
        )


def _change(key: str, then: Any, now: Any) -> str:
    """A key with both values, where they are short."""
    values = f"{key} (was {then!r}, is {now!r})"
    return values if len(values) < 100 else key


def table(place: Path, name: str) -> pd.DataFrame:
    """``table`` or ``curves``."""
    return pd.read_csv(place / f"{name}.csv")


def tensors(place: Path, name: str) -> dict[str, Tensor]:
    """``weights`` or ``samples``."""
    found: dict[str, Tensor] = load_file(place / f"{name}.safetensors")
    return found


def write_results(place: Path, contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Write a folder, which appears whole or not at all, in the place of the one before it.

    Args:
        place: the folder.
        contents: of all files but the manifest.
        manifest: without its format, and the hashes that it gets here.
    """
    clean(place)
    partial, old = _beside(place)
    partial.mkdir(parents=True)
    files = {name: checkpoints.write(partial / name, data)["sha256"] for name, data in contents.items()}
    whole = {"format": FORMAT, **manifest, "files": files}
    checkpoints.write(partial / "manifest.json", (json.dumps(whole, indent=1) + "\n").encode())
    if place.exists():
        os.replace(place, old)
    os.replace(partial, place)
    clean(place)


def _beside(place: Path) -> tuple[Path, Path]:
    """Where a folder of results is made, and where the one before it waits for its end."""
    return place.with_name(f".{place.name}.partial"), place.with_name(f".{place.name}.old")


def clean(place: Path) -> None:
    """Delete what publishing, or a call that was killed in it, left beside a folder of results."""
    for path in _beside(place):
        shutil.rmtree(path, ignore_errors=True)


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Comma-separated values, six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)
    return text.getvalue().encode()
