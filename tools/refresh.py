"""Execute notebooks/*.md and write each one's paired .ipynb, byte for byte the same on every run."""

import os
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"


def read_text(source: Path) -> NotebookNode:
    """The text notebook as a notebook without outputs, its cells named by position."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
    return notebook


def smaller(png: str) -> str:
    """The picture in 256 colours: a quarter of the bytes, and no difference that a reader sees."""
    small = BytesIO()
    with Image.open(BytesIO(b64decode(png))) as picture:
        palette = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        palette.save(small, "png", optimize=True)
    return b64encode(small.getvalue()).decode()


def execute(source: Path) -> str:
    os.environ.setdefault("FANS_STATIC", "1")
    notebook = read_text(source)
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(source.parent)}},
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
    ).execute()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"file_extension": ".py", "name": "python"},
        }
    )
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # Names a widget of a kernel that is gone, by a number that is new each time.
            data.pop(VIEW, None)
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    return nbformat.writes(notebook) + "\n"


def refresh(source: Path) -> None:
    target = source.with_suffix(".ipynb")
    part = target.with_suffix(".part")
    part.write_text(execute(source), encoding="utf-8")
    part.replace(target)


def differences(source: Path) -> list[str]:
    """Why the paired .ipynb is not what this text notebook gives when it is run; empty if it is."""
    target = source.with_suffix(".ipynb")
    if not target.exists():
        return ["it does not exist"]
    text, paired = read_text(source), nbformat.read(target, as_version=4)
    if len(text.cells) != len(paired.cells):
        return [f"it has {len(paired.cells)} cells, the text has {len(text.cells)}"]
    found = []
    for number, (want, got) in enumerate(zip(text.cells, paired.cells, strict=True)):
        for name in ("cell_type", "id", "metadata", "source"):
            if want[name] != got[name]:
                found.append(f"cell {number}: {name} differs")
    code = [cell for cell in paired.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not all run once, in order")
    if any(output.output_type == "error" for cell in code for output in cell.outputs):
        found.append("a cell ended in an error")
    return found


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.md")):
        refresh(path)
        print(f"wrote {path.with_suffix('.ipynb').name}")
