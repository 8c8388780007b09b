"""Write ARCHITECTURE.md from the imports: the rooms of the package, what each holds and rests on."""

import ast
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
HEAD = """\
# Architecture

Written by `python tools/architecture.py` from the imports. A test fails if it is out of date, another if a
room imports from one above it: `[tool.importlinter]` in `pyproject.toml` has their order.

Two ideas carry the package. A **process** is two functions of time and frequency, the levels of signal and
noise; prior, losses, preconditioning, likelihood and the exact denoiser follow from them, once for all. A
**sampler** is a linear plan: `fans.diffusion.sampling` applies it to images, and `fans.diffusion.wiener`
computes from the same plan what it does to a spectrum.

"""


def layers() -> list[list[str]]:
    """The rooms, highest first, that the import contract names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    names = (line.replace("(", "").replace(")", "").split(" | ") for line in contracts[0]["layers"])
    return [[name for name in line if source(name).exists()] for line in names]


def source(module: str) -> Path:
    """The file of a module or package."""
    path = (ROOT / "book" if module.startswith("spectralbook") else ROOT) / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def summary(module: str) -> str:
    """The first line of a docstring."""
    found = ast.get_docstring(ast.parse(source(module).read_text(encoding="utf-8"))) or ""
    return found.partition("\n")[0]


def page() -> str:
    """The text of ARCHITECTURE.md."""
    graph = grimp.build_graph("fans", "spectralbook", cache_dir=None)
    order = layers()
    rooms = [room for line in order for room in line]
    arrows = {
        room: [
            other
            for other in rooms
            if other != room and graph.direct_import_exists(importer=room, imported=other, as_packages=True)
        ]
        for room in rooms
    }
    drawing = ["```mermaid", "flowchart TD"]
    drawing += [f'  {name(room)}["{name(room)}"]' for room in rooms]
    drawing += [f"  {name(room)} --> {name(other)}" for room, below in arrows.items() for other in below]
    table = ["| room | what it is | modules | rests on |", "| --- | --- | --- | --- |"]
    for room in rooms:
        inside = sorted(m.removeprefix(f"{room}.") for m in graph.find_descendants(room))
        rests = ", ".join(map(name, arrows[room])) or "nothing"
        table.append(f"| `{room}` | {summary(room)} | {', '.join(inside)} | {rests} |")
    return HEAD + "\n".join([*drawing, "```", "", *table]) + "\n"


def name(room: str) -> str:
    return room.removeprefix("fans.").replace("__main__", "main")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
