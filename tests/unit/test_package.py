"""The package as a whole: a light import, a list of its modules, and examples that run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest

import fans

HEAVY = ("torch", "matplotlib", "ipywidgets", "scipy", "PIL", "skimage")
MODULES = sorted(module.name for module in pkgutil.walk_packages(fans.__path__, "fans."))


def loaded_by(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter holds after running the code."""
    script = f"{code}\nimport sys\nprint(*({set(HEAVY)} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_import_is_light() -> None:
    assert loaded_by("import fans") == set()
    assert loaded_by("import fans; dir(fans); fans.__version__") == set()


def test_modules_load_on_first_use() -> None:
    assert {"torch"} <= loaded_by("import fans; fans.images") and "scipy" in loaded_by(
        "from fans import spectrum"
    )


def test_spectra_of_arrays_need_no_torch() -> None:
    code = "import numpy as np; from fans import spectrum; spectrum.radial_spectrum(np.eye(8))"
    assert loaded_by(code) & {"torch", "matplotlib", "ipywidgets"} == set()


OPTIONAL = ("accelerate", "diffusers", "kymatio", "pandas", "pywt", "safetensors", "skimage", "sklearn")
ROOMS = ("fans.spectrum", "fans.diffusion", "fans.metrics", "fans.filters", "fans.detection")


def without(blocked: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Code in a fresh interpreter that cannot import some packages."""
    script = f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\n{code}"
    return subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)


def test_theory_measures_and_figures_need_no_extra() -> None:
    modules = [name for name in MODULES if name.startswith(ROOMS)]
    code = f"import {', '.join(modules)}, fans.wavelets, fans.images, spectralbook.figures"
    done = without(OPTIONAL, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "missing", "message"),
    [
        ("import fans.networks", "diffusers", 'fans.networks needs diffusers.*"fans-spectral\\[train\\]"'),
        ("from fans.networks.unet import UNet", "diffusers", "fans.networks needs diffusers"),
        ("import fans.training.loop", "accelerate", "fans.training needs accelerate"),
        ("import fans.training", "safetensors", "fans.training needs safetensors"),
        ("import fans.experiments", "pandas", "fans.experiments needs pandas"),
        ("from fans.wavelets import filter_bank as f; f('haar')", "pywt", "fans.wavelets needs PyWavelets"),
        (
            "from fans.detection.detector import _pipeline as f; f('knn')",
            "sklearn.neighbors",
            'detectors needs scikit-learn.*"fans-spectral\\[metrics\\]"',
        ),
    ],
)
def test_missing_extras_are_named(code: str, missing: str, message: str) -> None:
    done = without((missing,), code)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ImportError: ") and "pip install" in last
    assert re.search(message, last), last


def definitions() -> dict[str, dict[str, object]]:
    """Public classes, functions and types by name, and the modules that define them."""
    found: dict[str, dict[str, object]] = {}
    public = [name for name in MODULES if not name.startswith("fans.cli")]  # whose interface is the shell's
    for module in map(importlib.import_module, public):
        for node in ast.parse(inspect.getsource(module)).body:
            names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [t.id for t in node.targets if isinstance(t, ast.Name) and not t.id.isupper()]
            for name in names:
                if not name.startswith("_"):
                    found.setdefault(name, {})[module.__name__] = getattr(module, name)
    return found


# What is called through its module, as `json.load` and `pickle.load` are.
THROUGH_MODULE = {"drawing", "loss", "load", "names", "draw", "power_law"}
# Words that each room has for its own: the images, arms and checksums that it works with.
OF_ROOMS = {"Images", "Student", "Method", "Course", "fingerprint"}


def test_a_name_has_one_meaning() -> None:
    twice = {
        name: sorted(places)
        for name, places in definitions().items()
        if any(thing != next(iter(places.values())) for thing in places.values())
    }
    assert {name: places for name, places in twice.items() if name not in THROUGH_MODULE | OF_ROOMS} == {}


def test_dir_lists_the_modules() -> None:
    assert set(fans.__all__) <= set(dir(fans)) and "__version__" in dir(fans)
    assert fans.__all__ == sorted(fans.__all__)
    public = {name.split(".")[1] for name in MODULES}
    assert set(fans.__all__) <= public
    for name in fans.__all__:
        assert getattr(fans, name) is importlib.import_module(f"fans.{name}")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="module 'fans' has no attribute 'spectra'"):
        _ = fans.spectra  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'spectra'"):
        from fans import spectra  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("name", ["fans", *MODULES])
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_examples_are_there() -> None:
    """And found: the doctests above would pass on nothing."""
    finder = doctest.DocTestFinder()
    for name in ("fans", "fans.spectrum.radial", "spectralbook.figures.base", "fans.images"):
        assert sum(len(test.examples) for test in finder.find(importlib.import_module(name)))
