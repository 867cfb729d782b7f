"""
No example, but a signpost to the `math` of the standard library.

Python looks for a module beside the script that it runs before it looks anywhere else. So the `math` that asyncio needs
would be `math.py`, for every script of this folder. A package goes before a file of the same name: Python finds this
one, which steps aside for the real one. Scripts that are not called like a module need nothing of the kind.
"""

# ruff: noqa: PTH100, PTH120 - whatever is imported here, `pathlib` too, must not need `math` itself.

import os
import sys
from importlib import import_module

if __name__ == "math":
    everywhere = sys.path
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path = [folder for folder in everywhere if os.path.abspath(folder) != here]
    # What is in sys.modules when this file has run is what the importing module gets.
    del sys.modules[__name__]
    try:
        import_module(__name__)
    finally:
        sys.path = everywhere
