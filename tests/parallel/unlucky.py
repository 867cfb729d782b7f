"""Items to which everything happens."""

from __future__ import annotations

import enum
import itertools
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jockey


class Fate(enum.Enum):
    """What becomes of an item."""

    WELL = "well"
    RAISES = "raises"
    DIES = "dies"
    EXITS = "exits"
    CANNOT_RETURN = "cannot return"
    LATE = "late"

    @classmethod
    def of(cls, result: object) -> Fate:
        match result:
            case int():
                return cls.WELL
            case ValueError():
                return cls.RAISES
            case jockey.WorkerDiedError():
                return cls.DIES
            case jockey.HandlerCrashedError():
                return cls.EXITS
            case jockey.TransferError():
                return cls.CANNOT_RETURN
            case jockey.JobTimeoutError():
                return cls.LATE
        raise AssertionError(result)


@dataclass(frozen=True)
class Fateful:
    number: int
    fate: Fate
    folder: str


def be_unlucky(item: Fateful) -> Any:
    for call in itertools.count():
        path = Path(item.folder) / f"{item.number}-{call}"
        try:
            path.touch(exist_ok=False)
            break
        except FileExistsError:
            continue
    match item.fate:
        case Fate.WELL:
            return item.number
        case Fate.RAISES:
            raise ValueError(item.number)
        case Fate.DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        case Fate.EXITS:
            raise SystemExit(item.number)
        case Fate.CANNOT_RETURN:
            return threading.Lock()
        case Fate.LATE:
            time.sleep(3600)
    raise AssertionError(item)
