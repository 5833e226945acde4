/* Guests in C for the shim without Python: run natively and, under an emulator, on the other architecture.
 *
 * Compiled without optimisation, so that each guest has its frame pointer. */
#include "shim.h"
#include <stdio.h>

#define CHECK(x)                                        \
  do {                                                  \
    if (!(x)) {                                         \
      printf("line %d is not so: %s\n", __LINE__, #x);  \
      exit(1);                                          \
    }                                                   \
  } while (0)

/* Guests stand in a section of their own, which is registered as code. */
#define GUEST __attribute__((section("guest"), noinline)) static
extern char __start_guest[], __stop_guest[];

typedef void (*Guest)(VMContextHeader *, uint64_t *);
typedef uint64_t (*Many)(VMContextHeader *, uint32_t, uint64_t, uint32_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                         double, float, double, double, double, double, double, double, double, double);

static VMHostFuncContext host;
static VMStoreContext *store;
static VMContextHeader vm;
static VMCallSite site;
static volatile uint8_t *outside;

GUEST void add(VMContextHeader *context, uint64_t *values) {
  (void)context;
  values[0] += values[2];
}

GUEST void ask(VMContextHeader *context, uint64_t *values) {
  double kept = (double)values[0] * 1.5;
  (void)context;
  ((void (*)(void *, void *))host.host_call)(&host, values);
  values[0] += (uint64_t)kept;
}

GUEST void load(VMContextHeader *context, uint64_t *values) {
  (void)context;
  values[0] = *outside;
}

GUEST void load_deeper(VMContextHeader *context, uint64_t *values) {
  load(context, values);
  values[1] = 1;
}

GUEST void unreachable(VMContextHeader *context, uint64_t *values) {
  (void)context, (void)values;
  __builtin_trap();
}

GUEST void recurse(VMContextHeader *context, uint64_t *values) {
  volatile char frame[100] = {1};
  ((Guest)values[2])(context, values);
  values[1] = (uint64_t)frame[0];
}

static void *builtin(VMContextHeader *context, int index) { return ((void **)context->builtins)[index]; }

GUEST void trap(VMContextHeader *context, uint64_t *values) {
  (void)values;
  ((void (*)(void *, uint32_t, uint32_t))builtin(context, BUILTIN_RAISE_TRAP))(context, 18, 0x1234);
}

GUEST void grow(VMContextHeader *context, uint64_t *values) {
  values[0] = ((uint64_t (*)(void *, void *, uint64_t))builtin(context, BUILTIN_MEMORY_GROW))(context, (void *)0x77, 5);
}

GUEST uint64_t many(VMContextHeader *context, uint32_t a, uint64_t b, uint32_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,
                    uint64_t h, uint64_t i, double f0, float f1, double f2, double f3, double f4, double f5, double f6,
                    double f7, double f8, double f9) {
  double floats = 10 * f0 + 11 * (double)f1 + 12 * f2 + 13 * f3 + 14 * f4 + 15 * f5 + 16 * f6 + 17 * f7 + 18 * f8 + 19 * f9;
  (void)context;
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + (uint64_t)floats;
}

#define MANY 1, 2, 3, 4, 5, 6, 7, 8, 9, 1.5, 2.5f, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5

GUEST void call_third(VMContextHeader *context, uint64_t *values) {
  values[0] = ((Many)((void **)context->code_table)[3])(context, MANY);
}

static int call(Guest guest) {
  site.array_call = (void *)guest;
  return vm_call(&site);
}

static void *resume(void *fiber) { return (void *)(uintptr_t)vm_resume(fiber); }

static void calls(uint64_t *values) {
  CHECK(call(add) == STATUS_NO_FIBER);
  for (int i = 0; i < 3; i++) CHECK(vm_fiber_new(store, 256 << 10));
  for (uint64_t i = 0; i < 100000; i++) {
    values[0] = i, values[2] = 2;
    CHECK(call(add) == STATUS_RETURNED && values[0] == i + 2);
  }
  values[0] = 10;
  CHECK(call(ask) == STATUS_HOST_CALL && store->host_index == 9);
  VMFiber *fiber = vm_running(store);
  vm_backtrace(fiber);
  CHECK(fiber->frames_count == 1);
  values[0] = 100;
  CHECK(vm_resume(fiber) == STATUS_RETURNED && values[0] == 115);
  CHECK(call(grow) == STATUS_LIBCALL);
  fiber = vm_running(store);
  CHECK(fiber->libcall == BUILTIN_MEMORY_GROW && fiber->arguments[0] == 0x77 && fiber->arguments[1] == 5);
  fiber->answer[0] = 3;
  CHECK(vm_resume(fiber) == STATUS_RETURNED && values[0] == 3);
  /* a fiber that was parked wakes on another thread */
  values[0] = 10;
  CHECK(call(ask) == STATUS_HOST_CALL);
  fiber = vm_running(store);
  CHECK(vm_park(fiber) == 0 && store->owner == 0);
  values[0] = 1;
  pthread_t thread;
  void *result;
  pthread_create(&thread, NULL, resume, fiber);
  pthread_join(thread, &result);
  CHECK(result == NULL && values[0] == 16);
}

static void expect_trap(Guest guest, uint32_t code, uint32_t frames) {
  for (int i = 0; i < 3; i++) {
    CHECK(call(guest) == STATUS_TRAP);
    VMFiber *fiber = store->trapped;
    CHECK(fiber->trap_code == code);
    CHECK(fiber->frames_count == frames);
    CHECK(store->depth == 0 && store->owner == 0);
  }
}

static void traps(uint64_t *values) {
  VMReservation *memory = vm_reserve(1 << 20, 65536, NULL);
  CHECK(memory && memory->accessible == 65536);
  outside = memory->base + memory->accessible;
  expect_trap(load, TRAP_MEMORY_OUT_OF_BOUNDS, 1);
  expect_trap(load_deeper, TRAP_MEMORY_OUT_OF_BOUNDS, 2);
  outside = (uint8_t *)64;
  expect_trap(load, TRAP_ENGINE_FAULT, 1);
  expect_trap(unreachable, TRAP_UNREACHABLE, 1);
  values[2] = (uint64_t)recurse;
  expect_trap(recurse, TRAP_STACK_OVERFLOW, FRAMES_MOST);
  expect_trap(trap, 18, 1);
  CHECK(((VMFiber *)store->trapped)->trap_offset == 0x1234);
  vm_release(memory);
}

static void stubs(uint64_t *values) {
  enum { COUNT = 70000 };
  static void *table[COUNT];
  VMStubs *stubs = vm_stubs_new(COUNT);
  CHECK(stubs);
  for (int i = 0; i < COUNT; i++) table[i] = stubs->first + (uint64_t)i * stubs->stride;
  vm.code_table = table;
  CHECK(call(call_third) == STATUS_COMPILE);
  VMFiber *fiber = vm_running(store);
  CHECK(fiber->function == 3 && fiber->vmctx == &vm);
  vm_backtrace(fiber);
  CHECK(fiber->frames_count == 1);
  CHECK(vm_resume(fiber) == STATUS_COMPILE);
  CHECK(call(add) == STATUS_RETURNED); /* other code uses the registers meanwhile */
  table[3] = (void *)many;
  CHECK(vm_resume(fiber) == STATUS_RETURNED && values[0] == many(&vm, MANY));
  table[3] = table[COUNT - 1];
  CHECK(call(call_third) == STATUS_COMPILE);
  fiber = vm_running(store);
  CHECK(fiber->function == COUNT - 1 && vm_abandon(fiber) == 0);
  vm_stubs_free(stubs);
}

/* ------------------------------------------------------------------------------------------------ the interpreter */

#define ROW(name) OP_##name,
enum { INTERPRETED_OPERATIONS(ROW) };
#undef ROW
#define WORD(operation, a, b, c) ((uint64_t)OP_##operation | (uint64_t)(a) << 16 | (uint64_t)(b) << 32 | (uint64_t)(c) << 48)
#define JUMP(operation, a, distance) WORD(operation, a, (uint32_t)(distance), 0)

enum { INTERPRETED = 5, NATIVE = 6 };
/* Where parameters and the result travel: see bridge.c. */
static struct { VMSignature signature; uint32_t moves[3]; } pair = {{2, 1, 0, 0}, {0 | 1 << 8, 3 | 0 << 8, 1}}, one = {{1, 1, 0, 0}, {1 | 1 << 8, 1}};
typedef uint64_t (*Pair)(VMContextHeader *, uint32_t, double);

GUEST void call_pair(VMContextHeader *context, uint64_t *values) {
  values[0] = ((Pair)((void **)context->code_table)[INTERPRETED])(context, (uint32_t)values[0], 2.5);
}

GUEST uint64_t twice(VMContextHeader *context, uint64_t x) {
  (void)context;
  if (x > 110) __builtin_trap();
  return 2 * x + 1;
}

GUEST uint64_t take_over(VMContextHeader *context, const uint64_t *slots) {
  (void)context;
  return 1000 * slots[2] + slots[0];
}

GUEST uint64_t compiled(VMContextHeader *context, uint32_t n, double d) {
  (void)context;
  return n + (uint64_t)(4 * d);
}

/* The pc of the frame at `index` of a backtrace lies in a word. */
static bool stands_at(const VMFiber *fiber, uint32_t index, const uint64_t *word) {
  return fiber->frames[index] - (uint64_t)word < sizeof *word;
}

static void interpreter(uint64_t *values) {
  enum { COUNT = 8 };
  /* (i32 n, f64 d) -> i64, a local, two constants, two places: the sum of 60 / n over n ... 1 through `twice`, and d */
  uint64_t words[] = {
      WORD(LOOP, 0, 0, 0), WORD(I32_DIV_U, 5, 4, 0), WORD(I64_ADD, 2, 2, 5), WORD(I32_SUB, 0, 0, 3), JUMP(BR_IF, 0, -5),
      WORD(CALL, 1, 5, 0), NATIVE, (uint64_t)&one, 2,
      WORD(I64_TRUNC_F64_S, 6, 1, 0), WORD(I64_ADD, 5, 5, 6), WORD(RETURN_ONE, 5, 0, 0)};
  uint64_t deeper[] = {WORD(CALL, 2, 5, 0), INTERPRETED, (uint64_t)&pair, 0 | 1 << 16, WORD(RETURN_ONE, 5, 0, 0)};
  uint64_t constants[] = {1, 60};
  void *loops[] = {NULL}, *table[2 * COUNT], *interpreted[2 * COUNT] = {NULL};
  VMInterpreted f = {
      .code = words, .signature = &pair, .constants = constants, .loops = loops, .budget = 1000, .function = INTERPRETED, .params = 2, .locals = 1,
      .slots = 7, .constants_at = 3, .constant_count = 2, .outgoing = 2};
  VMStubs *stubs = vm_stubs_new(2 * COUNT);
  CHECK(stubs);
  for (int i = 0; i < 2 * COUNT; i++) table[i] = stubs->first + (uint64_t)i * stubs->stride;
  vm.code_table = table, vm.interpreted = interpreted;
  interpreted[INTERPRETED] = &f;
  /* `twice` has no code at first */
  values[0] = 3;
  CHECK(call(call_pair) == STATUS_COMPILE);
  VMFiber *fiber = vm_running(store);
  CHECK(fiber->function == NATIVE);
  vm_backtrace(fiber);
  CHECK(fiber->frames_count == 2 && stands_at(fiber, 0, words + 5));
  table[NATIVE] = (void *)twice;
  CHECK(vm_resume(fiber) == STATUS_RETURNED && values[0] == 2 * 110 + 1 + 2);
  /* traps: in a word, in machine code below it, at the end of the stack */
  values[0] = 0;
  expect_trap(call_pair, TRAP_INTEGER_DIVISION_BY_ZERO, 2);
  fiber = store->trapped;
  CHECK(stands_at(fiber, 0, words + 1));
  values[0] = 4;
  expect_trap(call_pair, TRAP_UNREACHABLE, 3);
  fiber = store->trapped;
  CHECK(stands_at(fiber, 1, words + 5));
  f.code = deeper, f.budget = 1 << 30;
  CHECK(call(call_pair) == STATUS_TRAP);
  fiber = store->trapped;
  CHECK(fiber->trap_code == TRAP_STACK_OVERFLOW && fiber->frames_count > 20 && stands_at(fiber, 10, deeper));
  f.code = words;
  /* the budget is used up at an entry, for nothing and for code */
  f.budget = 0, values[0] = 3;
  CHECK(call(call_pair) == STATUS_COMPILE);
  fiber = vm_running(store);
  CHECK(fiber->function == INTERPRETED);
  f.budget = 1000;
  CHECK(vm_resume(fiber) == STATUS_RETURNED && values[0] == 223);
  f.budget = 0, values[0] = 3;
  CHECK(call(call_pair) == STATUS_COMPILE);
  interpreted[INTERPRETED] = NULL, table[INTERPRETED] = (void *)compiled;
  CHECK(vm_resume(vm_running(store)) == STATUS_RETURNED && values[0] == 13);
  interpreted[INTERPRETED] = &f, table[INTERPRETED] = stubs->first + (uint64_t)INTERPRETED * stubs->stride;
  /* and at the head of a loop, in its second round */
  f.budget = 2, values[0] = 3;
  CHECK(call(call_pair) == STATUS_COMPILE);
  fiber = vm_running(store);
  CHECK(fiber->function == (INTERPRETED | (uint64_t)1 << 32));
  vm_backtrace(fiber);
  CHECK(fiber->frames_count == 2 && stands_at(fiber, 0, words));
  loops[0] = (void *)take_over;
  CHECK(vm_resume(fiber) == STATUS_RETURNED && values[0] == 20002);
  vm.interpreted = NULL;
  vm_stubs_free(stubs);
}

static void arena(uint64_t *values) {
#if defined(__aarch64__)
  static const uint8_t code[] = {0x40, 0x05, 0x80, 0xd2, 0x20, 0, 0, 0xf9, 0xc0, 0x03, 0x5f, 0xd6}; /* values[0] = 42 */
#else
  static const uint8_t code[] = {0x48, 0xc7, 0x06, 42, 0, 0, 0, 0xc3};
#endif
  VMCodeArena *arena = vm_code_arena_new(65536);
  CHECK(arena);
  memcpy(arena->rw, code, sizeof code);
  vm_code_flush(arena->rx, sizeof code);
  CHECK(call((Guest)arena->rx) == STATUS_RETURNED && values[0] == 42);
  vm_code_arena_free(arena);
}

/* A block with one memory and one table behind its header. */
typedef struct Block {
  InstanceHeader header;
  VMContextHeader context;
  VMMemoryDefinition memory;
  VMTableDefinition table;
} Block;

static void instances(uint64_t *values) {
  const uint32_t memory = offsetof(Block, memory) - sizeof(InstanceHeader), tables = offsetof(Block, table) - sizeof(InstanceHeader);
  Block prefix = {.header = {.magic = CORE_MAGIC, .memories = memory, .memory_count = 1, .tables = tables, .table_count = 1}};
  VMMemoryPlan memory_plan = {.reservation = 1 << 20, .length = 65536};
  VMDataPlan data = {.to = 65535, .from = (const uint8_t *)"x", .length = 1};
  uint64_t elements = 10;
  VMTemplate plan = {
      .size = sizeof prefix, .prefix = (uint8_t *)&prefix, .prefix_size = sizeof prefix, .memories = memory, .memory_count = 1,
      .tables = tables, .table_count = 1, .memory_plans = &memory_plan, .table_elements = &elements, .data = &data, .data_count = 1};
  for (uint64_t i = 0; i < 3; i++) {
    Block *block = (Block *)(vm_instantiate(store, &plan, i, NULL) - sizeof(InstanceHeader));
    CHECK(block->context.store == store && block->header.handle == i && block->memory.handle == i << 32);
    uint8_t *base = block->memory.base;
    CHECK(base[0] == 0 && base[65535] == 'x' && block->memory.length == 65536);
    CHECK(vm_table_grow(&block->table, 12) == 0 && block->table.elements == 12 && ((uint64_t *)block->table.base)[11] == 0);
    outside = base + 65536;
    expect_trap(load, TRAP_MEMORY_OUT_OF_BOUNDS, 1);
    outside = base;
    CHECK(call(load) == STATUS_RETURNED && values[0] == 0);
    base[0] = 1;
    if (i != 1) continue;
    CHECK(vm_store_end(store) == 0 && block->memory.base == NULL && block->memory.length == 0 && block->table.elements == 0);
    CHECK(vm_call(&site) == STATUS_CLOSED);
    CHECK(vm_store_empty(store) == 0);
    vm_store_renew(store);
    CHECK(vm_fiber_new(store, 64 << 10));
  }
  memory_plan.reservation = (uint64_t)1 << 62;
  CHECK(vm_instantiate(store, &plan, 0, NULL) == 0);
  CHECK(vm_keep(store, 5000) % 16 == 0 && vm_keep(store, 1) % 16 == 0);
}

int main(void) {
  store = vm_store_new();
  CHECK(store);
  vm.magic = CORE_MAGIC, vm.store = store, vm.builtins = store->builtins;
  host.magic = HOST_MAGIC, host.index = 9, host.store = store, host.host_call = vm_host_call_address();
  site.store = store, site.funcref = &vm;
  CHECK(vm_code_register(__start_guest, (uint64_t)(__stop_guest - __start_guest)) >= 0);
  calls(store->values);
  traps(store->values);
  stubs(store->values);
  interpreter(store->values);
  arena(store->values);
  instances(store->values);
  CHECK(store->depth == 0 && store->owner == 0 && !store->running);
  CHECK(vm_store_empty(store) == 0);
  vm_store_free(store);
  puts("good");
  return 0;
}
