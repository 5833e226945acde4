/* Calls from the host with everything in one C call: arguments go in as one packed block, one result comes back as a C value.
 *
 * Arguments are not written to the store's values buffer before the store is owned, and the result is taken before it is given up.
 * So two threads that use one store at a time, which they must not, never see each other's values: one of them is refused.
 *
 * The functions of components (VMLiftedSite) do on the fiber what else such a call consists of, so that it takes one switch:
 *
 *     entered instances: may_enter off
 *     for each block:    own.may_leave off, realloc(0, 0, align, size), own.may_leave on; check; copy the bytes
 *     the core function
 *     the result:        check its place, copy it out
 *     the post-return:   own.may_leave off, call, own.may_leave on
 *     entered instances: may_enter on
 *
 * A site without a function only stores its blocks; the address of the first is the result.
 *
 * Whatever runs in the guest may leave for the host and come back; all that this code knows is on the fiber's stack, in the site and in
 * the packed arguments, which the caller keeps until the call is over. A breach of the guest ends the call with an `outcome`, and the instances stay entered. */
#include "shim.h"
#include <math.h>

#define CALL_LEFT INT64_MIN
#define CALL_STATUSES 15
#define LIMIT_TEXT ((1u << 28) - 1)

typedef void (*ArrayCall)(void *funcref, void *values);

/* ------------------------------------------------------------------------------------------------ results */

static inline int64_t as_int(uint32_t kind, uint64_t raw) {
  if (kind == RESULT_I32) return (int32_t)raw;
  if (kind == RESULT_U32) return (uint32_t)raw;
  return kind == RESULT_I64 ? (int64_t)raw : 0;
}

static inline double as_float(uint32_t kind, uint64_t raw) {
  double wide;
  float narrow;
  if (kind == RESULT_F32) {
    uint32_t bits = (uint32_t)raw;
    memcpy(&narrow, &bits, sizeof narrow);
    return narrow;
  }
  memcpy(&wide, &raw, sizeof wide);
  return wide;
}

int vm_left(void) { return (int)vm_thread.left; }

int vm_outcome(void) { return (int)vm_thread.outcome; }

int64_t vm_result_int(uint32_t kind) { return as_int(kind, vm_thread.result); }

double vm_result_float(uint32_t kind) { return as_float(kind, vm_thread.result); }

/* The result if the call is over, else CALL_LEFT + status. A result that looks like that is answered as CALL_LEFT + 0. */
static inline int64_t answer_int(int status, uint32_t kind) {
  int64_t result = as_int(kind, vm_thread.result);
  if (LIKELY(!status && result > CALL_LEFT + CALL_STATUSES)) return result;
  return CALL_LEFT + status;
}

/* The result if the call is over, else NaN, and NaN may also be the result: `left` tells. */
static inline double answer_float(int status, uint32_t kind) {
  double result = as_float(kind, vm_thread.result);
  if (LIKELY(!status && result == result)) return result;
  vm_thread.left = (uint32_t)status;
  return status ? (double)NAN : result;
}

/* ------------------------------------------------------------------------------------------------ core functions */

typedef struct Packed {
  VMCallSite *site;
  uint64_t reserved;
  uint64_t values[];
} Packed;

static inline int call(VMCallSite *site, const void *arguments, void *values) {
  VMStoreContext *store = site->store;
  uint32_t why;
  VMFiber *fiber = vm_claim(store, &why);
  if (UNLIKELY(!fiber)) return (int)why;
  if (!values) values = store->values;
  memcpy(values, arguments, 16 * (size_t)site->params);
  return vm_run(store, fiber, site->array_call, site->funcref, values);
}

int64_t vm_call_int(const char *packed) {
  const Packed *p = (const void *)packed;
  return answer_int(call(p->site, p->values, NULL), p->site->result);
}

double vm_call_float(const char *packed) {
  const Packed *p = (const void *)packed;
  return answer_float(call(p->site, p->values, NULL), p->site->result);
}

int vm_call_into(VMCallSite *site, const char *arguments, uint64_t *values) { return call(site, arguments, values); }

/* ------------------------------------------------------------------------------------------------ functions of components */

/* What the host packs: the arguments are followed by the sizes of the blocks, and by their bytes if `data` is null. */
typedef struct Lifted {
  VMLiftedSite *site;
  uint8_t *out; /* CALL_BYTES for what is copied out */
  const uint8_t *data;
  uint64_t reserved;
  uint64_t values[];
} Lifted;

/* What `enter` finds in the fiber's `answer` when the call is over. */
typedef struct Answer {
  uint64_t raw;
  uint64_t outcome;
} Answer;

static inline void set_entered(VMLiftedSite *site, uint32_t value) {
  uint32_t **flags = site->entered;
  for (uint32_t i = 0; i < site->depth; i++) flags[i][0] = value;
}

static inline uint64_t length_of(VMLiftedSite *site) {
  return __atomic_load_n(&((VMMemoryDefinition *)site->memory)->length, __ATOMIC_RELAXED);
}

static inline uint8_t *at(VMLiftedSite *site, uint32_t address) {
  return (uint8_t *)((VMMemoryDefinition *)site->memory)->base + address;
}

/* Stores the blocks and puts their addresses into `values`; an OUTCOME_*. */
static inline uint32_t copy_in(VMLiftedSite *site, const Lifted *packed, uint64_t *values) {
  const uint64_t *sizes = packed->values + 2 * (size_t)site->params;
  const uint8_t *data = packed->data ? packed->data : (const uint8_t *)(sizes + site->copies);
  uint32_t *own = site->own;
  for (uint32_t i = 0; i < site->copies; i++) {
    uint64_t size = (uint32_t)sizes[i];
    uint32_t align = site->copy_aligns[i];
    uint64_t arguments[8] = {0, 0, 0, 0, align, 0, (uint32_t)size, 0};
    own[1] = 0;
    ((ArrayCall)site->realloc_call)(site->realloc_ref, arguments);
    own[1] = 1;
    uint32_t address = (uint32_t)arguments[0];
    if (address & (align - 1)) return OUTCOME_REALLOC_UNALIGNED;
    if (address + size > length_of(site)) return OUTCOME_REALLOC_BOUNDS;
    if (size) memcpy(at(site, address), data, size);
    data += size;
    values[2 * site->copy_slots[i]] = address;
  }
  return 0;
}

/* Copies a text to `out`; its length becomes the result. If it is too long for that, the result gets bit 32. */
static inline uint32_t copy_text(VMLiftedSite *site, uint8_t *out, Answer *answer, bool *over) {
  uint32_t pair[2];
  memcpy(pair, at(site, (uint32_t)answer->raw), sizeof pair);
  if ((uint64_t)pair[0] + pair[1] > length_of(site)) return OUTCOME_TEXT_BOUNDS;
  if (pair[1] > LIMIT_TEXT) return OUTCOME_TEXT_LONG;
  *over = pair[1] <= CALL_BYTES;
  if (*over) memcpy(out, at(site, pair[0]), pair[1]);
  answer->raw = *over ? pair[1] : (uint64_t)1 << 32 | (uint32_t)answer->raw;
  return 0;
}

/* Copies out what the result consists of; an OUTCOME_*. `over`: whether the host needs nothing else of the guest. */
static inline uint32_t copy_out(VMLiftedSite *site, uint8_t *out, Answer *answer, bool *over) {
  *over = site->mode != MODE_OPEN;
  if (site->mode == MODE_VALUE || site->mode == MODE_OPEN) return 0;
  uint32_t address = (uint32_t)answer->raw;
  if (address & (site->align - 1)) return OUTCOME_UNALIGNED;
  if ((uint64_t)address + site->size > length_of(site)) return OUTCOME_BOUNDS;
  if (site->mode == MODE_TEXT) return copy_text(site, out, answer, over);
  memcpy(out, at(site, address), site->size);
  return 0;
}

/* Runs on the fiber. */
static void lifted(void *self, void *answered) {
  const Lifted *packed = self;
  VMLiftedSite *site = packed->site;
  Answer answer = {0, 0};
  uint64_t values[2 * CALL_PARAMS + 2] __attribute__((aligned(16)));
  memcpy(values, packed->values, 16 * (size_t)site->params);
  if (site->copies) answer.outcome = copy_in(site, packed, values);
  if (LIKELY(!answer.outcome)) {
    bool over;
    if (LIKELY(site->array_call)) ((ArrayCall)site->array_call)(site->funcref, values);
    uint64_t raw = answer.raw = values[0];
    answer.outcome = copy_out(site, packed->out, &answer, &over);
    if (LIKELY(!answer.outcome && over)) {
      if (site->post_call) {
        uint32_t *own = site->own;
        values[0] = raw;
        own[1] = 0;
        ((ArrayCall)site->post_call)(site->post_ref, values);
        own[1] = 1;
      }
      set_entered(site, 1);
    }
  }
  *(Answer *)answered = answer;
}

/* The call: a STATUS_*; STATUS_OUTCOME when it is over and something is wrong. */
static inline int run_lifted(const Lifted *packed) {
  VMLiftedSite *site = packed->site;
  VMStoreContext *store = site->store;
  uint32_t why;
  VMFiber *fiber = vm_claim(store, &why);
  if (UNLIKELY(!fiber)) return (int)why;
  if (UNLIKELY(site->depth && !((uint32_t **)site->entered)[0][0])) {
    vm_unclaim(store, fiber);
    return STATUS_NOT_ENTERED;
  }
  set_entered(site, 0);
  int status = vm_run(store, fiber, &lifted, (void *)packed, fiber->answer);
  return status || LIKELY(!vm_thread.outcome) ? status : (int)STATUS_OUTCOME;
}

/* The end of a call that was not over when the C call came back. */
int64_t vm_lifted_end_int(uint32_t kind) { return answer_int(vm_thread.outcome ? (int)STATUS_OUTCOME : 0, kind); }

double vm_lifted_end_float(uint32_t kind) { return answer_float(vm_thread.outcome ? (int)STATUS_OUTCOME : 0, kind); }

int64_t vm_lifted_int(const char *packed) {
  const Lifted *p = (const void *)packed;
  return answer_int(run_lifted(p), p->site->result);
}

double vm_lifted_float(const char *packed) {
  const Lifted *p = (const void *)packed;
  return answer_float(run_lifted(p), p->site->result);
}
