"""Components for tests: from text through an encoder that does not validate, or put together byte by byte."""

from __future__ import annotations

import wasmtime

from component_rt.binary import Component, decode_component
from component_rt.features import Features
from component_rt.model import ValidatedComponent
from component_rt.validate.component import validate_component
from core_rt.config import Features as CoreFeatures
from tests.core.wasmbytes import section

PREAMBLE = b"\x00asm\x0d\x00\x01\x00"
ALL = Features.all()


def encode(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def component(*sections: tuple[int, bytes]) -> bytes:
    """A component of these sections, by number."""
    return PREAMBLE + b"".join([section(id_, contents) for id_, contents in sections])


def decode(data: bytes, features: Features = ALL) -> Component:
    return decode_component(data, features)


def validate(source: str | bytes, features: Features = ALL, *, bodies: bool = False) -> ValidatedComponent:
    data = encode(source) if isinstance(source, str) else source
    return validate_component(decode_component(data, features), CoreFeatures(), bodies=bodies)
