"""Structured control: blocks, branches, and where control joins.

Rules:
- An edge to a label carries the values of the label's `assigned` locals, then the values that the label takes (`Label.types`).
- A loop's phis are written when it is opened, so lines are reserved for them and filled in at its `end`, when all branches back are
  known. Other labels write their phis at `end`, and only for what differs.
- Code that cannot be reached is not written: `skip` reads on to the `end` or `else` where something arrives again. Only the operand
  stack's height matters there, and `Label.height` has it.
- A block that nothing branches to has no label in the text at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.emitter import Emitter, Label
from core_rt.compile.handlers import HANDLERS, emits
from core_rt.compile.roots import CURRENT, leave_frame
from core_rt.compile.signature import is_gcref, lltype
from core_rt.errors import TrapCode
from core_rt.interpret.operations import FREE
from core_rt.opcodes import BY_NAME, OPCODES
from core_rt.types import ValType
from core_rt.validate.function import Uses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_OPENERS: Final = frozenset(row.code for row in OPCODES if row.mnemonic in ("block", "loop", "if", "try_table"))
_SHORT_LOOP: Final = 80
"""Lines of a loop that is unrolled, at most."""
_END: Final = BY_NAME["end"].code
_ELSE: Final = BY_NAME["else"].code


def _lltypes(types: Iterable[ValType]) -> tuple[str, ...]:
    return tuple([lltype(t) for t in types])


# ------------------------------------------------------------------------------------------------------ edges and joins


def edge(f: Emitter, label: Label, block: str | None = None) -> None:
    """Note an edge from the current block (or `block`) to a label, with what is on top of the stack."""
    locals_ = f.locals
    values = [locals_[i] for i in label.assigned]
    count = len(label.types)
    if count:
        values += f.stack[-count:]
    label.incoming.append((block or f.block, values))
    if f.handler != label.handler:
        for left in reversed(f.labels):
            use_waiting(f, left)
            if left is label:
                break


def join(f: Emitter, label: Label) -> None:
    """Begin the block that a label's edges lead to: locals and the stack become what arrives."""
    types = [f.local_types[i] for i in label.assigned]
    types += label.types
    f.place(label.name)
    incoming = label.incoming
    if len(incoming) == 1:
        values = incoming[0][1]
    else:
        blocks = [block for block, _ in incoming]
        values = []
        for type_, column in zip(types, zip(*[v for _, v in incoming])):
            first = column[0]
            for value in column:
                if value != first:
                    pairs = [f"[ {v}, %{b} ]" for v, b in zip(column, blocks)]
                    f.n = n = f.n + 1
                    f.out(f"%{n} = phi {type_} {', '.join(pairs)}")
                    if f.gc_values and not f.gc_values.isdisjoint(column):
                        f.gc_values.add(f"%{n}")
                    first = f"%{n}"
                    break
            values.append(first)
    if f.catches:
        set_current(f, label.handler)
    locals_ = f.locals
    count = len(label.assigned)
    for index, value in zip(label.assigned, values):
        locals_[index] = value
    del f.stack[label.height :]
    f.stack += values[count:]


def use_waiting(f: Emitter, label: Label) -> None:
    """Where a `try_table` is left, let LLVM believe that the operands below it are used.

    They are then live as long as it is open, as they are for exceptions, and nothing that is computed inside gets their places.
    """
    for type_, value in label.waiting:
        register = "r" if type_ in ("i32", "i64", "ptr") else f.unit.float_register
        f.out(f'call void asm sideeffect "", "{register}"({type_} {value})')


def set_current(f: Emitter, handler: str) -> None:
    """Make a handler (or `null`) the one that exceptions go to: see exception.py."""
    f.out(f"store volatile ptr {handler}, ptr {f.let(f'getelementptr i8, ptr %gc, i64 {CURRENT}')}")


def _goto(f: Emitter, label: Label) -> None:
    edge(f, label)
    f.out(f"br label %{label.name}{_hint(f, label)}")


def _hint(f: Emitter, label: Label) -> str:
    """What LLVM should know of a branch to a label: short loops over vectors, which have no loop in them, are unrolled once.

    A round of such a loop is so short that the poll and the branch are a good part of it; elsewhere it did not pay.
    """
    if label.kind != "loop" or not f.unit.optimised or not f.body.uses & Uses.SIMD:
        return ""
    if label.hint is None:
        lines = f.lines[label.phi_line :]
        short = label.name == f.innermost and len(lines) < _SHORT_LOOP and any("<" in line for line in lines)
        label.hint = f.unit.unrolled() if short else ""
    return label.hint


def skip(f: Emitter) -> None:
    """Code from here on cannot be reached: read on to where it can."""
    f.end_region()
    depth = 0
    for op, _, offset in f.code:
        if op in _OPENERS:
            depth += 1
        elif op == _END:
            if depth:
                depth -= 1
            else:
                f.offset = offset
                if _end(f, live=False):
                    return
        elif op == _ELSE and not depth:
            _other_arm(f, live=False)
            return


# ------------------------------------------------------------------------------------------------------ structure


def open_label(f: Emitter, kind: str, imm: tuple[Any, ...]) -> Label:
    """Push the label of a structured instruction."""
    f.blocks += 1
    params = _lltypes(imm[0])
    label = Label(kind, f"b{f.blocks}", len(f.stack) - len(params), params, _lltypes(imm[1]))
    if not f.slotted:
        label.assigned = tuple(sorted(imm[2]))
    elif not f.slots.issuperset(imm[2]):
        for local in sorted(imm[2] - f.slots):
            f.slot(local)
    label.handler = f.handler
    if f.offset in f.enclosing:
        _keep_below(f, label)
    f.labels.append(label)
    return label


def _keep_below(f: Emitter, label: Label) -> None:
    """Put what lies below a label, and above the one around it, into the frame that is taken over: the function may begin inside, and
    come here later. It is fetched from there at the label's end."""
    assert f.source is not None
    label.kept = range(f.labels[-1].height, label.height)
    for height in label.kept:
        f.out(f"store {f.source.operands[height][0]} {f.stack[height]}, ptr %operand{height}.p")


@emits("block")
def _block(f: Emitter, imm: tuple[Any, ...]) -> None:
    open_label(f, "block", imm)


@emits("loop")
def _loop(f: Emitter, imm: tuple[Any, ...]) -> None:
    f.end_region()
    label = open_label(f, "loop", imm)
    label.types = label.params
    edge(f, label)
    if f.offset == f.resume_at and f.source is not None and len(f.stack) == len(f.source.operands):
        f.resume_label = label.name
        if label.params:
            label.incoming.append(("entry", [f"%operand{i}" for i in range(label.height, len(f.stack))]))
    f.out(f"br label %{label.name}")
    f.place(label.name)
    label.phi_line = len(f.lines)
    f.innermost = label.name
    first = f.n + 1
    count = len(label.assigned) + len(label.params)
    f.lines += [""] * count
    f.n += count
    label.condition = str(first)
    gc = f.gc_values
    for k, index in enumerate(label.assigned):
        f.locals[index] = value = f"%{first + k}"
        if is_gcref(f.body.locals[index]):
            gc.add(value)
    if label.params:
        first += len(label.assigned)
        values = [f"%{first + k}" for k in range(len(label.params))]
        for k, t in enumerate(imm[0]):
            if is_gcref(t):
                gc.add(values[k])
        f.stack[label.height :] = values
    if f.catches:
        set_current(f, f.handler)
    f.begin_region(poll=True)


def _fill_phis(f: Emitter, label: Label) -> None:
    types = [f.local_types[i] for i in label.assigned]
    types += label.params
    number = int(label.condition)
    blocks = [block for block, _ in label.incoming]
    columns = zip(*[values for _, values in label.incoming])
    for k, (type_, column) in enumerate(zip(types, columns)):
        pairs = [f"[ {v}, %{b} ]" for v, b in zip(column, blocks)]
        f.lines[label.phi_line + k] = f"%{number + k} = phi {type_} {', '.join(pairs)}"


@emits("if")
def _if(f: Emitter, imm: tuple[Any, ...]) -> None:
    bit = f.condition(f.stack.pop())
    f.end_region()
    label = open_label(f, "if", imm)
    # Locals with slots do not change their values here, and others are not assigned inside.
    label.saved = (f.locals if f.slotted else f.locals[:], f.stack[label.height :])
    label.condition = bit
    label.branch_line = len(f.lines)
    label.catches = f.block
    f.out(f"br i1 {bit}, label %{label.name}t, label %{label.name}e")
    f.place(f"{label.name}t")
    f.begin_region()


def _other_arm(f: Emitter, live: bool) -> None:
    label = f.labels[-1]
    if live:
        f.end_region()
        _goto(f, label)
    assert label.saved is not None
    f.locals, params = label.saved
    label.saved = None
    f.place(f"{label.name}e")
    del f.stack[label.height :]
    f.stack += params
    f.begin_region()


@emits("else")
def _else(f: Emitter, imm: Any) -> None:
    _other_arm(f, live=True)


def _end(f: Emitter, live: bool) -> bool:
    """Close the innermost label; returns whether code after it can be reached."""
    label = f.labels[-1]
    live = _close(f, live)
    if live and label.kept:
        assert f.source is not None
        for height in label.kept:
            f.stack[height] = f.let(f"load {f.source.operands[height][0]}, ptr %operand{height}.p")
    return live


def _close(f: Emitter, live: bool) -> bool:
    label = f.labels.pop()
    kind = label.kind
    if kind == "func":
        _return(f, label, live)
        return True
    if kind == "loop":
        _fill_phis(f, label)
        if not live:
            del f.stack[label.height :]
        return live
    if kind == "if" and label.saved is not None:  # no else: what came in goes on
        locals_, params = label.saved
        f.lines[label.branch_line] = f"br i1 {label.condition}, label %{label.name}t, label %{label.name}"
        label.incoming.append((label.catches, [locals_[i] for i in label.assigned] + params))
    if kind == "try_table":
        f.handler = label.handler
        if live:
            use_waiting(f, label)
    if not label.incoming:
        if kind == "try_table" and live:
            set_current(f, f.handler)
        if not live:
            del f.stack[label.height :]
        return live
    f.end_region()
    if live:
        _goto(f, label)
    join(f, label)
    f.begin_region()
    return True


@emits("end")
def _emit_end(f: Emitter, imm: Any) -> None:
    _end(f, live=True)


def open_function(f: Emitter) -> None:
    """Push the outermost label and begin the function."""
    label = Label("func", "end", 0, (), f.signature.results)
    f.labels.append(label)
    # A function that calls nothing is over soon or polls in its loops; its callers poll.
    f.begin_region(poll=True, bounded=not f.body.uses & Uses.CALLS)


def _return(f: Emitter, label: Label, live: bool) -> None:
    if label.incoming:
        if live:
            f.end_region()
            _goto(f, label)
        join(f, label)
    elif not live:
        return
    else:
        f.end_region()
    leave_frame(f)
    write_return(f)


def write_return(f: Emitter) -> None:
    """Return what is on top of the stack."""
    sig = f.signature
    if sig.multiple:
        count = len(sig.results)
        for slot, (type_, value) in enumerate(zip(sig.results, f.stack[-count:])):
            f.store_result(type_, value, "%ret", slot)
        f.out("ret void")
    elif sig.results:
        f.out(f"ret {sig.result} {f.stack[-1]}")
    else:
        f.out("ret void")


# ------------------------------------------------------------------------------------------------------ branches


@emits("br")
def _br(f: Emitter, depth: int) -> None:
    f.end_region()
    _goto(f, f.labels[-1 - depth])
    skip(f)


@emits("return")
def _emit_return(f: Emitter, imm: Any) -> None:
    f.end_region()
    _goto(f, f.labels[0])
    skip(f)


@emits("br_if")
def _br_if(f: Emitter, depth: int) -> None:
    branch_if(f, f.condition(f.stack.pop()), depth)


def branch_if(f: Emitter, bit: str, depth: int) -> None:
    """Branch to a label with what is on top of the stack when an i1 is true; else go on."""
    f.end_region()
    label = f.labels[-1 - depth]
    edge(f, label)
    f.blocks += 1
    then = f"b{f.blocks}"
    f.out(f"br i1 {bit}, label %{label.name}, label %{then}{_hint(f, label)}\n{then}:")
    f.block = then
    f.known.clear()
    f.begin_region()


@emits("br_table")
def _br_table(f: Emitter, imm: tuple[tuple[int, ...], int]) -> None:
    targets, default = imm
    index = f.stack.pop()
    f.end_region()
    uses: dict[int, int] = {}
    for depth in targets:
        uses[depth] = uses.get(depth, 0) + 1
    names: dict[int, str] = {}
    hops: list[str] = []
    edge(f, f.labels[-1 - default])
    for depth, count in uses.items():
        if depth == default:
            continue
        label = f.labels[-1 - depth]
        if count == 1:
            names[depth] = label.name
            edge(f, label)
        else:  # phis want one entry for each edge, so many edges from here to one label go through one block
            names[depth] = hop = f.new_block("s")
            hops.append(f"{hop}:\nbr label %{label.name}")
            edge(f, label, hop)
    cases = [f"i32 {i}, label %{names[depth]}" for i, depth in enumerate(targets) if depth != default]
    f.out(f"switch i32 {index}, label %{f.labels[-1 - default].name} [ {chr(10).join(cases)} ]")
    f.lines += hops
    skip(f)


@emits("unreachable")
def _unreachable(f: Emitter, imm: Any) -> None:
    f.end_region()
    f.out(f"br label %{f.trap_label(TrapCode.UNREACHABLE)}")
    skip(f)


@emits("nop")
def _nop(f: Emitter, imm: Any) -> None:
    pass


def write_body(f: Emitter) -> None:
    """Write the whole body of a function."""
    handlers = HANDLERS
    open_function(f)
    code = f.code
    for op, imm, f.offset in code:
        handlers[op](f, imm)


def write_body_counting(f: Emitter) -> None:
    """As `write_body`, counting fuel: one for each instruction that does something."""
    handlers = HANDLERS
    free = FREE
    open_function(f)
    code = f.code
    for op, imm, f.offset in code:
        if op not in free:
            f.fuel_cost += 1
        handlers[op](f, imm)


def write_body_with_lines(f: Emitter, location: Callable[[int], int]) -> None:
    """As `write_body`, with debug locations; `location(offset)` gives the number of one.

    Every instruction carries the location of the last call or memory access before it in the text: LLVM may fold a load into the
    arithmetic that follows, and the result has the location of that.
    """
    handlers = HANDLERS
    free = FREE
    counting = f.unit.fuel
    lines, cold = f.lines, f.cold
    mark = f", !dbg !{location(f.unit.module.bodies[f.unit.current][0])}"
    open_function(f)
    done = _mark(lines, 0, mark, mark)
    done_cold = _mark(cold, 0, mark, mark)
    code = f.code
    for op, imm, f.offset in code:
        here = f", !dbg !{location(f.offset)}"
        if counting and op not in free:
            f.fuel_cost += 1
        handlers[op](f, imm)
        done_cold = _mark(cold, done_cold, here, here)
        for k in range(done, len(lines)):
            if "volatile" in lines[k] or "call " in lines[k]:
                done = _mark(lines, done, mark, here)
                mark = here
                break
        else:
            done = _mark(lines, done, mark, mark)


def _mark(lines: list[str], start: int, before: str, after: str) -> int:
    """Append `before` to lines up to the first call or access, `after` from there on; returns the number of lines."""
    mark = before
    for k in range(start, len(lines)):
        first, newline, rest = lines[k].partition("\n")
        if "volatile" in first or "call " in first:
            mark = after
        if first and first[-1] not in ": " and first[:6] != "switch":
            lines[k] = f"{first}{mark}{newline}{rest}"
    return len(lines)
