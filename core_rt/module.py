"""A module: decoded, validated except for its bodies, with machine code that is made on demand."""

from __future__ import annotations

import os
import struct
import threading
from typing import TYPE_CHECKING, final

from core_rt.compile.ahead import Progress, compile_ahead, load_cached
from core_rt.compile.cache import PAGE, entry_key
from core_rt.errors import WasmError
from core_rt.native import Image
from core_rt.types import ExternType
from core_rt.vm.contents import initial_contents
from core_rt.vm.heap import uses_heap
from core_rt.vm.layout import ModuleLayout
from core_rt.vm.template import Template, module_template

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.compile import CompiledModule
    from core_rt.engine import Engine

__all__ = ["Module"]

_IMAGE_FROM = 64 << 10
"""Bytes of data from which a copy-on-write image is cheaper than copying."""
_IMAGE_MOST = 256 << 20
_IMAGE_FOOT = struct.Struct("<QQ")
"""Memory and size, behind the pages of an image in the cache."""


@final
class Module:
    """A WebAssembly module, from its binary format.

    Raises `DecodeError` or `ValidationError`. Function bodies are read when they are first compiled (as the
    specification's appendix allows); `validate()` reads them all.
    """

    def __init__(self, engine: Engine, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"a module is made from bytes, not {type(data).__name__}; see Module.from_file")
        if isinstance(data, bytearray):
            data = bytes(data)
        from core_rt.binary.decode import decode_module  # modules of known components are not decoded

        self._begin(engine, decode_module(data, engine.config.features))

    def _begin(self, engine: Engine, decoded: DecodedModule) -> None:
        self.engine = engine
        self.decoded: DecodedModule = decoded
        self.layout = ModuleLayout.of(decoded)
        self._lock = threading.Lock()
        self._compiled: CompiledModule | None = None
        self._template: Template | None = None
        if engine.config.tiers in ("eager", "optimized"):
            self.compile_all()

    @classmethod
    def from_decoded(cls, engine: Engine, decoded: DecodedModule) -> Module:
        """A module that somebody has decoded already, with the features of the engine's config."""
        self = object.__new__(cls)
        self._begin(engine, decoded)
        return self

    @classmethod
    def from_file(cls, engine: Engine, path: str | os.PathLike[str]) -> Module:
        """The module in a file."""
        with open(path, "rb") as file:
            return cls(engine, file.read())

    @property
    def name(self) -> str | None:
        """From the name section."""
        return self.decoded.names.module

    @property
    def imports(self) -> list[tuple[str, str, ExternType]]:
        """(module, name, type) of each import; a function's type is its `DefType`."""
        return [(i.module, i.name, i.type) for i in self.decoded.imports]

    @property
    def exports(self) -> list[tuple[str, ExternType]]:
        """(name, type) of each export."""
        return list(self.decoded.export_types())

    def validate(self) -> None:
        """Read and validate all function bodies now. Raises `DecodeError` or `ValidationError`."""
        from core_rt.validate.module import validate_module_bodies

        validate_module_bodies(self.decoded)

    def compile_all(self, progress: Progress | None = None) -> None:
        """Compile every function now: optimised (and kept in the code cache), or quickly with `Config(tiers="eager")`."""
        if self.engine.config.tiers == "eager":
            self.compiled.compile_eagerly()
        else:
            compile_ahead([self.compiled], self.engine.cache, progress)

    @property
    def compiled(self) -> CompiledModule:
        """The machine code; the object is made when the module is first instantiated."""
        compiled = self._compiled
        if compiled is None:
            from core_rt.compile import CompiledModule

            with self._lock:
                if self._compiled is None:
                    compiled = CompiledModule(self.engine.compiler, self.decoded, self.layout)
                    if self.engine.config.tiers == "lazy":
                        load_cached(compiled, self.engine.cache)
                    self._compiled = compiled
                compiled = self._compiled
        return compiled

    @property
    def template(self) -> Template:
        """What its instances begin with; made when the module is first instantiated."""
        template = self._template
        if template is None:
            compiled = self.compiled
            with self._lock:
                if self._template is None:
                    decoded = self.decoded
                    self._template = module_template(
                        decoded,
                        self.layout,
                        self._images(),
                        self.engine.config.memory_reservation,
                        compiled.code_table,
                        0 if compiled.functions is None else compiled.functions.table,
                        compiled.tail_stub,
                        uses_heap(decoded),
                    )
                template = self._template
        return template

    def _images(self) -> dict[int, Image]:
        """Initial contents of defined memories as copy-on-write images, where copying is not cheaper.

        Possible when every active segment goes to one memory at a constant place within its initial size.
        """
        cache = self.engine.cache
        if cache is None or len(self.decoded.data) < _IMAGE_FROM:
            return self._new_images()
        key = entry_key("image 1", self.decoded.digest)
        entry = cache.open(key)
        if entry is not None and len(entry.contents) > _IMAGE_FOOT.size:
            memory, size = _IMAGE_FOOT.unpack(entry.contents[-_IMAGE_FOOT.size :])
            return {memory: Image.of_file(entry.fd, size)}
        return self._new_images(key)

    def keep_image(self) -> None:
        """Leave what a memory begins with in the code cache."""
        self._images()

    def _new_images(self, key: bytes | None = None) -> dict[int, Image]:
        """Images made from the segments, kept in the cache under `key`."""
        found = initial_contents(self.decoded, _IMAGE_FROM, _IMAGE_MOST)
        if found is None:
            return {}
        memory, contents = found
        if key is not None and self.engine.cache is not None:
            end = len(contents)
            self.engine.cache.put(key, [contents, bytes(-end % PAGE), _IMAGE_FOOT.pack(memory, end)])
        try:
            return {memory: Image(contents)}
        except WasmError:  # no memfd here: copying does as well
            return {}

    def __repr__(self) -> str:
        return f"<Module {self.name or ''}: {len(self.decoded.funcs)} functions, {len(self.decoded.exports)} exports>"
