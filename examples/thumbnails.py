"""
Hash and shrink all pictures of a folder, on all cores; one broken file does not stop the others.

Shows `jockey.map` with files: results as soon as they are there, errors as values, and a progress bar.

    pip install 'jockey[progress]' pillow
    python examples/thumbnails.py                # makes some pictures to work on
    python examples/thumbnails.py ~/Pictures
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

import jockey

SIZE = (128, 128)


class Thumbnail(NamedTuple):
    """What is known of a picture that was shrunk."""

    picture: str
    digest: str
    width: int
    height: int


def shrink(path: Path) -> Thumbnail:
    """Write a small copy beside the picture; runs in a worker process."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with Image.open(path) as image:
        image.thumbnail(SIZE)
        image.convert("RGB").save(path.with_suffix(".thumb.jpg"))
        return Thumbnail(path.name, digest, *image.size)


def paint(folder: Path, count: int) -> None:
    """Fill *folder* with pictures, and one file that only has the name of a picture."""
    for number in range(count):
        image = Image.new("RGB", (800, 600), (number * 37 % 256, number * 91 % 256, 120))
        ImageDraw.Draw(image).ellipse((100, 50, 200 + 25 * number, 550), fill="white")
        image.save(folder / f"picture {number:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")


def main(folder: Path) -> None:
    """Print what became of each picture."""
    pictures = sorted(folder.glob("*.png"))
    done: list[Thumbnail] = []
    for result in jockey.map(shrink, pictures, ordered=False, on_error="return", progress=True):
        if isinstance(result, Thumbnail):
            done.append(result)
        else:
            print(f"failed: {result}".replace(f"{folder}/", ""))
    for thumbnail in sorted(done):
        print(f"{thumbnail.picture}: {thumbnail.width} x {thumbnail.height}, {thumbnail.digest[:12]}")


# The worker processes import this file too, and must not start it all over again.
if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).expanduser())
    else:
        with tempfile.TemporaryDirectory() as made_up:
            paint(Path(made_up), 20)
            main(Path(made_up))
