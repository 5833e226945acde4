"""Structured control and branches.

A branch forward is a *patch*: where its distance goes once the target is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.interpret.operations import BRANCHES
from core_rt.interpret.translator import ALL, LOW, NUMBERS, WORDS_MOST, Declined, Label, Loop, translates
from core_rt.opcodes import BY_NAME
from core_rt.vm.words import CODES

if TYPE_CHECKING:
    from core_rt.interpret.translator import Translator

_I32_EQZ: Final = CODES["I32_EQZ"]
_OPENERS: Final = frozenset(BY_NAME[name].code for name in ("block", "loop", "if"))
_ELSE, _END = BY_NAME["else"].code, BY_NAME["end"].code
_IN_UPPER, _IN_C, _WHOLE = range(3)
"""Where a word holds its distance. `_WHOLE` stands in a branch table, and in the patch the table's start is added: kind | start << 2."""


def land(t: Translator, patches: list[tuple[int, int]]) -> None:
    """Have branches arrive here."""
    for patch in patches:
        write_distance(t, patch, len(t.words))
    t.barrier = len(t.words)


def write_distance(t: Translator, patch: tuple[int, int], target: int) -> None:
    """Write a distance."""
    at, kind = patch
    if kind == _IN_UPPER:
        t.words[at] |= (target - at - 1 & LOW) << 32
    elif kind == _IN_C:
        t.words[at] |= (target - at - 1 & 0xFFFF) << 48
    else:
        t.words[at] = target - (kind >> 2) & ALL


def goto(t: Translator, label: Label, patch: tuple[int, int]) -> None:
    """Have a branch go to a label."""
    if label.head is None:
        label.patches.append(patch)
    else:
        write_distance(t, patch, label.head)


def carry(t: Translator, label: Label) -> None:
    """Put the values that a branch to a label carries into their places."""
    count = label.arity
    for i, slot in enumerate(t.stack[-count:] if count else ()):
        place = t.base + label.height + i
        if slot != place:
            t.emit("MOVE", place, slot)


def carries(t: Translator, label: Label) -> bool:
    """Whether a branch to a label has something to do before it branches."""
    count = label.arity
    if label is t.labels[0]:
        return True
    first = t.base + label.height
    return count > 0 and t.stack[-count:] != list(range(first, first + count))


def leave(t: Translator, label: Label) -> None:
    """Branch to a label, whatever that takes."""
    if label is t.labels[0]:
        emit_return(t)
        return
    if len(t.words) > WORDS_MOST:  # of a table, each branch may carry a thousand values
        raise Declined
    carry(t, label)
    goto(t, label, jump(t, "BR"))


def jump(t: Translator, name: str, a: int = 0) -> tuple[int, int]:
    """Append a branch whose distance is in its upper half."""
    t.emit(name, a)
    t.barrier = len(t.words)
    return len(t.words) - 1, _IN_UPPER


def jump_where(t: Translator, condition: int, holds: bool) -> tuple[int, int]:
    """Append a branch for when a condition, just popped, holds or does not."""
    words = t.words
    while len(words) > t.barrier and condition >= t.base:
        last = words[-1]
        if last >> 16 & 0xFFFF != condition:
            break
        operation, left, right = last & 0xFFFF, last >> 32 & 0xFFFF, last >> 48
        if operation == _I32_EQZ:
            words.pop()
            condition, holds = left, not holds
            continue
        found = BRANCHES.get(operation)
        if found is None:
            break
        branch = found[holds]
        if branch.swapped:
            left, right = right, left
        words[-1] = branch.operation | left << 16 | right << 32
        t.barrier = len(words)
        return len(words) - 1, _IN_C
    return jump(t, "BR_IF" if holds else "BR_UNLESS", condition)


def emit_return(t: Translator) -> None:
    """Append a return of what is on top of the stack."""
    count = len(t.body.type.results)
    if count == 1:
        t.emit("RETURN_ONE", t.stack[-1])
    elif count:
        t.emit("RETURN_MANY", count)
        t.list_slots(t.stack[-count:])
    else:
        t.emit("RETURN")
    t.barrier = len(t.words)


def settle_assigned(t: Translator, imm: tuple[Any, ...]) -> int:
    """What all structured instructions begin with; returns the height below the parameters."""
    assigned = imm[2]
    stack = t.stack
    if not assigned.isdisjoint(stack):
        for height, slot in enumerate(stack):
            if slot in assigned:
                t.settle(height)
    return len(stack) - len(imm[0])


@translates("block")
def _block(t: Translator, imm: tuple[Any, ...]) -> None:
    height = settle_assigned(t, imm)
    t.labels.append(Label(height, len(imm[1]), len(imm[1])))


@translates("loop")
def _loop(t: Translator, imm: tuple[Any, ...]) -> None:
    below = imm[3] if len(imm) > 3 else ()
    if below is None or len(t.loops) > 0xFFFF:
        raise Declined
    operands = (*below, *imm[0])
    if not NUMBERS.issuperset(operands):
        raise Declined
    settle_assigned(t, imm)
    for height, slot in enumerate(t.stack):
        if height >= len(below):
            t.settle(height)
        elif slot != t.base + height:  # for code that is entered here; this pass goes on with what it knows
            t.emit("MOVE", t.base + height, slot)
    t.labels.append(Label(len(below), len(imm[0]), len(imm[1]), len(t.words)))
    t.end_run()
    t.emit("LOOP", len(t.loops))
    t.loops.append(Loop(t.offset, operands, t.base))
    t.barrier = len(t.words)
    t.begin_run(poll=True)


@translates("if")
def _if(t: Translator, imm: tuple[Any, ...]) -> None:
    condition = t.stack.pop()
    # Nothing may come between a comparison and its branch, so copies are made first, which do not concern it. Only comparisons:
    # what can trap stays where backtraces look for it.
    words, kept = t.words, None
    if len(words) > t.barrier and condition >= t.base and words[-1] >> 16 & 0xFFFF == condition:
        operation = words[-1] & 0xFFFF
        if operation == _I32_EQZ or operation in BRANCHES:
            kept = words.pop()
    height = settle_assigned(t, imm)
    for at in range(height, len(t.stack)):
        t.settle(at)
    if kept is not None:
        words.append(kept)
    label = Label(height, len(imm[1]), len(imm[1]))
    label.saved = t.stack[:]
    t.end_run()
    label.else_patch = jump_where(t, condition, False)
    t.labels.append(label)
    t.begin_run()


def other_arm(t: Translator, live: bool) -> None:
    """The `else` of the innermost `if`."""
    label = t.labels[-1]
    assert label.saved is not None and label.else_patch is not None
    if live:
        t.end_run()
        leave(t, label)
    land(t, [label.else_patch])
    t.stack[:] = label.saved
    label.saved = label.else_patch = None
    t.begin_run()


@translates("else")
def _else(t: Translator, imm: Any) -> None:
    other_arm(t, live=True)


@translates("end")
def _end(t: Translator, imm: Any) -> None:
    close(t, live=True)


def close(t: Translator, live: bool) -> bool:
    """Close the innermost label; returns whether code after it can be reached."""
    label = t.labels[-1]
    if len(t.labels) == 1:
        if live:
            t.end_run()
            emit_return(t)
        return True
    t.labels.pop()
    if label.else_patch is not None:
        label.patches.append(label.else_patch)
    if label.head is not None or not label.patches:
        if not live:
            del t.stack[label.height :]
        return live
    if live:
        t.end_run()
        carry(t, label)
    land(t, label.patches)
    del t.stack[label.height :]
    for _ in range(label.results):
        t.push_place()
    t.begin_run()
    return True


def skip(t: Translator) -> None:
    """Code from here on cannot be reached: read on to where it can."""
    t.end_run()
    depth = 0
    for op, _, _ in t.code:
        if op in _OPENERS:
            depth += 1
        elif op == _END:
            if depth:
                depth -= 1
            elif close(t, live=False):
                return
        elif op == _ELSE and not depth:
            other_arm(t, live=False)
            return


@translates("br")
def _br(t: Translator, depth: int) -> None:
    leave(t, t.labels[-1 - depth])
    skip(t)


@translates("br_if")
def _br_if(t: Translator, depth: int) -> None:
    label = t.labels[-1 - depth]
    condition = t.stack.pop()
    t.end_run()
    if carries(t, label):
        over = jump_where(t, condition, False)
        leave(t, label)
        land(t, [over])
    else:
        goto(t, label, jump_where(t, condition, True))
    t.begin_run()


@translates("br_table")
def _br_table(t: Translator, imm: tuple[tuple[int, ...], int]) -> None:
    targets = (*imm[0], imm[1])
    t.words.append(CODES["BR_TABLE"] | t.stack.pop() << 16 | len(imm[0]) << 32)
    start = len(t.words)
    t.words += [0] * len(targets)
    uses: dict[int, list[tuple[int, int]]] = {}
    for i, depth in enumerate(targets):
        uses.setdefault(depth, []).append((start + i, _WHOLE | start << 2))
    for depth, patches in uses.items():
        label = t.labels[-1 - depth]
        if carries(t, label):
            land(t, patches)
            leave(t, label)
        else:
            for patch in patches:
                goto(t, label, patch)
    skip(t)


@translates("return")
def _return(t: Translator, imm: Any) -> None:
    emit_return(t)
    skip(t)


@translates("unreachable")
def _unreachable(t: Translator, imm: Any) -> None:
    t.emit("UNREACHABLE")
    skip(t)
