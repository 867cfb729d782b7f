"""The endpoint of the example web framework, in plain Starlette."""

from __future__ import annotations

import importlib
from typing import Any

# Imported by name, because they may be absent where types are checked.
applications: Any = importlib.import_module("starlette.applications")
responses: Any = importlib.import_module("starlette.responses")
routing: Any = importlib.import_module("starlette.routing")


async def hello(_request: object) -> Any:
    return responses.JSONResponse({"hello": "world"})


app = applications.Starlette(routes=[routing.Route("/", hello)])
