"""The URLs of brokers, as errors and logs may show them."""

from __future__ import annotations

import re
from typing import Final

# To the last "@", for who forgets to write "%40" or "%2F" in a password has it split anywhere.
_CREDENTIALS: Final = re.compile(r"(?<=//).*(?=@)", re.DOTALL)


def shown(url: str) -> str:
    """Return *url* as it may be shown: without its user and its password."""
    return repr(_CREDENTIALS.sub("***", url))
