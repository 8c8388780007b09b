"""The command line: what it prints, its exit codes, and errors in one line."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from PIL import Image

import fans
from fans import detection, experiments, images
from fans.cli import common, detect, main
from fans.experiments import machine
from fans.experiments.config import Scale

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest experiment, made by the command."""
    folder = tmp_path_factory.mktemp("results")
    with machine.one_thread():
        assert main(["reproduce", "terms-0", "--scale", "smoke", "--folder", str(folder)]) == 0
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    told = capsys.readouterr()
    return told.out.splitlines(), told.err.splitlines()


def test_reproduce_and_check(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiments.load("terms-0", folder=published).manifest["scale"] == "smoke"
    assert main(["reproduce", "terms-0", "--scale", "smoke", "--folder", str(published)]) == 0
    place = published / "terms-0"
    assert lines(capsys) == (["terms-0: results are up to date", f"terms-0: {place}"], [])
    for names in (["terms-0"], []):
        assert main(["check", *names, "--folder", str(published)]) == 0
        out, err = lines(capsys)
        assert out[0].startswith("terms-0: up to date (scale smoke, commit ") and len(out) == 1 and not err


def test_stale_results_exit_with_1_and_the_reason(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(published / "terms-0", tmp_path / "terms-0")
    (tmp_path / "terms-0/table.csv").write_text("")
    assert main(["check", "terms-0", "--folder", str(tmp_path)]) == common.STALE == 1
    out, err = lines(capsys)
    assert out == [] and len(err) == 1
    assert err[0].startswith("fans: ") and "table.csv: missing, or not the file that was written" in err[0]
    (tmp_path / "terms-0/manifest.json").write_text(json.dumps({"format": "mine"}))
    assert main(["check", "--folder", str(tmp_path)]) == 1
    assert "manifest.json: not a manifest of" in lines(capsys)[1][0]


def test_no_results_are_stale_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--folder", str(tmp_path)]) == 1
    assert lines(capsys)[1] == [
        f"fans: no results in {tmp_path}: run `fans reproduce NAME`, or give --folder"
    ]
    assert main(["check", "terms-0", "terms-1", "--folder", str(tmp_path)]) == 1
    assert ["no results of" in line for line in lines(capsys)[1]] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["reproduce", "fans-pltp"],
            "fans: no experiment 'fans-pltp' at scale 'cpu': did you mean 'fans-pltb'?",
        ),
        (["check", "term-1"], "fans: no experiment 'term-1' at scale 'smoke': did you mean 'terms-1'?"),
        (["reproduce", "fans-pltb", "--fid"], "fans: the FID needs more than 2048 samples"),
        (["reproduce", "terms-0", "--scale", "smoke", "--workers", "0"], "fans: workers=0 with 1 launched"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--folder", str(tmp_path)]) == common.FAILED == 2
    out, err = lines(capsys)
    assert out == [] and len(err) == 1 and err[0].startswith(message)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\n  lines"),
        ConnectionError("two lines"),
        FileNotFoundError("two lines"),
        ImportError("two lines"),
        FloatingPointError("two lines"),
    ],
)
def test_errors_of_the_library_have_no_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(experiments, "reproduce", fails)
    assert main(["reproduce", "terms-0"]) == 2
    assert lines(capsys) == ([], ["fans: two lines"])


def test_an_interrupt_says_that_it_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "reproduce", interrupted)
    assert main(["reproduce", "terms-0"]) == common.INTERRUPTED == 130
    assert lines(capsys) == ([], ["fans: interrupted: the same command resumes"])


def test_all_is_every_experiment_of_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    def recorded(name: str, **options: Any) -> Any:
        seen.append((name, options))
        return experiments.Result(*[None] * 5)  # type: ignore[arg-type]

    monkeypatch.setattr(experiments, "reproduce", recorded)
    assert main(["reproduce", "--all", "--scale", "gpu", "--workers", "3", "--force", "--fid"]) == 0
    assert tuple(name for name, _ in seen) == experiments.names("gpu")
    options = seen[0][1]
    assert options.pop("report") and options == {
        "scale": "gpu",
        "folder": None,
        "workers": 3,
        "force": True,
        "fid": True,
    }


@pytest.mark.parametrize("arguments", [[], ["reproduce"], ["reproduce", "--all", "terms-0"], ["train"]])
def test_commands_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "usage: fans" in capsys.readouterr().err


def test_experiments_are_listed_by_scale(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_args(Scale) == common.SCALES
    assert main(["experiments"]) == 0
    out, _ = lines(capsys)
    assert [line for line in out if not line.startswith(" ")] == ["smoke", "cpu", "gpu"]
    assert len(out) == 3 + sum(len(experiments.names(scale)) for scale in common.SCALES)
    assert main(["experiments", "--scale", "gpu"]) == 0
    listed = [line.split()[0] for line in lines(capsys)[0]]
    assert listed == ["gpu", *experiments.names("gpu")]


def save(folder: Path, pictures: np.ndarray) -> Path:
    """Grey images, (N, H, W) in [-1, 1], as files."""
    folder.mkdir()
    for i, picture in enumerate(((pictures + 1) * 127.5).round().clip(0, 255).astype(np.uint8)):
        Image.fromarray(picture).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Coarse fields with every pixel repeated, and fields of 32 pixels."""
    home = tmp_path_factory.mktemp("detect")
    real = images.load("power_law", size=32, count=30, scale=2)[:, 0].numpy()
    coarse = images.load("power_law", size=16, count=30, scale=2, seed=1)[:, 0].numpy()
    made = save(home / "real", real), save(home / "generated", coarse.repeat(2, 1).repeat(2, 2))
    return str(made[1]), str(made[0])


def test_detect_prints_a_table(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", *folders, "--size", "32", "--features", "spectrum"]) == 0
    (head, *rows), err = lines(capsys)
    assert head.split() == ["measure", "value", "95", "%", "interval", "floor"] and not err
    generated, real = (images.load(f"folder:{f}", size=32, count=30, holdout=0) for f in folders)
    expected = detection.detect(generated=generated, real=real, features="spectrum")
    assert [row[:25].strip() for row in rows] == [row.measure for row in expected]
    for line, row in zip(rows, expected, strict=True):
        printed = [float(word) for word in line[25:].replace("to", " ").split()]
        np.testing.assert_allclose(printed, [row.value, row.low, row.high, row.floor], atol=5e-4)
    assert expected[0].low > 0.8 and expected[-1].low < 0.5


def test_detect_passes_every_option(
    folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(detection, "detect", lambda **options: seen.append(options) or [])
    options = ["--size", "16", "--patches", "3", "--features", "pixels", "--threshold", "0.5", "--seed", "4"]
    assert main(["detect", *folders, *options]) == 0
    (given,) = seen
    assert given.pop("real").shape == given.pop("generated").shape == (90, 3, 16, 16)
    assert given.pop("groups")[0] == [i % 30 for i in range(90)]
    assert given == {"features": "pixels", "r_c": 0.5, "seed": 4}


def test_crops_know_their_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images of one grey level each: crops of equal label are equal, those of others are not."""
    levels = np.linspace(-1, 1, 13)[:, None, None] * np.ones((20, 24))
    paths = [str(save(tmp_path / name, levels)) for name in ("a", "b")]
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(detection, "detect", lambda **options: seen.append(options) or [])
    assert main(["detect", *paths, "--size", "8", "--patches", "2"]) == 0
    for crops, groups in zip((seen[0]["generated"], seen[0]["real"]), seen[0]["groups"], strict=True):
        pairs = set(zip(crops.mean((1, 2, 3)).tolist(), groups, strict=True))
        assert (
            len(crops) == 26 and len(pairs) == len({g for _, g in pairs}) == len({m for m, _ in pairs}) == 13
        )


def test_detect_says_what_is_wrong(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated, real = folders
    few = str(save(tmp_path / "few", np.zeros((5, 32, 32))))
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([f"{tmp_path}/empty", real], "fans: no images in"),
        ([f"{tmp_path}/none", real], "fans: no folder"),
        ([real, real], "fans: GENERATED and REAL share images"),
        ([real, str(Path(real).parent)], "fans: GENERATED and REAL share images"),
        ([few, real, "--size", "16"], "fans: detection needs 12 generated and as many real images"),
        ([few, real, "--size", "16", "--patches", "9"], "fans: detection needs 12 generated and as many"),
        ([generated, real], "fans: "),  # of 32 pixels, where 64 are the default
        ([generated, real, "--size", "32", "--patches", "0"], "fans: --patches must be at least 1, got 0"),
        ([generated, real, "--size", "32", "--threshold", "2"], "fans: r_c=2.0 must lie between 0 and 1"),
    ):
        assert main(["detect", *arguments]) == 2
        out, err = lines(capsys)
        assert out == [] and len(err) == 1 and err[0].startswith(message), err
        if arguments == [generated, real]:
            assert "is 32x32 pixels, smaller than size=64: lower size or remove it" in err[0]
    assert get_args(detection.DetectorFeatures) == detect.FEATURES


def test_the_package_is_the_command_too() -> None:
    command = [sys.executable, "-W", "error", "-m", "fans", "check", "terms-9"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("fans: no experiment 'terms-9'")


def test_help_needs_no_torch() -> None:
    code = "import sys; from fans.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False" and "reproduce" in done.stdout


def test_there_is_one_version_number(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == project["version"] == fans.__version__
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and lines(capsys) == ([f"fans {project['version']}"], [])
