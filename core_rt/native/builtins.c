/* Services that compiled code calls through store.builtins, in the order of core_rt.vm.structs.BUILTINS.
 *
 * Those of home "host" leave the fiber for Python; build.py writes them (HOST_BUILTINS in vm_generated.h). The others are here.
 * Lengths of memories are read once per operation: another thread may grow a shared one meanwhile, and none ever shrinks. */
#include "shim.h"

static VMFiber *leave_for_libcall(void *vmctx, uint32_t libcall, uint32_t count, const uint64_t *arguments) {
  VMFiber *fiber = vm_fiber_of(vmctx);
  fiber->vmctx = vmctx;
  fiber->libcall = libcall;
  for (uint32_t i = 0; i < count; i++) fiber->arguments[i] = arguments[i];
  vm_leave(fiber, STATUS_LIBCALL);
  return fiber;
}

HOST_BUILTINS

/* Only the first instance of a module needs Python for it, which then tells the module's template what its functions are. */
void *vm_builtin_table_get_lazy(void *vmctx, void *definition, uint64_t index) {
  VMTableDefinition *table = definition;
  if (UNLIKELY(vm_table_settle(((VMContextHeader *)vmctx)->store, table, index, 1))) {
    const uint64_t arguments[] = {(uint64_t)(uintptr_t)definition, index};
    leave_for_libcall(vmctx, BUILTIN_TABLE_GET_LAZY, 2, arguments);
  }
  return (void *)(uintptr_t)(((uint64_t *)table->base)[index] & ~(uint64_t)1);
}

static inline uint64_t length_of(const VMMemoryDefinition *memory) { return __atomic_load_n(&memory->length, __ATOMIC_RELAXED); }

/* [at, at + count) lies within `length` bytes */
static inline bool fits(uint64_t at, uint64_t count, uint64_t length) { return count <= length && at <= length - count; }

void vm_builtin_raise_trap(void *vmctx, uint32_t code, uint32_t offset) { TRAP_HERE(vm_fiber_of(vmctx), code, offset); }

void vm_builtin_memory_copy(void *vmctx, void *to_definition, uint64_t to, void *from_definition, uint64_t from, uint64_t n) {
  VMMemoryDefinition *target = to_definition, *source = from_definition;
  if (UNLIKELY(!fits(to, n, length_of(target)) || !fits(from, n, length_of(source))))
    TRAP_HERE(vm_fiber_of(vmctx), TRAP_MEMORY_OUT_OF_BOUNDS, NO_OFFSET);
  if (n) memmove((uint8_t *)target->base + to, (uint8_t *)source->base + from, n);
}

void vm_builtin_memory_fill(void *vmctx, void *definition, uint64_t at, uint32_t byte, uint64_t n) {
  VMMemoryDefinition *memory = definition;
  if (UNLIKELY(!fits(at, n, length_of(memory)))) TRAP_HERE(vm_fiber_of(vmctx), TRAP_MEMORY_OUT_OF_BOUNDS, NO_OFFSET);
  if (n) memset((uint8_t *)memory->base + at, (int)(byte & 0xff), n);
}

void vm_builtin_memory_init(void *vmctx, void *definition, uint32_t segment, uint64_t at, uint32_t from, uint32_t n) {
  VMMemoryDefinition *memory = definition;
  const VMSegment *data = (const VMSegment *)((VMContextHeader *)vmctx)->data_segments + segment;
  if (UNLIKELY(!fits(at, n, length_of(memory)) || !fits(from, n, data->length)))
    TRAP_HERE(vm_fiber_of(vmctx), TRAP_MEMORY_OUT_OF_BOUNDS, NO_OFFSET);
  if (n) memcpy((uint8_t *)memory->base + at, (const uint8_t *)data->base + from, n);
}

void vm_builtin_data_drop(void *vmctx, uint32_t segment) {
  ((VMSegment *)((VMContextHeader *)vmctx)->data_segments)[segment].length = 0;
}

#define ROW(name) (void *)&vm_builtin_##name,
void *const vm_builtins[BUILTIN_COUNT] = {BUILTIN_NAMES(ROW)};

void *vm_builtin_array(void) { return (void *)(uintptr_t)vm_builtins; }

void *vm_host_call_address(void) { return (void *)&vm_host_call; }
