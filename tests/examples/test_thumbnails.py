"""examples/thumbnails.py shrinks what it can, and names what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from tests.examples.program import output

if TYPE_CHECKING:
    from pathlib import Path


def test_shrinks_its_own_pictures_and_names_the_broken_one() -> None:
    lines = output("examples/thumbnails.py")

    assert lines[0] == "failed: cannot identify image file 'broken.png'"
    assert len(lines) == 21
    assert all(": 128 x 96, " in line for line in lines[1:])
    assert len({line.rpartition(", ")[2] for line in lines[1:]}) == 20


def test_writes_the_thumbnails_beside_the_pictures_of_a_folder(tmp_path: Path) -> None:
    Image.new("RGB", (300, 600)).save(tmp_path / "tall.png")

    lines = output("examples/thumbnails.py", str(tmp_path))

    assert [line.rpartition(", ")[0] for line in lines] == ["tall.png: 64 x 128"]
    with Image.open(tmp_path / "tall.thumb.jpg") as thumbnail:
        assert thumbnail.size == (64, 128)
