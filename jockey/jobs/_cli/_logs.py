"""What a worker writes to its standard error."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

_TEXT: Final = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"

_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes that each record has; others were added by whoever wrote it."""


def write_logs(kind: str | None) -> None:
    """
    Write all logs from INFO upwards.

    Args:
        kind: "text" or "json"; None: as text, unless the app has seen to its logs itself.
    """
    root = logging.getLogger()
    if kind is None and root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if kind == "json" else logging.Formatter(_TEXT))
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # It tells of all changes of files, also of those that mean nothing here.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record, with what was added to the record, such as the id of the job."""

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        data |= {name: value for name, value in vars(record).items() if name not in _USUAL and name not in data}
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return json.dumps(data, default=str)
