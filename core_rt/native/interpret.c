/* The interpreter: what runs functions that are not hot enough for a compiler.
 *
 * Theory of operation. core_rt/interpret/ translates a validated body to words (core_rt/vm/words.py) that name slots of an activation
 * instead of an operand stack; `run` goes from word to word. An activation is a C frame on the guest's fiber, below a frame of
 * `vm_interpret` whose word at PC_AT holds the address behind the word that is being executed, wherever that may trap or leave:
 * backtraces find it there (vm_walk in trap.c knows the return address).
 *
 *     compiled code -> stub -> vm_interpret_entry -> vm_interpret -> run -> vm_interpret -> run ...
 *                                                                        -> vm_call_native -> compiled code, functions of the host
 *
 * Entries and loop heads count `budget` down. When it is used up the fiber is left with STATUS_COMPILE, as by a stub. An entry then goes on in
 * the machine code; a loop in code made for its head, which takes the slots over (core_rt/compile/osr.py).
 *
 * Only numbers and addresses of VMFuncRefs are in slots, never references into the heap, so the collector need not know of activations; and
 * exceptions pass them by (no handler is in them). Every operation that can trap checks for it. */
#include "shim.h"
#include <math.h>

#define FUNCTION(name) "\n.p2align 4\n.globl " name "\n.hidden " name "\n.type " name ", %function\n" name ":\n"
#define END(name) "\n.size " name ", .-" name "\n"

#if defined(__x86_64__)
__asm__(
    ".text\n"
    FUNCTION("vm_interpret") /* rdi: context, rsi: VMInterpreted, rdx: arguments, rcx: where results go */
    "  pushq %rbp\n  movq %rsp, %rbp\n  subq $16, %rsp\n"
    "  movq $0, -8(%rbp)\n"
    "  leaq -8(%rbp), %r8\n"
    "  call vm_interpret_run\n"
    ".globl vm_interpret_return\n.hidden vm_interpret_return\nvm_interpret_return:\n"
    "  leave\n  ret\n"
    END("vm_interpret"));
#else
__asm__(
    ".text\n"
    FUNCTION("vm_interpret")
    "  stp x29, x30, [sp, #-32]!\n  mov x29, sp\n"
    "  str xzr, [x29, #16]\n"
    "  add x4, x29, #16\n"
    "  bl vm_interpret_run\n"
    ".globl vm_interpret_return\n.hidden vm_interpret_return\nvm_interpret_return:\n"
    "  ldp x29, x30, [sp], #32\n  ret\n"
    END("vm_interpret"));
#endif

/* ------------------------------------------------------------------------------------------------ arithmetic */

#define TRAP_BAD_SIGNATURE 6
#define TRAP_INTEGER_OVERFLOW 7
#define TRAP_BAD_CONVERSION 9
#define TRAP_UNDEFINED_ELEMENT 17
#define TRAP_UNINITIALIZED_ELEMENT 18

static inline float f32_of(uint64_t slot) {
  uint32_t bits = (uint32_t)slot;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline double f64_of(uint64_t slot) {
  double value;
  memcpy(&value, &slot, sizeof value);
  return value;
}

static inline uint64_t of_f32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline uint64_t of_f64(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* min and max: a sum is a quiet NaN where one side is NaN; zeros are ordered by their sign. */
#define EXTREMES(type, name) \
  static inline type name##_min(type a, type b) { \
    if (a != a || b != b) return a + b; \
    return a < b || (a == b && __builtin_signbit(a)) ? a : b; \
  } \
  static inline type name##_max(type a, type b) { \
    if (a != a || b != b) return a + b; \
    return a > b || (a == b && !__builtin_signbit(a)) ? a : b; \
  }
EXTREMES(float, f32)
EXTREMES(double, f64)

/* Floats to integers. What truncates into range lies between `low` and `high`, excluded; `low` itself is in where it is the least integer. */
#define LOW_I32_F32(x) ((x) >= -0x1p31f)
#define LOW_I32_F64(x) ((x) > -0x1.00000002p31)
#define LOW_I64_F32(x) ((x) >= -0x1p63f)
#define LOW_I64_F64(x) ((x) >= -0x1p63)

static inline uint32_t rotl32(uint32_t x, uint32_t n) { return x << (n & 31) | x >> (-n & 31); }
static inline uint32_t rotr32(uint32_t x, uint32_t n) { return x >> (n & 31) | x << (-n & 31); }
static inline uint64_t rotl64(uint64_t x, uint64_t n) { return x << (n & 63) | x >> (-n & 63); }
static inline uint64_t rotr64(uint64_t x, uint64_t n) { return x >> (n & 63) | x << (-n & 63); }

/* ------------------------------------------------------------------------------------------------ leaving */

static inline VMInterpreted *interpreted(VMContextHeader *vmctx, uint32_t function) {
  VMInterpreted **table = vmctx->interpreted;
  return table ? __atomic_load_n(&table[function], __ATOMIC_ACQUIRE) : NULL;
}

static inline void *code_of(VMContextHeader *vmctx, uint32_t function) {
  return __atomic_load_n((void **)vmctx->code_table + function, __ATOMIC_ACQUIRE);
}

/* The budget of a function is used up: asks the host for machine code of the function (loop 0), or for loop - 1. */
static __attribute__((noinline, cold)) void ask(VMContextHeader *vmctx, const VMInterpreted *f, uint64_t loop) {
  vm_stub_leave(vmctx, f->function | loop << 32);
}

/* Calls what function `function` of the module is by now. */
static inline void call_defined(
    VMContextHeader *vmctx, uint32_t function, const VMSignature *signature, const uint64_t *arguments, uint64_t *results) {
  VMInterpreted *callee = interpreted(vmctx, function);
  if (callee) vm_interpret(vmctx, callee, arguments, results);
  else vm_call_native(signature, vmctx, code_of(vmctx, function), arguments, results);
}

/* The function that a table holds at an index, for a call. */
static inline VMFuncRef *callee_at(VMContextHeader *vmctx, VMTableDefinition *table, uint64_t index, uint32_t type, bool final) {
  if (UNLIKELY(index >= table->elements)) vm_builtin_raise_trap(vmctx, TRAP_UNDEFINED_ELEMENT, NO_OFFSET);
  uint64_t word = ((uint64_t *)table->base)[index];
  VMFuncRef *callee = (VMFuncRef *)(word & ~(uint64_t)1);
  if (UNLIKELY(word == 0)) callee = vm_builtin_table_get_lazy(vmctx, table, index);
  if (UNLIKELY(!callee)) vm_builtin_raise_trap(vmctx, TRAP_UNINITIALIZED_ELEMENT, NO_OFFSET);
  if (UNLIKELY(callee->type_id != type) && (final || !vm_builtin_gc_is_subtype(vmctx, callee->type_id, type)))
    vm_builtin_raise_trap(vmctx, TRAP_BAD_SIGNATURE, NO_OFFSET);
  return callee;
}

/* A definition in the context, or the one that an import there points to. */
static inline void *definition(VMContextHeader *vmctx, uint32_t offset, bool imported) {
  uint8_t *place = (uint8_t *)vmctx + offset;
  return imported ? *(void **)place : place;
}

/* ------------------------------------------------------------------------------------------------ the loop */

/* Only `vm_interpret` calls this. `at`: where to say which word is being executed. */
HIDDEN __attribute__((used)) void vm_interpret_run(
    VMContextHeader *vmctx, VMInterpreted *f, const uint64_t *arguments, uint64_t *results, volatile uint64_t *at);

void vm_interpret_run(
    VMContextHeader *vmctx, VMInterpreted *f, const uint64_t *arguments, uint64_t *results, volatile uint64_t *at) {
#define ROW(name) &&do_##name,
  static const void *const labels[] = {INTERPRETED_OPERATIONS(ROW)};
#undef ROW
  const uint64_t *ip = f->code;
  static uint32_t never;
  const volatile uint32_t *interrupt = f->polls ? &((VMStoreContext *)vmctx->store)->interrupt : &never;
  *at = (uint64_t)(ip + 1);
  if (UNLIKELY(--f->budget < 0)) {
    ask(vmctx, f, 0);
    if (!interpreted(vmctx, f->function)) {
      *at = 0; /* not this frame, but the one of the machine code shows in backtraces */
      vm_call_native(f->signature, vmctx, code_of(vmctx, f->function), arguments, results);
      return;
    }
  }
  if (UNLIKELY(*interrupt)) vm_builtin_interrupted(vmctx);
  uint64_t s[f->slots + f->outgoing];
  uint64_t *const outgoing = s + f->slots;
  memcpy(s, arguments, f->params * sizeof *s);
  memset(s + f->params, 0, f->locals * sizeof *s);
  memcpy(s + f->constants_at, f->constants, f->constant_count * sizeof *s);
  VMMemoryDefinition *const memory = definition(vmctx, f->memory, f->memory_imported);
  uint8_t *const base = memory->base; /* which never changes; nothing, where the module has no memory */
  const uint16_t *w; /* the parts of the word: loading them is faster than taking a register apart */

#define A ((uint64_t)w[1])
#define B ((uint64_t)w[2])
#define C ((uint64_t)w[3])
#define UPPER (w[2] | (uint32_t)w[3] << 16)
#define NEXT \
  do { \
    w = (const uint16_t *)ip++; \
    goto *labels[*w]; \
  } while (0)
#define HERE (*at = (uint64_t)ip)
#define TRAP(code) \
  do { \
    HERE; \
    vm_builtin_raise_trap(vmctx, (code), NO_OFFSET); \
    __builtin_unreachable(); \
  } while (0)
#define JUMP(distance) (ip += (int64_t)(distance))
#define JUMP_UPPER JUMP((int32_t)UPPER)
#define JUMP_C JUMP((int16_t)w[3])
#define GATHER(count) \
  for (uint64_t k = 0, n = (count); k < n; k++) outgoing[k] = s[ip[k / 4] >> 16 * (k % 4) & 0xffff]

  NEXT;

do_MOVE: s[A] = s[B]; NEXT;
do_CONST: s[A] = *ip++; NEXT;
do_SELECT: {
  uint64_t condition = *ip++;
  s[A] = (uint32_t)s[condition] ? s[B] : s[C];
  NEXT;
}

  /* control */
do_BR: JUMP_UPPER; NEXT;
do_BR_IF:
  if ((uint32_t)s[A]) JUMP_UPPER;
  NEXT;
do_BR_UNLESS:
  if (!(uint32_t)s[A]) JUMP_UPPER;
  NEXT;
#define COMPARE_BRANCH(name, type, operator) \
  do_BR_##name: \
    if ((type)s[A] operator (type)s[B]) JUMP_C; \
    NEXT;
  COMPARE_BRANCH(EQ, uint32_t, ==)
  COMPARE_BRANCH(NE, uint32_t, !=)
  COMPARE_BRANCH(LT_S, int32_t, <)
  COMPARE_BRANCH(LT_U, uint32_t, <)
  COMPARE_BRANCH(LE_S, int32_t, <=)
  COMPARE_BRANCH(LE_U, uint32_t, <=)
do_BR_TABLE: {
  uint64_t index = (uint32_t)s[A], count = UPPER;
  JUMP(ip[index < count ? index : count]);
  NEXT;
}
do_LOOP: {
  if (UNLIKELY(*interrupt)) {
    HERE;
    vm_builtin_interrupted(vmctx);
  }
  if (UNLIKELY(--f->budget < 0)) {
    HERE;
    void **code = (void **)f->loops + A;
    if (!*code) ask(vmctx, f, 1 + A);
    if (*code) {
      *at = 0;
      vm_call_loop(f->signature, vmctx, *code, s, results);
      return;
    }
  }
  NEXT;
}
do_FUEL: {
  int64_t *fuel = &((VMStoreContext *)vmctx->store)->fuel;
  *fuel -= UPPER;
  if (UNLIKELY(*fuel < 0) && A) {
    HERE;
    vm_builtin_out_of_fuel(vmctx);
  }
  NEXT;
}
do_RETURN: return;
do_RETURN_ONE: results[0] = s[A]; return;
do_RETURN_MANY: {
  GATHER(A);
  memcpy(results, outgoing, A * sizeof *s);
  return;
}

  /* calls */
do_CALL: {
  HERE;
  uint64_t *to = s + B, count = A, function = ip[0];
  const VMSignature *signature = (const VMSignature *)ip[1];
  ip += 2;
  GATHER(count);
  ip += (count + 3) / 4;
  call_defined(vmctx, (uint32_t)function, signature, outgoing, to);
  NEXT;
}
do_CALL_IMPORT: {
  HERE;
  uint64_t *to = s + B, count = A;
  VMFunctionImport *import = (VMFunctionImport *)((uint8_t *)vmctx + ip[0]);
  const VMSignature *signature = (const VMSignature *)ip[1];
  ip += 2;
  GATHER(count);
  ip += (count + 3) / 4;
  vm_call_native(signature, import->vmctx, import->native_call, outgoing, to);
  NEXT;
}
do_CALL_INDIRECT: {
  HERE;
  uint64_t *to = s + B, count = A;
  VMTableDefinition *table = definition(vmctx, (uint32_t)ip[0], ip[0] >> 32 & 1);
  VMFuncRef *callee = callee_at(vmctx, table, (uint32_t)s[ip[2] >> 32], (uint32_t)ip[2], ip[0] >> 33 & 1);
  const VMSignature *signature = (const VMSignature *)ip[1];
  ip += 3;
  GATHER(count);
  ip += (count + 3) / 4;
  if (callee->vmctx == vmctx) call_defined(vmctx, callee->function - f->imported, signature, outgoing, to);
  else vm_call_native(signature, callee->vmctx, callee->native_call, outgoing, to);
  NEXT;
}
do_UNREACHABLE: TRAP(TRAP_UNREACHABLE);

  /* globals */
#define GLOBALS(name, imported) \
  do_##name##_GET_32: s[A] = *(uint32_t *)definition(vmctx, UPPER, imported); NEXT; \
  do_##name##_GET_64: s[A] = *(uint64_t *)definition(vmctx, UPPER, imported); NEXT; \
  do_##name##_SET_32: *(uint32_t *)definition(vmctx, UPPER, imported) = (uint32_t)s[A]; NEXT; \
  do_##name##_SET_64: *(uint64_t *)definition(vmctx, UPPER, imported) = s[A]; NEXT;
  GLOBALS(GLOBAL, false)
  GLOBALS(IMPORTED, true)

  /* memory */
#define LENGTH __atomic_load_n(&memory->length, __ATOMIC_RELAXED)
do_MEMORY_SIZE: s[A] = (uint32_t)(LENGTH >> 16); NEXT;
do_MEMORY_GROW: HERE; s[A] = (uint32_t)vm_builtin_memory_grow(vmctx, memory, (uint32_t)s[B]); NEXT;
do_MEMORY_COPY: HERE; vm_builtin_memory_copy(vmctx, memory, s[A], memory, s[B], s[C]); NEXT;
do_MEMORY_FILL: HERE; vm_builtin_memory_fill(vmctx, memory, s[A], (uint32_t)s[B], s[C]); NEXT;
do_MEMORY_INIT: HERE; vm_builtin_memory_init(vmctx, memory, (uint32_t)*ip++, s[A], (uint32_t)s[B], (uint32_t)s[C]); NEXT;
do_DATA_DROP: vm_builtin_data_drop(vmctx, (uint32_t)A); NEXT;
#define PLACE(slot, size) \
  uint64_t place = s[slot] + C; /* of two or three summands below 2^32: does not wrap */ \
  if (UNLIKELY(place + (size) > LENGTH)) TRAP(TRAP_MEMORY_OUT_OF_BOUNDS); \
  uint8_t *pointer = base + place
#define LOAD(name, type, extended) \
  do_##name: { \
    PLACE(B, sizeof(type)); \
    type value; \
    memcpy(&value, pointer, sizeof value); \
    s[A] = (extended)value; \
    NEXT; \
  }
  LOAD(I32_LOAD, uint32_t, uint32_t)
  LOAD(I64_LOAD, uint64_t, uint64_t)
  LOAD(F32_LOAD, uint32_t, uint32_t)
  LOAD(F64_LOAD, uint64_t, uint64_t)
  LOAD(I32_LOAD8_S, int8_t, uint32_t)
  LOAD(I32_LOAD8_U, uint8_t, uint32_t)
  LOAD(I32_LOAD16_S, int16_t, uint32_t)
  LOAD(I32_LOAD16_U, uint16_t, uint32_t)
  LOAD(I64_LOAD8_S, int8_t, int64_t)
  LOAD(I64_LOAD8_U, uint8_t, uint64_t)
  LOAD(I64_LOAD16_S, int16_t, int64_t)
  LOAD(I64_LOAD16_U, uint16_t, uint64_t)
  LOAD(I64_LOAD32_S, int32_t, int64_t)
  LOAD(I64_LOAD32_U, uint32_t, uint64_t)
#define STORE(name, type) \
  do_##name: { \
    PLACE(A, sizeof(type)); \
    type value = (type)s[B]; \
    memcpy(pointer, &value, sizeof value); \
    NEXT; \
  }
  STORE(I32_STORE, uint32_t)
  STORE(I64_STORE, uint64_t)
  STORE(F32_STORE, uint32_t)
  STORE(F64_STORE, uint64_t)
  STORE(I32_STORE8, uint8_t)
  STORE(I32_STORE16, uint16_t)
  STORE(I64_STORE8, uint8_t)
  STORE(I64_STORE16, uint16_t)
  STORE(I64_STORE32, uint32_t)

  /* integers */
#define BINARY(name, type, result, expression) \
  do_##name: { \
    type x = (type)s[B], y = (type)s[C]; \
    s[A] = (result)(expression); \
    NEXT; \
  }
#define UNARY(name, type, result, expression) \
  do_##name: { \
    type x = (type)s[B]; \
    s[A] = (result)(expression); \
    NEXT; \
  }
#define DIVISION(name, type, result, least, minus_one, expression) \
  do_##name: { \
    type x = (type)s[B], y = (type)s[C]; \
    if (UNLIKELY(y == 0)) TRAP(TRAP_INTEGER_DIVISION_BY_ZERO); \
    if (UNLIKELY(y == (type)-1 && x == (type)(least))) minus_one; \
    s[A] = (result)(expression); \
    NEXT; \
  }
#define OVERFLOWS TRAP(TRAP_INTEGER_OVERFLOW)
#define IS_ZERO \
  do { \
    s[A] = 0; \
    NEXT; \
  } while (0)
#define NEVER (void)0
#define INTEGERS(t, u, i, bits, least) \
  UNARY(t##_EQZ, u, uint32_t, x == 0) \
  BINARY(t##_EQ, u, uint32_t, x == y) \
  BINARY(t##_NE, u, uint32_t, x != y) \
  BINARY(t##_LT_S, i, uint32_t, x < y) \
  BINARY(t##_LT_U, u, uint32_t, x < y) \
  BINARY(t##_GT_S, i, uint32_t, x > y) \
  BINARY(t##_GT_U, u, uint32_t, x > y) \
  BINARY(t##_LE_S, i, uint32_t, x <= y) \
  BINARY(t##_LE_U, u, uint32_t, x <= y) \
  BINARY(t##_GE_S, i, uint32_t, x >= y) \
  BINARY(t##_GE_U, u, uint32_t, x >= y) \
  BINARY(t##_ADD, u, u, x + y) \
  BINARY(t##_SUB, u, u, x - y) \
  BINARY(t##_MUL, u, u, x * y) \
  DIVISION(t##_DIV_S, i, u, least, OVERFLOWS, x / y) \
  DIVISION(t##_DIV_U, u, u, least, NEVER, x / y) \
  DIVISION(t##_REM_S, i, u, least, IS_ZERO, x % y) \
  DIVISION(t##_REM_U, u, u, least, NEVER, x % y) \
  BINARY(t##_AND, u, u, x & y) \
  BINARY(t##_OR, u, u, x | y) \
  BINARY(t##_XOR, u, u, x ^ y) \
  BINARY(t##_SHL, u, u, x << (y & (bits - 1))) \
  BINARY(t##_SHR_S, i, u, x >> (y & (bits - 1))) \
  BINARY(t##_SHR_U, u, u, x >> (y & (bits - 1))) \
  BINARY(t##_ROTL, u, u, rotl##bits(x, y)) \
  BINARY(t##_ROTR, u, u, rotr##bits(x, y))
  INTEGERS(I32, uint32_t, int32_t, 32, INT32_MIN)
  INTEGERS(I64, uint64_t, int64_t, 64, INT64_MIN)
  UNARY(I32_CLZ, uint32_t, uint32_t, x ? __builtin_clz(x) : 32)
  UNARY(I32_CTZ, uint32_t, uint32_t, x ? __builtin_ctz(x) : 32)
  UNARY(I32_POPCNT, uint32_t, uint32_t, __builtin_popcount(x))
  UNARY(I64_CLZ, uint64_t, uint64_t, x ? __builtin_clzll(x) : 64)
  UNARY(I64_CTZ, uint64_t, uint64_t, x ? __builtin_ctzll(x) : 64)
  UNARY(I64_POPCNT, uint64_t, uint64_t, __builtin_popcountll(x))
  UNARY(I32_EXTEND8_S, int8_t, uint32_t, x)
  UNARY(I32_EXTEND16_S, int16_t, uint32_t, x)
  UNARY(I64_EXTEND8_S, int8_t, int64_t, x)
  UNARY(I64_EXTEND16_S, int16_t, int64_t, x)
  UNARY(I64_EXTEND32_S, int32_t, int64_t, x)
  UNARY(I32_WRAP_I64, uint32_t, uint32_t, x)
  UNARY(I64_EXTEND_I32_S, int32_t, int64_t, x)

  /* floats: abs, neg and copysign are operations on bits */
#define FLOAT_UNARY(t, name, get, put, expression) \
  do_##t##_##name: { \
    __typeof__(get(0)) x = get(s[B]); \
    s[A] = put(expression); \
    NEXT; \
  }
#define FLOAT_BINARY(t, name, get, put, expression) \
  do_##t##_##name: { \
    __typeof__(get(0)) x = get(s[B]), y = get(s[C]); \
    s[A] = put(expression); \
    NEXT; \
  }
/* Compilers leave a NaN as it is where they round with other instructions; wasm wants a quiet one. */
#define ROUNDED(round) (x != x ? x + x : round(x))
#define FLOATS(t, p, u, sign, get, put, suffix) \
  UNARY(t##_ABS, u, u, x & ~(sign)) \
  UNARY(t##_NEG, u, u, x ^ (sign)) \
  BINARY(t##_COPYSIGN, u, u, (x & ~(sign)) | (y & (sign))) \
  FLOAT_UNARY(t, CEIL, get, put, ROUNDED(ceil##suffix)) \
  FLOAT_UNARY(t, FLOOR, get, put, ROUNDED(floor##suffix)) \
  FLOAT_UNARY(t, TRUNC, get, put, ROUNDED(trunc##suffix)) \
  FLOAT_UNARY(t, NEAREST, get, put, ROUNDED(rint##suffix)) \
  FLOAT_UNARY(t, SQRT, get, put, sqrt##suffix(x)) \
  FLOAT_BINARY(t, ADD, get, put, x + y) \
  FLOAT_BINARY(t, SUB, get, put, x - y) \
  FLOAT_BINARY(t, MUL, get, put, x * y) \
  FLOAT_BINARY(t, DIV, get, put, x / y) \
  FLOAT_BINARY(t, MIN, get, put, p##_min(x, y)) \
  FLOAT_BINARY(t, MAX, get, put, p##_max(x, y)) \
  FLOAT_BINARY(t, EQ, get, (uint32_t), x == y) \
  FLOAT_BINARY(t, NE, get, (uint32_t), x != y) \
  FLOAT_BINARY(t, LT, get, (uint32_t), x < y) \
  FLOAT_BINARY(t, GT, get, (uint32_t), x > y) \
  FLOAT_BINARY(t, LE, get, (uint32_t), x <= y) \
  FLOAT_BINARY(t, GE, get, (uint32_t), x >= y)
  FLOATS(F32, f32, uint32_t, 0x80000000u, f32_of, of_f32, f)
  FLOATS(F64, f64, uint64_t, 0x8000000000000000u, f64_of, of_f64, )
  FLOAT_UNARY(F32, DEMOTE_F64, f64_of, of_f32, (float)x)
  FLOAT_UNARY(F64, PROMOTE_F32, f32_of, of_f64, (double)x)

#define TRUNCATION(t, source, get, suffix, to, result, low, high, least, most) \
  do_##t##_TRUNC_##source##_##suffix: { \
    __typeof__(get(0)) x = get(s[B]); \
    if (UNLIKELY(!((low) && x < (high)))) TRAP(x != x ? TRAP_BAD_CONVERSION : TRAP_INTEGER_OVERFLOW); \
    s[A] = (result)(to)x; \
    NEXT; \
  } \
  do_##t##_TRUNC_SAT_##source##_##suffix: { \
    __typeof__(get(0)) x = get(s[B]); \
    s[A] = (result)((low) && x < (high) ? (to)x : x != x ? (to)0 : x < 0 ? (to)(least) : (to)(most)); \
    NEXT; \
  }
  TRUNCATION(I32, F32, f32_of, S, int32_t, uint32_t, LOW_I32_F32(x), 0x1p31f, INT32_MIN, INT32_MAX)
  TRUNCATION(I32, F32, f32_of, U, uint32_t, uint32_t, x > -1.0f, 0x1p32f, 0, UINT32_MAX)
  TRUNCATION(I32, F64, f64_of, S, int32_t, uint32_t, LOW_I32_F64(x), 0x1p31, INT32_MIN, INT32_MAX)
  TRUNCATION(I32, F64, f64_of, U, uint32_t, uint32_t, x > -1.0, 0x1p32, 0, UINT32_MAX)
  TRUNCATION(I64, F32, f32_of, S, int64_t, uint64_t, LOW_I64_F32(x), 0x1p63f, INT64_MIN, INT64_MAX)
  TRUNCATION(I64, F32, f32_of, U, uint64_t, uint64_t, x > -1.0f, 0x1p64f, 0, UINT64_MAX)
  TRUNCATION(I64, F64, f64_of, S, int64_t, uint64_t, LOW_I64_F64(x), 0x1p63, INT64_MIN, INT64_MAX)
  TRUNCATION(I64, F64, f64_of, U, uint64_t, uint64_t, x > -1.0, 0x1p64, 0, UINT64_MAX)
#define CONVERSIONS(t, type, put) \
  do_##t##_CONVERT_I32_S: s[A] = put((type)(int32_t)s[B]); NEXT; \
  do_##t##_CONVERT_I32_U: s[A] = put((type)(uint32_t)s[B]); NEXT; \
  do_##t##_CONVERT_I64_S: s[A] = put((type)(int64_t)s[B]); NEXT; \
  do_##t##_CONVERT_I64_U: s[A] = put((type)s[B]); NEXT;
  CONVERSIONS(F32, float, of_f32)
  CONVERSIONS(F64, double, of_f64)
}
