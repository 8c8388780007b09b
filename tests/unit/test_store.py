"""Files of results: damaged and foreign ones are named, and the folder is found."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Whole

from fans import experiments
from fans.experiments import StaleError, store
from tiny import TABLES, contents, reproduce

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_known")


def spoiled_manifest(folder: Path, **changes: Any) -> None:
    file = folder / "tiny/manifest.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))


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
        ({"fingerprint": {"loss": "1"}}, "fingerprint missing or of the wrong kind"),
    ],
)
def test_a_foreign_manifest_is_named(changes: dict[str, Any], message: str, copied: Path) -> None:
    spoiled_manifest(copied, **changes)
    with pytest.raises(StaleError, match=rf"manifest.json: {message}; run `fans reproduce tiny`"):
        experiments.load("tiny", folder=copied)


def test_a_truncated_manifest_is_named_and_made_again(copied: Path, whole: Whole) -> None:
    file = copied / "tiny/manifest.json"
    for text in (file.read_text()[:-20], "[]", ""):
        file.write_text(text)
        with pytest.raises(StaleError, match=r"manifest.json: not "):
            experiments.check("tiny", folder=copied)
    reproduce(copied)
    assert contents(copied) == contents(whole.folder)


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match=r"no results of 'tiny' in .*: run `fans reproduce tiny`"):
        experiments.load("tiny", folder=tmp_path)


def test_home_is_that_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    book = tmp_path / "book"
    (book / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(book / "notebooks")
    assert store.home() == tmp_path / "results"
    (book / ".git").mkdir()
    assert store.home() == book / "results"
    (book / "results").mkdir()
    assert store.home() == book / "results"
    assert store.home("elsewhere") == Path("elsewhere")
