"""``fans scan``: the table of schedulers for a power law or a folder of images."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fans import hub
from fans.cli import main, scan


def test_formats_tell_the_same_sorted_rows(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for form in scan.FORMATS:
        assert main(["scan", "2", "--family", "flow", "--calls", "6", "--defaults", "--format", form]) == 0
        told[form] = capsys.readouterr().out
    rows = json.loads(told["json"])
    assert [row["rms"] for row in rows] == sorted(row["rms"] for row in rows)
    assert all(row["calls"] <= 6 for row in rows) and set(rows[0]) == set(scan.COLUMNS)
    table = list(csv.DictReader(io.StringIO(told["csv"])))
    assert [row["scheduler"] for row in table] == [row["scheduler"] for row in rows]
    assert [line.split()[0] for line in told["plain"].splitlines()[1:]] == [row["scheduler"] for row in rows]


def test_rows_are_those_of_the_scan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "1.5", "--family", "edm", "--calls", "8", "--format", "json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        result = hub.scan(row["scheduler"], scan._spectrum("1.5", 64), row["steps"])
        assert row["rms"] == pytest.approx(result.rms, abs=1e-3)
        assert row["high"] == pytest.approx(float(result.error[-1]), abs=1e-3)


def test_a_power_law_has_the_variance_of_pictures() -> None:
    """On the plane, where rings hold coefficients in proportion to their radius."""
    for alpha in ("0", "1", "2"):
        power = scan._spectrum(alpha, 64).numpy()
        radius = np.arange(1, len(power) + 1)
        assert (power * radius).sum() / radius.sum() == pytest.approx(0.25)


def test_a_folder_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for i in range(20):
        noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    power = scan._spectrum(str(tmp_path), 32)
    assert len(power) == 16
    assert float(power.max() / power.min()) < 2  # white, 20 images
    # gray is the mean of three uniform channels on [-1, 1]
    assert float(power.mean()) == pytest.approx(1 / 9, rel=0.1)
    assert main(["scan", str(tmp_path), "--size", "32", "--family", "edm", "--calls", "4"]) == 0
    assert "EDMEulerScheduler" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [(["nowhere"], "nowhere"), (["2", "--calls", "0"], "--calls"), (["2", "--size", "4"], "--size")],
)
def test_messages(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
