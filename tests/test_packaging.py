"""What an installed jockey tells about itself."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata, resources
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_installed_version_is_that_of_the_project() -> None:
    assert metadata.version("jockey") == PROJECT["version"]


def test_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "docs/CHANGELOG.md").read_text(encoding="utf-8")

    versions = re.findall(r"^## \[?([0-9.]+)", changelog, flags=re.MULTILINE)

    assert versions[0] == PROJECT["version"]


def test_license_is_an_expression_and_a_file() -> None:
    installed = metadata.metadata("jockey")

    assert installed["License-Expression"] == "MIT"
    assert installed.get_all("License-File") == ["LICENSE"]


def test_dependencies_are_few() -> None:
    assert [re.split(r"[^\w-]", requirement)[0] for requirement in PROJECT["dependencies"]] == [
        "anyio",
        "typing-extensions",
    ]


def test_dependencies_have_only_lower_bounds() -> None:
    """An upper bound in a library makes conflicts that its users cannot solve."""
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", requirement) for requirement in PROJECT["dependencies"])


def test_oldest_python_is_the_first_of_the_classifiers() -> None:
    prefix = "Programming Language :: Python :: 3."

    minors = sorted(int(text.removeprefix(prefix)) for text in PROJECT["classifiers"] if text.startswith(prefix))

    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_types_are_part_of_the_package() -> None:
    assert resources.files("jockey").joinpath("py.typed").is_file()
