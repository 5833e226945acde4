"""Constants in component files (value definitions) as the Python values that functions take."""

from __future__ import annotations

from typing import Any

from component_rt import types as t
from component_rt.values import Case, Err, Ok, Some

__all__ = ["python_value"]


def python_value(of: t.ValType, value: Any) -> Any:
    """`ValueDef.value` in the form that lowering accepts."""
    match of:
        case t.RecordType(fields=fields):
            return {f.label: python_value(f.t, value[f.label]) for f in fields}
        case t.TupleType(ts=ts):
            return tuple([python_value(u, v) for u, v in zip(ts, value)])
        case t.ListType(t=u):
            return [python_value(u, v) for v in value]
        case t.MapType(k=k, v=u):
            pairs = value.items() if isinstance(value, dict) else value
            return {python_value(k, key): python_value(u, v) for key, v in pairs}
        case t.VariantType(cases=cases):
            label, payload = value
            [inner] = [case.t for case in cases if case.label == label]
            return Case(label, None if inner is None else python_value(inner, payload))
        case t.OptionType(t=u):
            if value is None:
                return None
            inner = python_value(u, value[0])
            return Some(inner) if u.kind == "option" else inner
        case t.ResultType(ok=ok, error=error):
            label, payload = value
            if label == "ok":
                return Ok(None if ok is None else python_value(ok, payload))
            return Err(None if error is None else python_value(error, payload))
    return value
