"""Reading and validating a function body in Python: all of the language, and what is wrong with a body.

Theory of operation: the algorithm is that of the specification's appendix, over a stack of types (`BodyState`). The loop in
`_run` knows a handful of frequent instructions and does them without a call while their typing is plain (the operands are on
the stack and exactly of the types wanted); whatever is not so plain goes to the rule of the instruction in `dispatch`, which
starts over after the opcode. So the loop is only ever a short cut: leaving out any `if` of it changes nothing but the time.
"""

from __future__ import annotations

from core_rt.binary.model import DecodedModule, Instr
from core_rt.binary.reader import UNEXPECTED_END, sleb, uleb
from core_rt.errors import DecodeError, ValidationError
from core_rt.opcodes import PREFIXES
from core_rt.types import I32, ValType
from core_rt.validate.dispatch import BINARY, GET, I32_CONST, LOAD, SET, STORE, UNARY, dispatch_for, illegal
from core_rt.validate.state import FUNC, BodyState

__all__ = ["read_carefully"]


def read_carefully(module: DecodedModule, defined_index: int) -> tuple[list[ValType], list[Instr]]:
    """Locals and instructions of a defined function's body.

    Raises `DecodeError` (malformed) or `ValidationError` (invalid), both with the offset in the module.
    """
    start, end = module.bodies[defined_index]
    func_type = module.funcs[module.num_imported_funcs + defined_index].func
    state = BodyState(module, func_type, bytes(module.data[start:end]))
    try:
        state.read_locals()
        state.enter(FUNC, (), func_type.results)
        _run(state, start)
        if state.pos != end - start:
            raise DecodeError("section size mismatch: END opcode before the body's end", state.pos)
    except IndexError:
        raise DecodeError(UNEXPECTED_END, end) from None
    except (DecodeError, ValidationError) as error:
        raise type(error)(error.message, start + (error.offset or 0)) from None
    return state.locals, state.code


def _run(state: BodyState, base: int) -> None:
    """The loop. `base` is the body's offset in the module; positions are local to the body."""
    tables = dispatch_for(state.features)
    fast, operands, rules = tables.fast, tables.operands, tables.rules
    data, pos, stack, frames = state.data, state.pos, state.stack, state.frames
    locals_, unset, memories = state.locals, state.unset, state.module.memories
    count = len(locals_)
    plain_memory = bool(memories) and not memories[0].is64
    append, push, pop = state.code.append, stack.append, stack.pop
    height, assigned = state.height, state.assigned
    while frames:
        at = pos
        op = data[pos]
        pos += 1
        kind = fast[op]
        if kind == GET:
            x = data[pos]
            pos += 1
            if x >= 0x80:
                x, pos = uleb(data, pos - 1, 32)
            if x < count and x not in unset:
                push(locals_[x])
                append((op, x, base + at))
                continue
        elif kind == I32_CONST:
            x = data[pos]
            pos += 1
            if x >= 0x80:
                x, pos = sleb(data, pos - 1, 32)
            elif x >= 0x40:
                x -= 0x80
            push(I32)
            append((op, x, base + at))
            continue
        elif kind == BINARY:
            t, result = operands[op]
            if len(stack) - height >= 2 and stack[-1] is t and stack[-2] is t:
                pop()
                stack[-1] = result
                append((op, None, base + at))
                continue
        elif kind == SET:
            x = data[pos]
            pos += 1
            if x >= 0x80:
                x, pos = uleb(data, pos - 1, 32)
            if x < count and len(stack) > height and stack[-1] is locals_[x] and not unset:
                if op == 0x21:
                    pop()
                assigned.add(x)
                append((op, x, base + at))
                continue
        elif kind == UNARY:
            t, result = operands[op]
            if len(stack) > height and stack[-1] is t:
                stack[-1] = result
                append((op, None, base + at))
                continue
        elif kind == LOAD or kind == STORE:
            natural, t = operands[op]
            align = data[pos]
            offset = data[pos + 1]
            pos += 2
            if offset >= 0x80:
                offset, pos = uleb(data, pos - 1, 64)
            # A flags byte up to the natural alignment names no memory; 5 bytes are what a 32-bit offset may take.
            if align <= natural and plain_memory and offset < 0x1_0000_0000 and pos - at <= 7:
                if kind == LOAD:
                    if len(stack) > height and stack[-1] is I32:
                        stack[-1] = t
                        append((op, (align, offset, 0), base + at))
                        continue
                elif len(stack) - height >= 2 and stack[-1] is t and stack[-2] is I32:
                    pop()
                    pop()
                    append((op, (align, offset, 0), base + at))
                    continue
        pos = at + 1
        if op in PREFIXES:
            sub, pos = uleb(data, pos, 32)
            op = op << 12 | (sub if sub < 0x1000 else 0xFFF)
        rule = rules.get(op)
        if rule is None:
            raise illegal(op, at)
        state.at = at
        state.pos = pos
        append((op, rule(state, op), base + at))
        pos = state.pos
        height = state.height
        assigned = state.assigned
    state.pos = pos
