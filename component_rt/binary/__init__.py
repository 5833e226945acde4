"""The binary format of components: bytes to `syntax.Component`."""

from component_rt.binary.decode import decode_component, is_component
from component_rt.binary.syntax import Component

__all__ = ["Component", "decode_component", "is_component"]
