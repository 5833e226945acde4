"""The numbers of the component binary format that a WIT package needs, for encoder and decoder alike (Binary.md)."""

from __future__ import annotations

from wit.model import Prim

__all__ = [
    "ALIAS_EXPORT",
    "ALIAS_OUTER",
    "ATTRIBUTE_EXTERNAL_ID",
    "ATTRIBUTE_IMPLEMENTS",
    "ATTRIBUTE_VERSION_SUFFIX",
    "COMPONENT_TYPE",
    "DECL_ALIAS",
    "DECL_CORE_TYPE",
    "DECL_EXPORT",
    "DECL_IMPORT",
    "DECL_TYPE",
    "FUNC_ASYNC_TYPE",
    "FUNC_TYPE",
    "INSTANCE_TYPE",
    "PACKAGE_DOCS",
    "PREAMBLE",
    "PRIM_CODES",
    "RESOURCE_TYPE",
    "SECTION_CUSTOM",
    "SECTION_EXPORT",
    "SECTION_TYPE",
    "SORT_COMPONENT",
    "SORT_FUNC",
    "SORT_INSTANCE",
    "SORT_TYPE",
    "TYPE_CODES",
]

PREAMBLE = b"\0asm\x0d\0\x01\0"

SECTION_CUSTOM, SECTION_TYPE, SECTION_EXPORT = 0, 7, 11
PACKAGE_DOCS = "package-docs"
"""The custom section in which wasm-tools keep docs and gates, which no type has room for."""

SORT_FUNC, SORT_TYPE, SORT_COMPONENT, SORT_INSTANCE = 0x01, 0x03, 0x04, 0x05
DECL_CORE_TYPE, DECL_TYPE, DECL_ALIAS, DECL_IMPORT, DECL_EXPORT = range(5)
ALIAS_EXPORT, ALIAS_OUTER = 0x00, 0x02
ATTRIBUTE_IMPLEMENTS, ATTRIBUTE_VERSION_SUFFIX, ATTRIBUTE_EXTERNAL_ID = range(3)

RESOURCE_TYPE, FUNC_TYPE, COMPONENT_TYPE, INSTANCE_TYPE, FUNC_ASYNC_TYPE = 0x3F, 0x40, 0x41, 0x42, 0x43

PRIM_CODES = {
    Prim.BOOL: 0x7F,
    Prim.S8: 0x7E,
    Prim.U8: 0x7D,
    Prim.S16: 0x7C,
    Prim.U16: 0x7B,
    Prim.S32: 0x7A,
    Prim.U32: 0x79,
    Prim.S64: 0x78,
    Prim.U64: 0x77,
    Prim.F32: 0x76,
    Prim.F64: 0x75,
    Prim.CHAR: 0x74,
    Prim.STRING: 0x73,
    Prim.ERROR_CONTEXT: 0x64,
}

TYPE_CODES = {
    "record": 0x72,
    "variant": 0x71,
    "list": 0x70,
    "tuple": 0x6F,
    "flags": 0x6E,
    "enum": 0x6D,
    "option": 0x6B,
    "result": 0x6A,
    "own": 0x69,
    "borrow": 0x68,
    "fixed-list": 0x67,
    "stream": 0x66,
    "future": 0x65,
    "map": 0x63,
}
