"""A guest that hands every method of `wasi:filesystem` 0.3 on: each call goes through the canonical ABI twice."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import pytest

import component_rt as rt

__all__ = ["TYPES", "component", "engine"]

ERRORS = """access already bad-descriptor busy deadlock quota exist file-too-large illegal-byte-sequence in-progress
    interrupted invalid io is-directory loop too-many-links message-size name-too-long no-device no-entry no-lock
    insufficient-memory insufficient-space not-directory not-empty not-recoverable unsupported no-tty no-such-device
    overflow not-permitted pipe read-only invalid-seek text-file-busy cross-device""".split()
KINDS = "block-device character-device directory fifo symbolic-link regular-file socket".split()


def _cases(names: list[str]) -> str:
    return " ".join(f'(case "{name}")' for name in names) + ' (case "other" (option string))'


def _labels(kind: str, names: str) -> str:
    return f"({kind} {' '.join(f'{chr(34)}{name}{chr(34)}' for name in names.split())})"


STAMPS = ("data-access", "data-modification", "status-change")
TYPES = {
    "descriptor-type": f"(variant {_cases(KINDS)})",
    "descriptor-flags": _labels(
        "flags", "read write file-integrity-sync data-integrity-sync requested-write-sync mutate-directory"
    ),
    "descriptor-stat": '(record (field "type" $descriptor-type) (field "link-count" u64) (field "size" u64) '
    + " ".join(f'(field "{name}-timestamp" (option $instant))' for name in STAMPS)
    + ")",
    "path-flags": _labels("flags", "symlink-follow"),
    "open-flags": _labels("flags", "create directory exclusive truncate"),
    "new-timestamp": '(variant (case "no-change") (case "now") (case "timestamp" $instant))',
    "directory-entry": '(record (field "type" $descriptor-type) (field "name" string))',
    "error-code": f"(variant {_cases(ERRORS)})",
    "advice": _labels("enum", "normal sequential random will-need dont-need no-reuse"),
    "metadata-hash-value": '(record (field "lower" u64) (field "upper" u64))',
}
FLAT = {
    "u64": "i64",
    "string": "i32 i32",
    "(stream u8)": "i32",
    "(borrow $descriptor)": "i32",
    "$descriptor-flags": "i32",
    "$path-flags": "i32",
    "$open-flags": "i32",
    "$advice": "i32",
    "$new-timestamp": "i32 i64 i32",
}
DONE = "(result (error $error-code))"
OUTCOME = f"(future {DONE})"


class Method(NamedTuple):
    """`params` without `self`; the result as WAT."""

    name: str
    params: str
    result: str = DONE
    is_async: bool = True

    def type(self, borrow: str) -> str:
        params = [("self", f"(borrow {borrow})")] + self.parts()
        text = " ".join(f'(param "{name}" {of})' for name, of in params)
        return f"(func {'async ' if self.is_async else ''}{text} (result {self.result}))"

    def parts(self) -> list[tuple[str, str]]:
        pairs = (part.strip().split(": ") for part in self.params.split(",") if part)
        return [(name, of) for name, of in pairs]


METHODS = [
    Method("read-via-stream", "offset: u64", f"(tuple (stream u8) {OUTCOME})", False),
    Method("write-via-stream", "data: (stream u8), offset: u64", OUTCOME, False),
    Method("append-via-stream", "data: (stream u8)", OUTCOME, False),
    Method("advise", "offset: u64, length: u64, advice: $advice"),
    Method("sync-data", ""),
    Method("get-flags", "", "(result $descriptor-flags (error $error-code))"),
    Method("get-type", "", "(result $descriptor-type (error $error-code))"),
    Method("set-size", "size: u64"),
    Method("set-times", "data-access-timestamp: $new-timestamp, data-modification-timestamp: $new-timestamp"),
    Method("read-directory", "", f"(tuple (stream $directory-entry) {OUTCOME})", False),
    Method("sync", ""),
    Method("create-directory-at", "path: string"),
    Method("stat", "", "(result $descriptor-stat (error $error-code))"),
    Method("stat-at", "path-flags: $path-flags, path: string", "(result $descriptor-stat (error $error-code))"),
    Method(
        "set-times-at",
        "path-flags: $path-flags, path: string, "
        "data-access-timestamp: $new-timestamp, data-modification-timestamp: $new-timestamp",
    ),
    Method(
        "link-at",
        "old-path-flags: $path-flags, old-path: string, new-descriptor: (borrow $descriptor), new-path: string",
    ),
    Method(
        "open-at",
        "path-flags: $path-flags, path: string, open-flags: $open-flags, flags: $descriptor-flags",
        "(result (own $descriptor) (error $error-code))",
    ),
    Method("readlink-at", "path: string", "(result string (error $error-code))"),
    Method("remove-directory-at", "path: string"),
    Method("rename-at", "old-path: string, new-descriptor: (borrow $descriptor), new-path: string"),
    Method("symlink-at", "old-path: string, new-path: string"),
    Method("unlink-file-at", "path: string"),
    Method("is-same-object", "other: (borrow $descriptor)", "bool"),
    Method("metadata-hash", "", "(result $metadata-hash-value (error $error-code))"),
    Method(
        "metadata-hash-at",
        "path-flags: $path-flags, path: string",
        "(result $metadata-hash-value (error $error-code))",
    ),
]


def _core(method: Method) -> tuple[str, str]:
    """What the guest's own module imports for a method, and the function that it exports."""
    parts = [of for _, of in method.parts()]
    flat = "i32 " + " ".join(FLAT[of] for of in parts)
    one = method.result in ("bool", OUTCOME)
    name = method.name
    count = len(flat.split())
    pushed = " ".join(f"(local.get {i})" for i in range(count))
    borrows = [0]
    at = 1
    for of in parts:
        if of == "(borrow $descriptor)":
            borrows.append(at)
        at += len(FLAT[of].split())
    drops = " ".join(f"(call $drop (local.get {i}))" for i in borrows)
    imported = (
        f'(import "h" "{name}" (func ${name} (param {flat}{"" if one else " i32"}){" (result i32)" if one else ""}))'
    )
    call = f"(local.set {count} (call ${name} {pushed}))" if one else f"(call ${name} {pushed} (i32.const 0))"
    body = f"(local i32) {call} {drops} (local.get {count})"
    return imported, f'(func (export "{name}") (param {flat}) (result i32) {body})'


def _text() -> str:
    declared = "\n".join(
        f'(type ${name}-0 {of}) (export "{name}" (type ${name} (eq ${name}-0)))' for name, of in TYPES.items()
    )
    methods = "\n".join(f'(export "[method]descriptor.{m.name}" {m.type("$descriptor")})' for m in METHODS)
    aliases = "\n".join(f'(alias export $types "{name}" (type ${name}))' for name in ("descriptor", *TYPES))
    lowered = "\n".join(
        f'(core func ${m.name} (canon lower (func $types "[method]descriptor.{m.name}") '
        "(memory (core memory $memory)) (realloc (core func $realloc))))"
        for m in METHODS
    )
    imports, functions = zip(*map(_core, METHODS), strict=True)
    given = "\n".join(f'(export "{m.name}" (func ${m.name}))' for m in METHODS)
    lifted = "\n".join(
        f"(func $lifted-{m.name} {m.type('$descriptor').removeprefix('(func ').removesuffix(')')} "
        f'(canon lift (core func $main "{m.name}") (memory (core memory $memory)) (realloc (core func $realloc))))\n'
        f'(export "{m.name}" (func $lifted-{m.name}))'
        for m in METHODS
    )
    return f"""
(component
  (import "wasi:clocks/system-clock@0.3.0" (instance $clock
    (type $i (record (field "seconds" s64) (field "nanoseconds" u32))) (export "instant" (type (eq $i)))))
  (alias export $clock "instant" (type $instant))
  (import "wasi:filesystem/types@0.3.0" (instance $types
    (export "descriptor" (type $descriptor (sub resource)))
    (alias outer 1 $instant (type $instant-0)) (export "instant" (type $instant (eq $instant-0)))
    {declared}
    {methods}))
  {aliases}
  (core module $libc (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  {lowered}
  (core func $drop (canon resource.drop $descriptor))
  (core module $main
    {" ".join(imports)}
    (import "h" "drop" (func $drop (param i32)))
    {" ".join(functions)})
  (core instance $main (instantiate $main (with "h" (instance {given} (export "drop" (func $drop))))))
  {lifted})
"""


@functools.cache
def engine() -> rt.Engine:
    return rt.Engine(rt.Config(cache=False))


@functools.cache
def component() -> rt.Component:
    wasmtime: Any = pytest.importorskip("wasmtime")
    return rt.Component(engine(), bytes(wasmtime.wat2wasm(_text())))
