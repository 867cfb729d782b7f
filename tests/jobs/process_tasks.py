"""Tasks that run in processes, which import this module."""

from __future__ import annotations

import os
from dataclasses import dataclass

from jockey.jobs import App, ExecuteIn

app = App()


@dataclass
class Order:
    product: str
    count: int


@app.task(execute_in=ExecuteIn.PROCESS)
def total(order: Order) -> tuple[str, int, int]:
    return order.product, order.count, os.getpid()


@app.task(execute_in=ExecuteIn.PROCESS)
def broken() -> None:
    raise ValueError("broken in the process")
