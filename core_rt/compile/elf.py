"""A loader for the relocatable ELF objects that LLVM emits, and nothing more general than those.

Rules:
- An object names no symbol of another object: code reaches services through its context. An undefined symbol is our
  own fault (`EngineBug`).
- All sections that are loaded lie in one block, so that 32-bit relative relocations always fit and one allocation in the
  code arena is enough. Read-only data shares the block with code; nothing in an object is ever written after loading.
- Input is produced by our own compiler (or the cache that only it writes), so bad input raises `EngineBug`; it is still
  read within its bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from core_rt.errors import EngineBug
from core_rt.record import mutable

__all__ = ["ElfObject", "Section"]

_SHDR: Final = struct.Struct("<IIQQQQIIQQ")
_SYM: Final = struct.Struct("<IBBHQQ")
_RELA: Final = struct.Struct("<QQq")
_U32: Final = struct.Struct("<I")
_S32: Final = struct.Struct("<i")
_U64: Final = struct.Struct("<Q")

_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 1, 2, 4, 8
_SHF_WRITE, _SHF_ALLOC = 1, 2
_STT_FUNC, _STT_SECTION = 2, 3
_EM_X86_64, _EM_AARCH64 = 62, 183


class Section(NamedTuple):
    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


_Symbol = tuple[int, int, int, int, int, int]
"""As in the file: offset of the name, info, other, section, value, size. Objects have thousands, few of which matter."""
_Relocation = tuple[int, int, int]
"""As in the file: offset, symbol << 32 | type, addend."""

Patch = Callable[[bytearray, int, int, int], None]
"""(block, offset in it, value S + A, place P)"""


def _range(value: int, bits: int) -> int:
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise EngineBug(f"a relocation of {value} does not fit in {bits} bits")
    return value


def _abs64(block: bytearray, at: int, value: int, place: int) -> None:
    _U64.pack_into(block, at, value & 0xFFFF_FFFF_FFFF_FFFF)


def _rel64(block: bytearray, at: int, value: int, place: int) -> None:
    _U64.pack_into(block, at, (value - place) & 0xFFFF_FFFF_FFFF_FFFF)


def _rel32(block: bytearray, at: int, value: int, place: int) -> None:
    _U32.pack_into(block, at, _range(value - place, 32) & 0xFFFF_FFFF)


def _insert(block: bytearray, at: int, mask: int, bits: int) -> None:
    (word,) = _U32.unpack_from(block, at)
    _U32.pack_into(block, at, (word & ~mask & 0xFFFF_FFFF) | bits)


def _branch26(block: bytearray, at: int, value: int, place: int) -> None:
    _insert(block, at, 0x03FF_FFFF, (_range(value - place, 28) >> 2) & 0x03FF_FFFF)


def _branch19(block: bytearray, at: int, value: int, place: int) -> None:
    _insert(block, at, 0x00FF_FFE0, ((_range(value - place, 21) >> 2) & 0x7FFFF) << 5)


def _adr(delta: int) -> int:
    return (delta & 3) << 29 | ((delta >> 2) & 0x7FFFF) << 5


def _adr_page(block: bytearray, at: int, value: int, place: int) -> None:
    _insert(block, at, 0x60FF_FFE0, _adr(_range((value >> 12) - (place >> 12), 21)))


def _adr_low(block: bytearray, at: int, value: int, place: int) -> None:
    _insert(block, at, 0x60FF_FFE0, _adr(_range(value - place, 21)))


def _low12(scale: int) -> Patch:
    def patch(block: bytearray, at: int, value: int, place: int) -> None:
        _insert(block, at, 0x003F_FC00, ((value & 0xFFF) >> scale) << 10)

    return patch


# R_X86_64_*: 64, PC32, PLT32, PC64. Code is position-independent, so absolute 32-bit forms cannot occur.
_X86_64: Final[dict[int, Patch]] = {1: _abs64, 2: _rel32, 4: _rel32, 24: _rel64}
# R_AARCH64_*: ABS64, PREL64, PREL32, ADR_PREL_LO21, ADR_PREL_PG_HI21, ADD_ABS_LO12_NC, LDST8, CONDBR19, JUMP26, CALL26,
# LDST16, LDST32, LDST64, LDST128
_AARCH64: Final[dict[int, Patch]] = {
    257: _abs64, 260: _rel64, 261: _rel32, 274: _adr_low, 275: _adr_page, 277: _low12(0), 278: _low12(0),
    280: _branch19, 282: _branch26, 283: _branch26, 284: _low12(1), 285: _low12(2), 286: _low12(3), 299: _low12(4),
}  # fmt: skip
_PATCHES: Final = {_EM_X86_64: _X86_64, _EM_AARCH64: _AARCH64}
_X86_REL32: Final = (2, 4)
# R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX: LLVM asks for a table entry for a symbol that it may not assume local.
_X86_GOT: Final = frozenset((9, 41, 42))


def _cstring(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


@mutable
class ElfObject:
    """A parsed object: `size` bytes at `align` when loaded, `functions` (name → (offset, size) in the loaded block)."""

    data: bytes
    sections: list[Section]
    symbols: list[_Symbol]
    machine: int
    places: dict[int, int]
    """Section index → offset in the block, for sections that are loaded."""
    size: int
    align: int
    functions: dict[str, tuple[int, int]]
    exported: frozenset[str]
    """Functions that code outside of the object may call."""
    _relocations: list[tuple[int, list[_Relocation]]]
    _got: int
    """Offset of the table of addresses at the end of the block."""
    _strings: int
    """Offset in `data` of the names of symbols."""

    @classmethod
    def parse(cls, data: bytes) -> ElfObject:
        """Read headers, symbols and relocations."""
        try:
            return cls._parse(data)
        except (struct.error, ValueError, IndexError) as error:
            raise EngineBug(f"not an object file: {error}") from error

    @classmethod
    def _parse(cls, data: bytes) -> ElfObject:
        if data[:6] != b"\x7fELF\x02\x01":
            raise EngineBug("not a little-endian 64-bit ELF object")
        (machine,) = struct.unpack_from("<H", data, 18)
        (shoff,) = _U64.unpack_from(data, 40)
        shentsize, shnum, shstrndx = struct.unpack_from("<HHH", data, 58)
        if shnum == 0 and shoff:  # more than 0xff00 sections: the count is in the first one
            shnum = _SHDR.unpack_from(data, shoff)[5]
        raw = [_SHDR.unpack_from(data, shoff + i * shentsize) for i in range(shnum)]
        names = raw[shstrndx][4]
        sections = [
            Section(_cstring(data, names + n), kind, flags, offset, size, link, info, align)
            for n, kind, flags, _, offset, size, link, info, align, _ in raw
        ]
        places: dict[int, int] = {}
        at, align = 0, 16
        for index, section in enumerate(sections):
            # Unwind tables are of no use: nothing unwinds guest code.
            if not section.flags & _SHF_ALLOC or section.name.startswith(".eh_frame") or not section.size:
                continue
            at = (at + section.align - 1) & -section.align if section.align > 1 else at
            align = max(align, section.align)
            places[index] = at
            at += section.size
        symbols: list[_Symbol] = []
        strings = 0
        relocations: list[tuple[int, list[_Relocation]]] = []
        for section in sections:
            if section.type == _SHT_SYMTAB:
                strings = sections[section.link].offset
                symbols.extend(_SYM.iter_unpack(_body(data, section)))
            elif section.type == _SHT_RELA:
                relocations.append((section.info, list(_RELA.iter_unpack(_body(data, section)))))
        functions: dict[str, tuple[int, int]] = {}
        exported = []
        for at_name, info, _, shndx, value, size in symbols:
            if info & 15 == _STT_FUNC and shndx in places:
                name = _cstring(data, strings + at_name)
                functions[name] = places[shndx] + value, size
                if info >> 4:
                    exported.append(name)
        got = (at + 7) & -8
        entries_needed = 0
        if machine == _EM_X86_64:
            wanted = {i >> 32 for t, rs in relocations if t in places for _, i, _ in rs if i & 0xFFFF_FFFF in _X86_GOT}
            entries_needed = len(wanted)
        return cls(
            data,
            sections,
            symbols,
            machine,
            places,
            got + 8 * entries_needed,
            align,
            functions,
            frozenset(exported),
            relocations,
            got,
            strings,
        )

    def section(self, name: str) -> bytes | None:
        """The raw contents of a section, not relocated."""
        return next((_body(self.data, s) for s in self.sections if s.name == name), None)

    def relocations_of(self, name: str) -> list[tuple[int, int, int]]:
        """(offset, block offset of the symbol, addend) of the relocations of a section that is not loaded."""
        result = []
        for target, entries in self._relocations:
            if self.sections[target].name == name:
                for offset, info, addend in entries:
                    _, _, _, section, value, _ = self.symbols[info >> 32]
                    result.append((offset, self.places.get(section, 0) + value, addend))
        return result

    def load(self, address: int, absolute: list[int] | None = None) -> bytearray:
        """The block as it has to stand at `address`; or at any other in the same place of its page, once the distance is added to
        the addresses (64 bits) at the offsets left in `absolute`.
        """
        places_of_addresses = [] if absolute is None else absolute
        block = bytearray(self.size)
        for index, place in self.places.items():
            section = self.sections[index]
            if section.type != _SHT_NOBITS:
                block[place : place + section.size] = _body(self.data, section)
        patches = _PATCHES.get(self.machine)
        if patches is None:
            raise EngineBug(f"an object for an unknown machine ({self.machine})")
        places = self.places
        # Offset of each symbol in the block; None where it is not in it.
        values = [places[s] + value if s in places else None for _, _, _, s, value, _ in self.symbols]
        is_x86 = self.machine == _EM_X86_64
        relative = _X86_REL32 if is_x86 else ()
        put_relative = _S32.pack_into
        got: dict[int, int] = {}
        for target, entries in self._relocations:
            base = places.get(target)
            if base is None:
                continue
            for offset, info, addend in entries:
                number, kind = info >> 32, info & 0xFFFF_FFFF
                value = values[number]
                if value is None:
                    name = _cstring(self.data, self._strings + self.symbols[number][0])
                    raise EngineBug(f"generated code names the symbol {name!r}")
                at = base + offset
                if kind in relative:  # nearly all of them
                    try:
                        put_relative(block, at, value + addend - at)
                    except struct.error as error:
                        raise EngineBug(f"a relocation does not fit: {error}") from error
                    continue
                value += address
                if kind in _X86_GOT and is_x86:
                    slot = got.get(number)
                    if slot is None:
                        slot = got[number] = self._got + 8 * len(got)
                        _U64.pack_into(block, slot, value)
                        places_of_addresses.append(slot)
                    _rel32(block, at, address + slot + addend, address + at)
                    continue
                patch = patches.get(kind)
                if patch is None:
                    raise EngineBug(f"relocation type {kind} is not known")
                if patch is _abs64:
                    places_of_addresses.append(at)
                patch(block, at, value + addend, address + at)
        return block


def _body(data: bytes, section: Section) -> bytes:
    return data[section.offset : section.offset + section.size]
