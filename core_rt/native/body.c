/* Reading function bodies of the plain kind: numbers in locals, one ordinary memory, calls, structured control. Most code is of this kind.
 *
 * A body is validated as the specification's appendix says ("Validation Algorithm"). It is only accepted or not: whatever is not plain, not
 * valid or beyond a capacity is left to Python (core_rt/validate/careful.py), which reads the body from its beginning and says what is wrong
 * where. So a check that is too strict costs time, one that is missing costs safety.
 *
 * Types are their bytes in the binary format; UNKNOWN is what unreachable code finds under its stack. What an instruction is, comes from the table
 * of instructions (core_rt/validate/plain.py): BODY_* | operand type << 8 | result type << 16 | log2 of the bytes accessed << 24, by opcode, and from
 * 256 on by the number behind the prefix 0xFC. */
#include "shim.h"

enum { UNKNOWN = 0, I32 = 0x7f, I64 = 0x7e, F64 = 0x7c };

#define STACK_MOST 4096
#define NESTING_MOST 2048
#define PREFIX_FC 0xfc
#define PREFIXED 32
#define NOT_PLAIN UINT32_MAX
#define NO_VALUE 0
#define FUNCTION 0

typedef struct Frame {
  const uint8_t *params, *results;
  uint32_t param_count, result_count;
  uint32_t height;
  uint32_t extra;   /* its value, counted from 0 */
  uint32_t begun;   /* how often locals had been assigned */
  uint32_t checked; /* by the br_table at this instruction, plus one */
  uint8_t kind;     /* BODY_*, or FUNCTION */
  uint8_t unreachable;
} Frame;

typedef struct Pass {
  const VMBodyModule *module;
  VMBody *out;
  const uint8_t *data;
  uint32_t at, end, start;
  uint32_t count; /* instructions */
  uint32_t height;
  uint32_t depth; /* frames, the function's included */
  uint32_t assignments;
  uint32_t assigned[BODY_LOCALS_MOST]; /* the last assignment of a local */
  uint8_t stack[STACK_MOST];
  uint8_t locals[BODY_LOCALS_MOST];
  Frame frames[NESTING_MOST];
} Pass;

#define CHECK(condition) \
  if (UNLIKELY(!(condition))) return 0

/* ------------------------------------------------------------------------------------------------ reading */

static inline int read_u32(Pass *p, uint32_t *value) {
  uint32_t result = 0;
  for (uint32_t shift = 0; shift < 35; shift += 7) {
    CHECK(p->at < p->end);
    uint8_t byte = p->data[p->at++];
    CHECK(shift < 28 || byte < 0x10);
    result |= (uint32_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return 1;
    }
  }
  return 0;
}

/* A signed number of `bits` (32, 33 or 64). */
static inline int read_signed(Pass *p, uint32_t bits, int64_t *value) {
  uint64_t result = 0;
  for (uint32_t shift = 0; shift < bits;) {
    CHECK(p->at < p->end);
    uint8_t byte = p->data[p->at++];
    uint32_t left = bits - shift;
    if (left < 7) {
      uint8_t mask = (uint8_t)(0x7f << (left - 1)) & 0x7f; /* copies of the sign, and the sign */
      CHECK((byte & mask) == 0 || (byte & mask) == mask);
    }
    result |= (uint64_t)(byte & 0x7f) << shift;
    shift += 7;
    if (byte < 0x80) {
      if (shift < 64 && byte & 0x40) result |= ~(uint64_t)0 << shift;
      *value = (int64_t)result;
      return 1;
    }
  }
  return 0;
}

/* ------------------------------------------------------------------------------------------------ what Python gets */

static inline void emit(Pass *p, uint32_t op, int32_t value, uint32_t at) {
  VMBody *out = p->out;
  uint32_t i = p->count++;
  out->ops[i] = op;
  out->values[i] = value;
  out->offsets[i] = p->start + at;
}

/* A value of its own; its place. */
static inline int32_t value_of(Pass *p, uint32_t kind, uint64_t a, uint64_t b) {
  VMBody *out = p->out;
  uint64_t *place = out->extras + 2 * (uint64_t)out->extra_count;
  place[0] = kind | a << 8;
  place[1] = b;
  return -(int32_t)++out->extra_count;
}

static inline int32_t integer(Pass *p, int64_t value) {
  if (value >= BODY_SMALLEST && value < BODY_SMALLEST + BODY_SMALL) return 1 + (int32_t)(value - BODY_SMALLEST);
  p->out->integers[p->out->integer_count] = value;
  return BODY_COMMON + (int32_t)p->out->integer_count++;
}

/* ------------------------------------------------------------------------------------------------ the stack */

static inline Frame *top(Pass *p) { return &p->frames[p->depth - 1]; }

static inline int push(Pass *p, uint8_t type) {
  CHECK(p->height < STACK_MOST);
  p->stack[p->height++] = type;
  return 1;
}

static inline int push_all(Pass *p, const uint8_t *types, uint32_t count) {
  CHECK(count <= STACK_MOST - p->height);
  memcpy(p->stack + p->height, types, count);
  p->height += count;
  return 1;
}

static inline int pop_any(Pass *p, uint8_t *type) {
  Frame *frame = top(p);
  if (p->height == frame->height) {
    *type = UNKNOWN;
    return frame->unreachable;
  }
  *type = p->stack[--p->height];
  return 1;
}

static inline int pop(Pass *p, uint8_t want) {
  uint8_t type;
  CHECK(pop_any(p, &type));
  return type == want || type == UNKNOWN;
}

static inline int pop_all(Pass *p, const uint8_t *types, uint32_t count) {
  while (count) CHECK(pop(p, types[--count]));
  return 1;
}

/* As pop_all, with the stack left as it is. */
static int check_top(Pass *p, const uint8_t *types, uint32_t count) {
  Frame *frame = top(p);
  uint32_t height = p->height;
  while (count) {
    if (height == frame->height) return frame->unreachable;
    uint8_t type = p->stack[--height];
    CHECK(type == types[--count] || type == UNKNOWN);
  }
  return 1;
}

static inline void unreachable(Pass *p) {
  Frame *frame = top(p);
  p->height = frame->height;
  frame->unreachable = 1;
}

/* ------------------------------------------------------------------------------------------------ frames */

static int signature(Pass *p, uint32_t index, Frame *frame) {
  const VMBodyModule *module = p->module;
  CHECK(index < module->type_count);
  const uint32_t *row = module->signatures + 3 * (uint64_t)index;
  CHECK(row[0] != NOT_PLAIN);
  frame->param_count = row[0];
  frame->result_count = row[1];
  frame->params = module->types + row[2];
  frame->results = frame->params + row[0];
  return 1;
}

static int enter(Pass *p, const Frame *frame) {
  CHECK(p->depth < NESTING_MOST);
  p->frames[p->depth++] = *frame;
  top(p)->height = p->height;
  return push_all(p, frame->params, frame->param_count);
}

static int leave(Pass *p) {
  Frame *frame = top(p);
  CHECK(pop_all(p, frame->results, frame->result_count));
  return p->height == frame->height;
}

/* `block`, `loop` and `if`. */
static int open_block(Pass *p, uint32_t kind, uint32_t op, uint32_t at) {
  static const uint8_t numbers[] = {0x7c, 0x7d, 0x7e, 0x7f};
  Frame frame = {.kind = (uint8_t)kind};
  VMBody *out = p->out;
  CHECK(p->at < p->end);
  uint8_t byte = p->data[p->at];
  uint64_t type = BODY_TYPE_BYTE + byte;
  if (byte == 0x40) {
    p->at++;
  } else if (byte >= F64 && byte <= I32) {
    p->at++;
    frame.results = numbers + (byte - F64);
    frame.result_count = 1;
  } else {
    int64_t index;
    CHECK((byte & 0xc0) != 0x40 && read_signed(p, 33, &index) && index >= 0 && index < p->module->type_count);
    CHECK(signature(p, (uint32_t)index, &frame));
    type = (uint64_t)index;
  }
  if (kind == BODY_IF) CHECK(pop(p, I32));
  CHECK(pop_all(p, frame.params, frame.param_count));
  uint32_t what = BODY_VALUE_BLOCK;
  if (kind == BODY_LOOP && p->height) {
    what = BODY_VALUE_LOOP;
    if (p->height > BODY_BELOW_MOST) {
      (void)value_of(p, BODY_VALUE_BELOW, 0, UINT64_MAX);
    } else {
      CHECK(p->height <= BODY_BELOW - out->below_count);
      (void)value_of(p, BODY_VALUE_BELOW, 0, (uint64_t)out->below_count << 32 | p->height);
      memcpy(out->below + out->below_count, p->stack, p->height);
      out->below_count += p->height;
    }
  }
  frame.extra = out->extra_count;
  frame.begun = p->assignments;
  emit(p, op, value_of(p, what, type, 0), at);
  return enter(p, &frame);
}

static int else_arm(Pass *p) {
  CHECK(top(p)->kind == BODY_IF && leave(p));
  Frame *frame = top(p);
  frame->kind = BODY_ELSE;
  frame->unreachable = 0;
  return push_all(p, frame->params, frame->param_count);
}

/* Writes which locals were assigned in the innermost frame: a bit each. */
static int write_assigned(Pass *p, const Frame *frame) {
  VMBody *out = p->out;
  uint32_t words = (out->local_count + 63) / 64;
  CHECK(words <= out->set_room - out->set_count);
  out->extras[2 * (uint64_t)frame->extra + 1] = out->set_count;
  uint64_t *sets = out->sets + out->set_count;
  memset(sets, 0, 8 * (size_t)words);
  if (p->assignments > frame->begun)
    for (uint32_t i = 0; i < out->local_count; i++) sets[i / 64] |= (uint64_t)(p->assigned[i] > frame->begun) << i % 64;
  out->set_count += words;
  return 1;
}

/* `end`. */
static int close_block(Pass *p) {
  CHECK(leave(p));
  Frame frame = *top(p);
  if (frame.kind == BODY_IF) {
    CHECK(frame.param_count == frame.result_count);
    CHECK(!frame.param_count || !memcmp(frame.params, frame.results, frame.param_count));
  }
  p->depth--;
  if (!p->depth) return 1;
  CHECK(write_assigned(p, &frame));
  return push_all(p, frame.results, frame.result_count);
}

static int label(Pass *p, uint32_t depth, const uint8_t **types, uint32_t *count) {
  CHECK(depth < p->depth);
  Frame *frame = &p->frames[p->depth - 1 - depth];
  *types = frame->kind == BODY_LOOP ? frame->params : frame->results;
  *count = frame->kind == BODY_LOOP ? frame->param_count : frame->result_count;
  return 1;
}

static int branch_table(Pass *p, int32_t *value) {
  VMBody *out = p->out;
  uint32_t count, depth, arity, other_arity;
  const uint8_t *types, *other;
  CHECK(read_u32(p, &count) && count <= BODY_LABELS_MOST && count < p->end - p->at);
  uint32_t start = out->target_count;
  for (uint32_t i = 0; i <= count; i++) CHECK(read_u32(p, &out->targets[start + i]));
  out->target_count += count + 1;
  *value = value_of(p, BODY_VALUE_TABLE, start, count);
  depth = out->targets[start + count];
  CHECK(pop(p, I32) && label(p, depth, &types, &arity));
  for (uint32_t i = 0; i < count; i++) {
    depth = out->targets[start + i];
    CHECK(label(p, depth, &other, &other_arity));
    Frame *frame = &p->frames[p->depth - 1 - depth];
    if (frame->checked == p->count + 1) continue;
    frame->checked = p->count + 1;
    CHECK(other_arity == arity && check_top(p, other, arity));
  }
  CHECK(pop_all(p, types, arity));
  unreachable(p);
  return 1;
}

/* ------------------------------------------------------------------------------------------------ instructions */

static int call(Pass *p, uint32_t type) {
  Frame callee;
  CHECK(signature(p, type, &callee) && pop_all(p, callee.params, callee.param_count));
  return push_all(p, callee.results, callee.result_count);
}

/* Alignment and offset of a load or store. Encodings that only a memory of 64-bit addresses could need are not plain. */
static int memarg(Pass *p, uint32_t natural, int32_t *value) {
  uint32_t align, offset;
  CHECK(p->module->memory && p->at < p->end);
  align = p->data[p->at++];
  CHECK(align <= natural && read_u32(p, &offset));
  *value = align < BODY_ALIGNS && offset < BODY_OFFSETS ? (int32_t)(1 + BODY_SMALL + align * BODY_OFFSETS + offset)
                                                         : value_of(p, BODY_VALUE_MEMARG, align, offset);
  return 1;
}

/* A memory index, which must be that of the one ordinary memory. */
static int memory_index(Pass *p) {
  CHECK(p->module->memory && p->at < p->end);
  return p->data[p->at++] == 0;
}

static int select_(Pass *p, int32_t *value) {
  uint8_t first, second;
  CHECK(pop(p, I32) && pop_any(p, &second) && pop_any(p, &first));
  CHECK(first == second || first == UNKNOWN || second == UNKNOWN);
  uint8_t type = first == UNKNOWN ? second : first;
  *value = type == UNKNOWN ? NO_VALUE : value_of(p, BODY_VALUE_TYPE, type, 0);
  return push(p, type);
}

static int global(Pass *p, uint32_t *index, uint8_t *type, int set) {
  CHECK(read_u32(p, index) && *index < p->module->global_count);
  uint8_t found = p->module->globals[*index]; /* 0: not plain; the upper bit: mutable */
  *type = found & 0x7f;
  return found && (!set || found & 0x80);
}

static int constant(Pass *p, uint32_t size, int32_t *value) {
  uint64_t bits = 0;
  CHECK(size <= p->end - p->at);
  memcpy(&bits, p->data + p->at, size);
  p->at += size;
  *value = value_of(p, BODY_VALUE_BITS, 0, bits);
  return 1;
}

/* The instructions that are not of the commonest kinds; `*value` is what Python gets for the immediate. */
static int other(Pass *p, uint32_t kind, uint32_t row, int32_t *value) {
  const VMBodyModule *module = p->module;
  uint32_t index, second, arity;
  const uint8_t *types;
  uint8_t type;
  *value = NO_VALUE;
  switch (kind) {
  case BODY_NOP:
    return 1;
  case BODY_UNREACHABLE:
    unreachable(p);
    return 1;
  case BODY_BR:
    CHECK(read_u32(p, &index) && label(p, index, &types, &arity) && pop_all(p, types, arity));
    unreachable(p);
    *value = integer(p, index);
    return 1;
  case BODY_BR_IF:
    CHECK(read_u32(p, &index) && pop(p, I32) && label(p, index, &types, &arity));
    *value = integer(p, index);
    return pop_all(p, types, arity) && push_all(p, types, arity);
  case BODY_BR_TABLE:
    return branch_table(p, value);
  case BODY_RETURN:
    CHECK(pop_all(p, p->frames[0].results, p->frames[0].result_count));
    unreachable(p);
    return 1;
  case BODY_CALL:
    CHECK(read_u32(p, &index) && index < module->func_count);
    *value = integer(p, index);
    return call(p, module->funcs[index]);
  case BODY_CALL_INDIRECT:
    CHECK(read_u32(p, &index) && read_u32(p, &second) && second < module->table_count && module->tables[second]);
    *value = value_of(p, BODY_VALUE_PAIR, index, second);
    return pop(p, I32) && call(p, index);
  case BODY_DROP:
    return pop_any(p, &type);
  case BODY_SELECT:
    return select_(p, value);
  case BODY_GLOBAL_GET:
    CHECK(global(p, &index, &type, 0));
    *value = integer(p, index);
    return push(p, type);
  case BODY_GLOBAL_SET:
    CHECK(global(p, &index, &type, 1));
    *value = integer(p, index);
    return pop(p, type);
  case BODY_FLOAT:
    type = (uint8_t)(row >> 16);
    return constant(p, type == F64 ? 8 : 4, value) && push(p, type);
  case BODY_MEMORY_SIZE:
    *value = integer(p, 0);
    return memory_index(p) && push(p, I32);
  case BODY_MEMORY_GROW:
    *value = integer(p, 0);
    return memory_index(p) && pop(p, I32) && push(p, I32);
  case BODY_MEMORY_FILL:
    *value = integer(p, 0);
    return memory_index(p) && pop(p, I32) && pop(p, I32) && pop(p, I32);
  case BODY_MEMORY_COPY:
    *value = value_of(p, BODY_VALUE_PAIR, 0, 0);
    return memory_index(p) && memory_index(p) && pop(p, I32) && pop(p, I32) && pop(p, I32);
  case BODY_MEMORY_INIT:
    CHECK(read_u32(p, &index) && memory_index(p) && index < module->data_count);
    *value = value_of(p, BODY_VALUE_PAIR, index, 0);
    return pop(p, I32) && pop(p, I32) && pop(p, I32);
  case BODY_DATA_DROP:
    CHECK(read_u32(p, &index) && index < module->data_count);
    *value = integer(p, index);
    return 1;
  }
  return 0; /* BODY_OTHER: not plain */
}

static int instructions(Pass *p, const uint32_t *table) {
  VMBody *out = p->out;
  while (p->depth) {
    CHECK(p->at < p->end);
    uint32_t at = p->at, op = p->data[p->at++], row = table[op], index;
    int32_t value = NO_VALUE;
    int64_t number;
    if (op == PREFIX_FC) {
      CHECK(read_u32(p, &index) && index < PREFIXED);
      row = table[256 + index];
      op = op << 12 | index;
    }
    uint32_t kind = row & 0xff;
    uint8_t operand = (uint8_t)(row >> 8), result = (uint8_t)(row >> 16);
    switch (kind) {
    case BODY_GET:
      CHECK(read_u32(p, &index) && index < out->local_count && push(p, p->locals[index]));
      value = integer(p, index);
      break;
    case BODY_SET:
    case BODY_TEE:
      CHECK(read_u32(p, &index) && index < out->local_count && pop(p, p->locals[index]));
      if (kind == BODY_TEE) CHECK(push(p, p->locals[index]));
      p->assigned[index] = ++p->assignments;
      value = integer(p, index);
      break;
    case BODY_INTEGER:
      CHECK(read_signed(p, result == I32 ? 32 : 64, &number) && push(p, result));
      value = integer(p, number);
      break;
    case BODY_UNARY:
      CHECK(pop(p, operand) && push(p, result));
      break;
    case BODY_BINARY:
      CHECK(pop(p, operand) && pop(p, operand) && push(p, result));
      break;
    case BODY_LOAD:
      CHECK(memarg(p, row >> 24, &value) && pop(p, I32) && push(p, result));
      break;
    case BODY_STORE:
      CHECK(memarg(p, row >> 24, &value) && pop(p, operand) && pop(p, I32));
      break;
    case BODY_BLOCK:
    case BODY_LOOP:
    case BODY_IF:
      CHECK(open_block(p, kind, op, at));
      continue;
    case BODY_ELSE:
      CHECK(else_arm(p));
      break;
    case BODY_END:
      CHECK(close_block(p));
      break;
    default:
      CHECK(other(p, kind, row, &value));
    }
    emit(p, op, value, at);
  }
  return p->at == p->end;
}

static int declare_locals(Pass *p, const Frame *function) {
  uint32_t groups, count, total = function->param_count;
  CHECK(total <= BODY_LOCALS_MOST);
  memcpy(p->locals, function->params, total);
  CHECK(read_u32(p, &groups));
  while (groups--) {
    CHECK(read_u32(p, &count) && p->at < p->end);
    uint8_t type = p->data[p->at++];
    CHECK(type >= F64 && type <= I32 && count <= BODY_LOCALS_MOST - total);
    memset(p->locals + total, type, count);
    total += count;
  }
  p->out->local_count = total;
  return 1;
}

static uint32_t read_body(Pass *p, const uint32_t *table, uint32_t type) {
  VMBody *out = p->out;
  Frame function = {.kind = FUNCTION};
  CHECK(signature(p, type, &function) && declare_locals(p, &function));
  memcpy(out->locals, p->locals, out->local_count);
  memset(p->assigned, 0, sizeof(uint32_t) * out->local_count);
  function.param_count = 0; /* they are locals */
  CHECK(enter(p, &function) && instructions(p, table));
  return p->count;
}

/* Reads the body of `length` bytes that stands at `start` in the module, of a function of type `type`; gives the number of instructions, or 0 if
 * that is for Python to do. The arrays in `out` have room for `length` items, `extras` for as many pairs, `sets` for `set_room`. */
uint32_t vm_read_body(const VMBodyModule *module, const uint32_t *table, const uint8_t *data, uint32_t start, uint32_t length,
                      uint32_t type, VMBody *out) {
  Pass *p = malloc(sizeof *p);
  if (!p) return 0;
  p->module = module;
  p->out = out;
  p->data = data;
  p->at = p->count = p->height = p->depth = p->assignments = 0;
  p->end = length;
  p->start = start;
  out->integer_count = out->extra_count = out->set_count = out->target_count = out->below_count = out->local_count = 0;
  uint32_t count = read_body(p, table, type);
  free(p);
  return count;
}
