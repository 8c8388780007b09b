"""The house as it is drawn: rooms import downwards, there are no circles, and the drawing is of today."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import architecture


def test_rooms_import_downwards_and_have_no_circles() -> None:
    assert lint_imports(config_filename=str(architecture.ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("upper", ["fans.spectrum", "fans.config | fans._validation"])
def test_another_order_is_noticed(tmp_path: Path, upper: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The contracts can fail: with the lowest rooms on top, imports run upwards."""
    text = (architecture.ROOT / "pyproject.toml").read_text()
    lines = [line for line in text.splitlines() if line != f'  "{upper}",']
    lines.insert(lines.index('  "fans.__main__",'), f'  "{upper}",')
    (tmp_path / "pyproject.toml").write_text("\n".join(lines))
    assert lint_imports(config_filename=str(tmp_path / "pyproject.toml"), no_cache=True) == 1
    assert "Rooms import downwards only BROKEN" in capsys.readouterr().out


def test_drawing_is_of_today() -> None:
    assert architecture.PAGE.read_text() == architecture.page(), "run `python tools/architecture.py`"


def test_every_room_is_in_the_order() -> None:
    rooms = {room for line in architecture.layers() for room in line}
    package = architecture.ROOT / "fans"
    found = {
        f"fans.{path.stem}"
        for path in package.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"fans.__init__"} == rooms - {"spectralbook"}
