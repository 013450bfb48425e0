from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = """
from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"late": ("thing", "other"), "absent": ("gone",)})
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = tmp_path / "lazy_room"
    folder.mkdir()
    (folder / "__init__.py").write_text(SOURCE)
    (folder / "late.py").write_text("thing, other = object(), 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("lazy_room")]:
        monkeypatch.delitem(sys.modules, name)
    return __import__("lazy_room")


def test_nothing_loads_before_the_first_use(room: ModuleType) -> None:
    assert room.__all__ == ["gone", "other", "thing"] == dir(room)
    assert "lazy_room.late" not in sys.modules
    assert room.other == 2
    assert "lazy_room.late" in sys.modules


def test_a_name_is_looked_up_once(room: ModuleType) -> None:
    first = room.thing
    assert vars(room)["thing"] is first is room.thing


def test_unknown_names_are_attribute_errors(room: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'lazy_room' has no attribute 'nothing'"):
        room.nothing  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        room.gone  # noqa: B018
