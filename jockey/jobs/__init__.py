"""A job queue: typed tasks, queues, workers, retries, workflows and results, on brokers from memory to RabbitMQ."""

try:
    import msgspec as _  # noqa: F401 - whether it is there
except ModuleNotFoundError as error:  # one that is there and cannot be imported, as in an interpreter, says why itself
    raise ImportError("jockey.jobs needs msgspec: pip install 'jockey[jobs]'") from error

from jockey._options import ExecuteIn, Priority
from jockey.jobs._app import App
from jockey.jobs._broker import QueueInfo, Record, WorkerInfo
from jockey.jobs._context import Context
from jockey.jobs._counts import WorkerCounts
from jockey.jobs._errors import (
    AppClosedError,
    ArgumentsError,
    BrokerUnavailableError,
    CommandFailedError,
    DecodeError,
    JobFailedError,
    JobsError,
    LeaseLostError,
    QueueNotDeclaredError,
    ResultError,
    ResultTimeoutError,
    ResultUnavailableError,
    UnknownTaskError,
    UnsupportedError,
)
from jockey.jobs._failure import Failure
from jockey.jobs._job import Job
from jockey.jobs._message import Message, Trouble
from jockey.jobs._options import Defaults, JobOptions, TaskOptions
from jockey.jobs._queues import DeadLetters, Queues
from jockey.jobs._retry import Retry, RetryLater
from jockey.jobs._router import Router
from jockey.jobs._signature import Group, PartialGroup, PartialSignature, Signature, chain, group
from jockey.jobs._state import State
from jockey.jobs._task import Task
from jockey.jobs._worker import Worker

__all__ = [
    "App",
    "AppClosedError",
    "ArgumentsError",
    "BrokerUnavailableError",
    "CommandFailedError",
    "Context",
    "DeadLetters",
    "DecodeError",
    "Defaults",
    "ExecuteIn",
    "Failure",
    "Group",
    "Job",
    "JobFailedError",
    "JobOptions",
    "JobsError",
    "LeaseLostError",
    "Message",
    "PartialGroup",
    "PartialSignature",
    "Priority",
    "QueueInfo",
    "QueueNotDeclaredError",
    "Queues",
    "Record",
    "ResultError",
    "ResultTimeoutError",
    "ResultUnavailableError",
    "Retry",
    "RetryLater",
    "Router",
    "Signature",
    "State",
    "Task",
    "TaskOptions",
    "Trouble",
    "UnknownTaskError",
    "UnsupportedError",
    "Worker",
    "WorkerCounts",
    "WorkerInfo",
    "chain",
    "group",
]
