"""How Sphinx builds the documentation. `nox -s docs` turns each of its warnings into an error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import jockey
import jockey.jobs

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
author = "the jockey authors"
copyright = author
release = version = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_theme_options = {
    "source_repository": PROJECT["urls"]["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# In docstrings a name in single backticks is a link where there is something to link to.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Links to what is ours must lead somewhere. Not checked: other projects, and single backticks, which hold code as well.
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r".*"),
    ("py:.*", r"(?!jockey\.).*"),
    # Type variables, and types that stand in a signature, but have nothing to say.
    ("py:.*", r"jockey\._types\..*"),
    ("py:.*", r"jockey\.jobs\._\w+\.(\w*(Result|State)\w*|Params|First|Next|One|Two|Three|Four|Five)"),
    ("py:.*", r"jockey\.jobs\._\w+\.(Declare|TaskFunction|Step|Join|Broker|Store|Callback|Callbacks)"),
    ("py:.*", r"jockey\.(\w+\.)*_?(Payload|Key|Result|Add|AddSync|Handler|Returned|Arguments)"),
]


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.Element | None:
    """Link from an annotation, which names the private module that a class stands in, to where it is documented."""
    module, _, name = node["reftarget"].rpartition(".")
    package = jockey.jobs if module.startswith("jockey.jobs") else jockey
    if node["refdomain"] != "py" or name not in package.__all__:
        return None
    target = f"{package.__name__}.{name}"
    return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, shown)


def translate_fences(_app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    """Turn fenced Python, which docstrings share with the pages, into reStructuredText."""
    is_code = False
    translated: list[str] = []
    for line in lines:
        if line.lstrip().startswith("```"):
            is_code = not is_code
            translated += ["", line.replace("```python", ".. code-block:: python") if is_code else "", ""]
        else:
            translated.append(f"    {line}" if is_code else line)
    lines[:] = translated


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", translate_fences)
    app.connect("missing-reference", resolve_public_name)
