"""The loader of object files, on both machines; only this machine's code is run."""

from __future__ import annotations

import struct

import pytest

from core_rt.compile.elf import ElfObject
from core_rt.compile.host import host_machine
from core_rt.compile.jit import Jit
from core_rt.compile.lines import line_table
from core_rt.errors import EngineBug

TEXT = """
define hidden i32 @f0(i32 %0) #0 {
entry:
  switch i32 %0, label %d [ i32 0, label %a
 i32 1, label %b
 i32 2, label %c
 i32 3, label %e
 i32 4, label %g ]
a:
  ret i32 12
b:
  ret i32 17
c:
  %x = call i32 @f1(i32 8)
  ret i32 %x
e:
  ret i32 9
g:
  ret i32 -4
d:
  ret i32 5
}
define internal i32 @f1(i32 %0) #0 {
  %f = sitofp i32 %0 to double
  %g = fmul double %f, 3.25
  %h = fptosi double %g to i32
  ret i32 %h
}
attributes #0 = { nounwind noinline "frame-pointer"="all" }
"""


@pytest.mark.parametrize("optimise", [False, True])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_objects_of_both_machines_load(machine, optimise):
    elf = ElfObject.parse(Jit(machine=machine, verify=True).compile(TEXT, optimise=optimise))
    assert set(elf.functions) == ({"f0"} if optimise else {"f0", "f1"})
    assert elf.exported == {"f0"}
    near, far = elf.load(0x7F00_0000_1000), elf.load(0x1000)
    assert len(near) == len(far) == elf.size
    # Position-independent: only tables of addresses may differ from place to place, and there are none.
    if machine == "x86_64":
        assert near == far


@pytest.mark.parametrize("optimise", [False, True])
def test_loaded_code_runs(optimise):
    from core_rt.native import CodeArena, ffi

    elf = ElfObject.parse(Jit().compile(TEXT, optimise=optimise))
    arena = CodeArena()
    view, address = arena.alloc(elf.size, elf.align)
    view[:] = elf.load(address)
    arena.publish()
    function = ffi.cast("int32_t (*)(int32_t)", address + elf.functions["f0"][0])
    assert [function(i) for i in (0, 1, 2, 3, 4, 5, -1)] == [12, 17, 26, 9, -4, 5, 5]
    arena.close()


def test_a_foreign_symbol_is_refused():
    elf = ElfObject.parse(
        Jit().compile("declare void @abort()\ndefine void @f0() {\n call void @abort()\n ret void\n}")
    )
    with pytest.raises(EngineBug, match="abort"):
        elf.load(0x1000)


def test_bad_text_is_our_fault():
    with pytest.raises(EngineBug, match="refused"):
        Jit().compile("define void @f( {")


@pytest.mark.parametrize("cut", [0, 5, 63, 200, 500])
def test_damaged_objects_are_refused(cut):
    data = Jit().compile(TEXT)
    with pytest.raises(EngineBug):
        ElfObject.parse(data[:cut])


def test_an_unknown_relocation_is_refused():
    data = bytearray(Jit(machine="x86_64").compile(TEXT))
    elf = ElfObject.parse(bytes(data))
    section = next(s for s in elf.sections if s.name == ".rela.text")
    (info,) = struct.unpack_from("<Q", data, section.offset + 8)
    struct.pack_into("<Q", data, section.offset + 8, info & ~0xFFFF_FFFF | 77)
    with pytest.raises(EngineBug, match="relocation type 77"):
        ElfObject.parse(bytes(data)).load(0x1000)


def test_lines():
    text = """
define hidden void @f0(ptr %0) #0 !dbg !20 {
entry:
  store volatile i32 1, ptr %0, !dbg !21
  store volatile i32 2, ptr %0, !dbg !22
  ret void, !dbg !22
}
attributes #0 = { nounwind }
!llvm.dbg.cu = !{!10}
!llvm.module.flags = !{!13, !14}
!10 = distinct !DICompileUnit(language: DW_LANG_C, file: !11, emissionKind: LineTablesOnly)
!11 = !DIFile(filename: "m", directory: "")
!12 = !DISubroutineType(types: !15)
!13 = !{i32 2, !"Debug Info Version", i32 3}
!14 = !{i32 7, !"Dwarf Version", i32 4}
!15 = !{}
!20 = distinct !DISubprogram(name: "f0", scope: !11, file: !11, line: 1, type: !12, unit: !10, spFlags: DISPFlagDefinition)
!21 = !DILocation(line: 70000, column: 0, scope: !20)
!22 = !DILocation(line: 12, column: 0, scope: !20)
"""
    for version in (4, 5):
        elf = ElfObject.parse(
            Jit(machine="x86_64").compile(text.replace('"Dwarf Version", i32 4', f'"Dwarf Version", i32 {version}'))
        )
        table = line_table(elf)
        start, size = elf.functions["f0"]
        assert {table.find(at) for at in range(start, start + size)} == {70000, 12}
        assert table.find(start + size - 1) == 12
        assert table.find(start + size) is None


def test_host_machine():
    assert host_machine() in ("x86_64", "aarch64")
