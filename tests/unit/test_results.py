"""Results: stale ones are named, and what they hold is what was trained."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Whole

from fans import experiments
from fans.diffusion import losses, streams, wiener
from fans.diffusion.sampling import sample
from fans.experiments import StaleError, data, publish, results
from fans.experiments.kinds.samples import SAMPLING_SEED
from fans.experiments.registry import run_of
from tiny import TINY, know

RESULTS = Path(__file__).resolve().parents[2] / "results"
PUBLISHED = sorted(path.name for path in RESULTS.glob("[!.]*") if path.is_dir())

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_known")


# Stale results


def test_a_changed_configuration_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, replace(TINY, rate=1e-3))
    message = (
        r"tiny: .*another configuration now, other rate \(was 0.002, is 0.001\); run `fans reproduce tiny`"
    )
    with pytest.raises(StaleError, match=message):
        experiments.check("tiny", folder=copied)
    know(monkeypatch, replace(TINY, arms=TINY.arms[:1]))
    with pytest.raises(StaleError, match="other arms; run"):
        experiments.load("tiny", folder=copied)


def doubled(original: Any) -> Any:
    return lambda *arguments, **options: 1.1 * original(*arguments, **options)


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        (wiener, "reconstruction_filter", "bound"),
        (losses, "residual", "loss"),
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


# What results hold


@pytest.mark.parametrize("name", [arm.name for arm in TINY.arms])
def test_stored_networks_draw_the_stored_samples(name: str, whole: Whole) -> None:
    """To the rounding of weights and samples to half precision."""
    result = experiments.load("tiny", folder=whole.folder)
    process, denoiser = result.denoiser(name)
    shape = (16, 1, *process.size)
    drawn = sample(
        process,
        denoiser,
        shape,
        generator=streams(SAMPLING_SEED, 16),
        steps=result.experiment.sampler_steps[-1],
        prediction=result.arm(name).prediction,
    )
    restored = drawn * result.manifest["deviation"] + result.manifest["mean"]
    torch.testing.assert_close(restored, result.samples(name), rtol=2e-3, atol=2e-3)
    assert result.samples("real").shape == shape
    with pytest.raises(ValueError, match="no arm 'black' in tiny: it has white, scalar, FANS, spectral"):
        result.denoiser("black")


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


def test_test_beds_have_weights_but_no_denoiser_and_no_grid() -> None:
    result = experiments.load("generator-rings", folder=RESULTS)
    name = result.experiment.arms[0].name
    assert all(tensor.isfinite().all() for tensor in result.weights(name).values())
    with pytest.raises(ValueError, match=r"generator-rings trains no denoisers: `weights` has what it"):
        result.denoiser(name)
    run = run_of(result.experiment, result.arm(name), 0, {}, None)
    with pytest.raises(ValueError, match=f"has no grid: leave '{name}' without one"):
        run.distance(None, None)  # type: ignore[arg-type]


# Published results


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_results_are_those_of_this_code(name: str) -> None:
    assert experiments.check(name, folder=RESULTS).manifest["scale"] != "smoke"


def test_published_results_are_small() -> None:
    size = sum(path.stat().st_size for name in PUBLISHED for path in (RESULTS / name).rglob("*"))
    assert size < 40e6
