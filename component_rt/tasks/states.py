"""The legal transitions of tasks, threads, subtasks and copies, as tables (Concurrency.md, CanonicalABI.md "Runtime State").

`advance(TABLE, state, event)` is the only way any of these states changes, so a transition that is not in its table cannot
happen; `docs/async.md` shows the same tables as diagrams (`diagram`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from core_rt.errors import EngineBug

__all__ = [
    "COPY",
    "SUBTASK",
    "TABLES",
    "TASK",
    "THREAD",
    "CopyState",
    "SubtaskState",
    "TaskState",
    "ThreadState",
    "advance",
    "diagram",
]

S = TypeVar("S", bound=enum.Enum)


class TaskState(enum.Enum):
    """A call of a lifted function, seen by the callee."""

    __hash__ = object.__hash__  # `Enum`'s is written in Python

    INITIAL = 1
    STARTED = 2
    PENDING_CANCEL = 3
    CANCEL_DELIVERED = 4
    RESOLVED = 5


class SubtaskState(enum.IntEnum):
    """The same call, seen by a guest that made it; the numbers are what guests see."""

    STARTING = 0
    STARTED = 1
    RETURNED = 2
    CANCELLED_BEFORE_STARTED = 3
    CANCELLED_BEFORE_RETURNED = 4


class ThreadState(enum.Enum):
    """A thread of a task. `WAITING` threads have a condition that makes them run again, `SUSPENDED` ones need another thread."""

    __hash__ = object.__hash__  # `Enum`'s is written in Python

    SUSPENDED = 1
    WAITING = 2
    RUNNING = 3
    DONE = 4


class CopyState(enum.Enum):
    """One end of a stream or future."""

    __hash__ = object.__hash__  # `Enum`'s is written in Python

    IDLE = 1
    COPYING = 2
    CANCELLING_COPY = 3
    DONE = 4


TASK: Final[Mapping[tuple[TaskState, str], TaskState]] = {
    (TaskState.INITIAL, "start"): TaskState.STARTED,
    (TaskState.INITIAL, "deliver cancel"): TaskState.CANCEL_DELIVERED,
    (TaskState.STARTED, "request cancel"): TaskState.PENDING_CANCEL,
    (TaskState.STARTED, "deliver cancel"): TaskState.CANCEL_DELIVERED,
    (TaskState.STARTED, "return"): TaskState.RESOLVED,
    (TaskState.PENDING_CANCEL, "deliver cancel"): TaskState.CANCEL_DELIVERED,
    (TaskState.PENDING_CANCEL, "return"): TaskState.RESOLVED,
    (TaskState.CANCEL_DELIVERED, "return"): TaskState.RESOLVED,
    (TaskState.CANCEL_DELIVERED, "cancel"): TaskState.RESOLVED,
}

SUBTASK: Final[Mapping[tuple[SubtaskState, str], SubtaskState]] = {
    (SubtaskState.STARTING, "start"): SubtaskState.STARTED,
    (SubtaskState.STARTING, "cancel"): SubtaskState.CANCELLED_BEFORE_STARTED,
    (SubtaskState.STARTED, "return"): SubtaskState.RETURNED,
    (SubtaskState.STARTED, "cancel"): SubtaskState.CANCELLED_BEFORE_RETURNED,
}

THREAD: Final[Mapping[tuple[ThreadState, str], ThreadState]] = {
    (ThreadState.SUSPENDED, "resume"): ThreadState.RUNNING,
    (ThreadState.SUSPENDED, "wait"): ThreadState.WAITING,
    (ThreadState.WAITING, "resume"): ThreadState.RUNNING,
    (ThreadState.RUNNING, "suspend"): ThreadState.SUSPENDED,
    (ThreadState.RUNNING, "wait"): ThreadState.WAITING,
    (ThreadState.RUNNING, "exit"): ThreadState.DONE,
}

COPY: Final[Mapping[tuple[CopyState, str], CopyState]] = {
    (CopyState.IDLE, "copy"): CopyState.COPYING,
    (CopyState.COPYING, "cancel"): CopyState.CANCELLING_COPY,
    (CopyState.COPYING, "complete"): CopyState.IDLE,
    (CopyState.COPYING, "end"): CopyState.DONE,
    (CopyState.CANCELLING_COPY, "complete"): CopyState.IDLE,
    (CopyState.CANCELLING_COPY, "end"): CopyState.DONE,
}

TABLES: Final[Mapping[str, tuple[Mapping[Any, Any], enum.Enum]]] = {
    "Task": (TASK, TaskState.INITIAL),
    "Subtask": (SUBTASK, SubtaskState.STARTING),
    "Thread": (THREAD, ThreadState.SUSPENDED),
    "Copy": (COPY, CopyState.IDLE),
}
"""Every table with its first state."""


def advance(table: Mapping[tuple[S, str], S], state: S, event: str) -> S:
    """The state after `event`. A transition outside the table is our own fault."""
    try:
        return table[state, event]
    except KeyError:
        raise EngineBug(f"`{event}` cannot happen in state {state.name}") from None


def diagram(name: str) -> str:
    """One table as a Mermaid state diagram."""
    table, first = TABLES[name]
    lines = ["stateDiagram-v2", f"    [*] --> {first.name}"]
    lines += [f"    {state.name} --> {after.name}: {event}" for (state, event), after in table.items()]
    ends = set(table.values()) - {state for state, _ in table}
    lines += [f"    {state.name} --> [*]" for state in type(first) if state in ends]
    return "\n".join(lines)
