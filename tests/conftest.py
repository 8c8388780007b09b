"""What several test files share."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tiny
from fans.experiments import machine


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Numbers that do not depend on how many threads share a sum."""
    with machine.one_thread():
        yield


class Whole(NamedTuple):
    """Results of an uninterrupted call in this process, and how long they took."""

    folder: Path
    seconds: float


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Results of the smallest experiment."""
    folder, started = tmp_path_factory.mktemp("whole"), time.monotonic()
    with machine.one_thread():
        tiny.reproduce(folder)
    return Whole(folder, time.monotonic() - started)


@pytest.fixture
def copied(whole: Whole, tmp_path: Path) -> Path:
    """A copy of these results, to be spoiled."""
    shutil.copytree(whole.folder / "tiny", tmp_path / "tiny")
    return tmp_path


@pytest.fixture
def tiny_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest experiment can be found by its name."""
    tiny.know(monkeypatch, tiny.TINY)
