"""The package as a whole: a light import, a list of its modules, and examples that run."""

import doctest
import importlib
import pkgutil
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
