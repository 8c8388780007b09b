"""Each text notebook has its executed twin, and the twin is what the text gives when it is run."""

from pathlib import Path

import nbformat
import pytest

import refresh

NOTEBOOKS = sorted(refresh.NOTEBOOKS.glob("*.md"))
TEXT = """\
---
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# Title

```{code-cell} ipython3
:tags: [hide-input]

import os
print(os.getcwd().endswith("here"), os.environ["FANS_STATIC"])
```

```{code-cell} ipython3
import ipywidgets
ipywidgets.IntSlider()
```
"""


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_pair_agrees(source: Path) -> None:
    assert not (found := refresh.differences(source)), f"{found}: run `make notebooks`"


def test_every_notebook_has_a_text() -> None:
    assert NOTEBOOKS, "no text notebooks in notebooks/"
    alone = [path.name for path in refresh.NOTEBOOKS.glob("*.ipynb") if not path.with_suffix(".md").exists()]
    assert not alone, f"{alone} have no text notebook; delete them or write one"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("pair") / "here" / "x.md"
    source.parent.mkdir()
    source.write_text(TEXT)
    refresh.refresh(source)
    return source


def test_refresh_gives_the_same_bytes_again(pair: Path) -> None:
    first = pair.with_suffix(".ipynb").read_bytes()
    refresh.refresh(pair)
    assert pair.with_suffix(".ipynb").read_bytes() == first
    assert sorted(path.name for path in pair.parent.iterdir()) == ["x.ipynb", "x.md"]
    assert b"True 1" in first and b"widget-view" not in first and b"IntSlider" in first
    assert refresh.differences(pair) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("# Title", "# Other title", "cell 0: source differs"),
        ('"here"', '"there"', "cell 1: source differs"),
        ("hide-input", "remove-input", "cell 1: metadata differs"),
        ("```{code-cell} ipython3\nimport ipywidgets\nipywidgets.IntSlider()\n```\n", "", "the text has 2"),
    ],
)
def test_an_edited_text_is_noticed(pair: Path, tmp_path: Path, old: str, new: str, found: str) -> None:
    source = tmp_path / "x.md"
    source.write_text(TEXT.replace(old, new))
    source.with_suffix(".ipynb").write_bytes(pair.with_suffix(".ipynb").read_bytes())
    assert any(found in line for line in refresh.differences(source))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"execution_count": None, "outputs": []}, "not all run once"),
        ({"execution_count": 7}, "not all run once"),
        (
            {"outputs": [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]},
            "ended in an error",
        ),
    ],
)
def test_a_notebook_that_was_not_run_through_is_noticed(
    pair: Path, tmp_path: Path, change: dict[str, object], found: str
) -> None:
    source = tmp_path / "x.md"
    source.write_text(TEXT)
    assert refresh.differences(source) == ["it does not exist"]
    notebook = nbformat.read(pair.with_suffix(".ipynb"), as_version=4)
    notebook.cells[-1].update(change)
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    assert any(found in line for line in refresh.differences(source))
