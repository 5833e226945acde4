/* Instances: what a module declares, in one block (core_rt/vm/layout.py), made from a template.
 *
 *     InstanceHeader | VMContextHeader .. prefix, copied from the template .. | funcrefs and the like: zeros
 *     ^ block        ^ context
 *
 * A template (core_rt/vm/template.py) is worked out once per module: constants, types and lengths are in its prefix already,
 * pointers to imports are poison. What is left is to take memories out of the pool, tables from the allocator, and to write the
 * pointers that differ.
 *
 * Blocks, and what functions of the host need, live as long as the store's context: whoever holds an address in them holds the
 * store. Memories and tables are given back when the store is closed; their definitions are empty then. */
#include "shim.h"

#define CHUNK_SIZE 4000u
/* Blocks of modules with hundreds of functions in tables are mostly references that are never asked for: as mappings of their own they
 * take memory only for what is. */
#define MAPPED_FROM (32u << 10)

/* Small things that live as long as the store: handed out one after the other. */
typedef struct Chunk {
  struct Chunk *next;
  uint64_t used, size;
} Chunk;

/* A segment of an instance that lies in a table. Its elements are 0 until somebody looks at them (`vm_table_settle`). */
typedef struct Placed {
  struct Placed *next;
  VMTableDefinition *table;
  uint64_t start;
  const VMTableSegment *segment;
  const VMTemplate *plan;
  VMContextHeader *owner;
} Placed;

static inline uint8_t *context_of(const InstanceHeader *block) { return (uint8_t *)(block + 1); }

static inline VMMemoryDefinition *memories_of(const InstanceHeader *block) {
  return (VMMemoryDefinition *)(context_of(block) + block->memories);
}

static inline VMTableDefinition *tables_of(const InstanceHeader *block) {
  return (VMTableDefinition *)(context_of(block) + block->tables);
}

static InstanceHeader *new_block(uint64_t size) {
  if (size < MAPPED_FROM) return calloc(1, size);
  void *block = mmap(NULL, vm_round_to_page(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return NULL;
  /* The kernel joins neighbouring mappings; a huge page under them would make all of it resident. */
  madvise(block, vm_round_to_page(size), MADV_NOHUGEPAGE);
  return block;
}

static void free_block(InstanceHeader *block, uint64_t size) {
  if (size < MAPPED_FROM) free(block);
  else munmap(block, vm_round_to_page(size));
}

/* Gives back what the definitions of an instance own. */
static void empty(InstanceHeader *block) {
  VMMemoryDefinition *memory = memories_of(block);
  for (uint32_t i = 0; i < block->memory_count; i++, memory++) {
    VMReservation *reservation = memory->reservation;
    memory->reservation = memory->base = NULL;
    memory->length = 0;
    if (reservation) vm_release(reservation);
  }
  VMTableDefinition *table = tables_of(block);
  for (uint32_t i = 0; i < block->table_count; i++, table++) {
    void *elements = table->base;
    table->base = NULL;
    table->elements = table->capacity = 0;
    free(elements);
  }
}

void vm_instances_end(Store *store) {
  store->placed = NULL;
  for (InstanceHeader *block = store->instances; block; block = block->next) empty(block);
}

void vm_instances_free(Store *store) {
  for (InstanceHeader *block = store->instances, *next; block; block = next) {
    next = block->next;
    empty(block);
    free_block(block, block->size);
  }
  store->instances = NULL;
  store->placed = NULL;
  for (Chunk *chunk = store->chunks, *next; chunk; chunk = next) {
    next = chunk->next;
    free(chunk);
  }
  store->chunks = NULL;
}

static bool make_memories(InstanceHeader *block, const VMTemplate *plan, uint64_t handle) {
  VMMemoryDefinition *memory = memories_of(block);
  for (uint32_t i = 0; i < block->memory_count; i++, memory++) {
    memory->handle = handle << 32 | (plan->first_memory + i);
    if (i >= plan->memory_count) break; /* it is going to be shared */
    const VMMemoryPlan *wanted = &plan->memory_plans[i];
    VMReservation *reservation = vm_reserve(wanted->reservation, wanted->length, wanted->image);
    if (!reservation) return false;
    memory->reservation = reservation;
    memory->base = reservation->base;
    memory->length = wanted->length;
  }
  return true;
}

static bool make_tables(InstanceHeader *block, const VMTemplate *plan, uint64_t handle) {
  VMTableDefinition *table = tables_of(block);
  for (uint32_t i = 0; i < plan->table_count; i++, table++) {
    uint64_t elements = plan->table_elements[i], capacity = elements ? elements : 1;
    table->base = calloc(capacity, sizeof(uint64_t));
    if (!table->base) return false;
    table->elements = elements;
    table->capacity = capacity;
    table->handle = handle << 32 | (plan->first_table + i);
  }
  return true;
}

static inline void set_import(uint8_t *context, uint32_t where, uint64_t address) {
  uint8_t *place = context + (where & ~1u);
  if (where & 1) {
    VMFuncRef *ref = (VMFuncRef *)address;
    *(VMFunctionImport *)place = (VMFunctionImport){ref->native_call, ref->tail_call, ref->vmctx, ref};
  } else { /* the other four kinds have the same shape */
    *(VMMemoryImport *)place = (VMMemoryImport){(void *)address, NULL};
  }
}

/* Functions that can be had from outside are in the prefix; what they run is what their module runs now. */
static void set_functions(VMContextHeader *context, const VMTemplate *plan) {
  VMFuncRef *ref = (VMFuncRef *)((uint8_t *)context + plan->funcrefs);
  for (uint32_t i = 0; i < plan->funcref_count; i++, ref++) {
    ref->vmctx = context;
    ref->native_call = ((void **)context->code_table)[ref->function - plan->imported_funcs];
  }
}

static void *keep(VMStoreContext *context, uint64_t size);

static bool place(VMStoreContext *context, VMTableDefinition *table, const VMTemplate *plan, VMContextHeader *owner,
                  const VMTableSegment *segment, uint64_t start) {
  Store *store = (Store *)context;
  Placed *placed = keep(context, sizeof *placed);
  if (!placed) return false;
  *placed = (Placed){store->placed, table, start, segment, plan, owner};
  store->placed = placed;
  return true;
}

static bool place_segments(VMStoreContext *store, const VMTemplate *plan, VMContextHeader *owner, VMTableDefinition *tables) {
  const VMTableSegment *segment = plan->segments;
  for (uint32_t i = 0; i < plan->segment_count; i++, segment++)
    if (!place(store, &tables[segment->table], plan, owner, segment, segment->start)) return false;
  return true;
}

/* Number `handle` of the store, its imports still missing. */
static VMContextHeader *make_instance(VMStoreContext *store, const VMTemplate *plan, uint64_t handle) {
  InstanceHeader *block = new_block(plan->size);
  if (!block) return NULL;
  memcpy(block, plan->prefix, plan->prefix_size);
  block->handle = handle;
  block->store = store;
  VMContextHeader *context = (VMContextHeader *)context_of(block);
  if (!make_memories(block, plan, handle) || !make_tables(block, plan, handle) ||
      !place_segments(store, plan, context, tables_of(block))) {
    int error = errno;
    empty(block);
    free_block(block, plan->size);
    errno = error;
    return NULL;
  }
  context->store = store;
  context->builtins = store->builtins;
  context->handle = handle;
  set_functions(context, plan);
  for (uint64_t i = 0; i < plan->data_count; i++) {
    const VMDataPlan *data = &plan->data[i];
    memcpy((uint8_t *)memories_of(block)[data->memory].base + data->to, data->from, data->length);
  }
  block->next = ((Store *)store)->instances;
  ((Store *)store)->instances = block;
  return context;
}

/* A new instance; `imports` has the address of a VMFuncRef or of a definition for each import. */
uint64_t vm_instantiate(VMStoreContext *store, const VMTemplate *plan, uint64_t handle, const uint64_t *imports) {
  VMContextHeader *context = make_instance(store, plan, handle);
  if (!context) return 0;
  for (uint64_t i = 0; i < plan->import_count; i++) set_import((uint8_t *)context, plan->imports[i], imports[i]);
  return (uint64_t)context;
}

/* The same with addresses that are some offset from something known. */
uint64_t vm_instantiate_linked(VMStoreContext *store, const VMTemplate *plan, uint64_t handle, const VMLink *links,
                               const uint64_t *bases) {
  VMContextHeader *context = make_instance(store, plan, handle);
  if (!context) return 0;
  for (uint64_t i = 0; i < plan->import_count; i++)
    set_import((uint8_t *)context, plan->imports[i], bases[links[i].base] + links[i].offset);
  return (uint64_t)context;
}

/* A definition that is still empty becomes another one of the same memory. */
void vm_share(VMMemoryDefinition *to, const VMMemoryDefinition *from) {
  vm_hold(from->reservation);
  to->reservation = from->reservation;
  to->base = from->base;
  to->length = from->length;
}

/* More elements for a table; they are zero. */
int vm_table_grow(VMTableDefinition *table, uint64_t elements) {
  if (elements > table->capacity) {
    uint64_t capacity = elements + (table->elements ? elements / 4 : 0);
    if (capacity > SIZE_MAX / sizeof(uint64_t) / 2) return -1;
    uint64_t *base = calloc(capacity, sizeof(uint64_t));
    if (!base) return -1;
    memcpy(base, table->base, table->elements * sizeof(uint64_t));
    free(table->base);
    table->base = base;
    table->capacity = capacity;
  }
  table->elements = elements;
  return 0;
}

/* An active segment of an instance's module is put into the table at an address. 1: it does not fit; -1: no memory. */
int vm_table_segment(VMStoreContext *store, uint64_t table, const VMTemplate *plan, uint64_t context,
                     const VMTableSegment *segment, uint64_t start) {
  VMTableDefinition *definition = (VMTableDefinition *)table;
  if (start > definition->elements || segment->count > definition->elements - start) return 1;
  if (!segment->count) return 0;
  memset((uint64_t *)definition->base + start, 0, segment->count * sizeof(uint64_t));
  return place(store, definition, plan, (VMContextHeader *)context, segment, start) ? 0 : -1;
}

static VMFuncRef *function_of(VMContextHeader *owner, const VMTemplate *plan, uint32_t index) {
  if (index < plan->imported_funcs) return ((VMFunctionImport *)((uint8_t *)owner + plan->func_imports))[index].funcref;
  uint32_t defined = index - plan->imported_funcs;
  VMFuncRef *ref = (VMFuncRef *)((uint8_t *)owner + plan->funcrefs) + plan->slots[defined];
  if (!ref->vmctx) {
    ref->native_call = ((void **)owner->code_table)[defined];
    ref->tail_call = (void *)(plan->tail_stubs + defined * plan->tail_stride);
    ref->vmctx = owner;
    ref->type_id = plan->types[defined];
    ref->function = index;
  }
  return ref;
}

/* Makes elements of a table of functions that nobody has looked at yet (0): references, or null (1). The context of an instance whose
 * template must be told first what its functions are, if there is one; else 0. */
uint64_t vm_table_settle(VMStoreContext *context, VMTableDefinition *table, uint64_t start, uint64_t count) {
  uint64_t *elements = table->base;
  for (uint64_t index = start; index < start + count; index++) {
    if (elements[index]) continue;
    uint64_t element = 0;
    for (Placed *placed = ((Store *)context)->placed; placed; placed = placed->next) {
      const VMTableSegment *segment = placed->segment;
      if (placed->table != table || index - placed->start >= segment->count) continue;
      if (!placed->plan->types) return (uint64_t)placed->owner;
      element = (uint64_t)function_of(placed->owner, placed->plan, segment->functions[index - placed->start]);
      break;
    }
    elements[index] = element | 1;
  }
  return 0;
}

/* Zeroed memory on a 16-byte boundary that lives as long as the store. */
static void *keep(VMStoreContext *context, uint64_t size) {
  Store *store = (Store *)context;
  Chunk *chunk = store->chunks;
  size = (size + 15) & -(uint64_t)16;
  if (!chunk || chunk->size - chunk->used < size) {
    uint64_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
    chunk = calloc(1, (sizeof *chunk + 15) / 16 * 16 + room);
    if (!chunk) return NULL;
    chunk->size = room;
    chunk->next = store->chunks;
    store->chunks = chunk;
  }
  void *place = (uint8_t *)chunk + (sizeof *chunk + 15) / 16 * 16 + chunk->used;
  chunk->used += size;
  return place;
}

uint64_t vm_keep(VMStoreContext *store, uint64_t size) { return (uint64_t)keep(store, size); }

/* The context of a component's instances, which begins as a copy of `prefix`: an InstanceHeader, then a header whose second and
 * third word are the store and its builtins (component_rt/vmcontext.py). */
uint64_t vm_component(VMStoreContext *store, const uint8_t *prefix, uint64_t size, uint64_t handle) {
  InstanceHeader *block = keep(store, size);
  if (!block) return 0;
  memcpy(block, prefix, size);
  block->handle = handle;
  block->store = store;
  void **context = (void **)context_of(block);
  context[1] = store;
  context[2] = store->builtins;
  return (uint64_t)context;
}

static void set_host_func(VMHostFuncContext *context, VMStoreContext *store, uint64_t index, void *native_call, void *signature,
                          uint32_t type_id) {
  context->magic = HOST_MAGIC;
  context->index = (uint32_t)index;
  context->store = store;
  context->host_call = (void *)vm_host_call;
  context->native_call = native_call;
  context->vmctx = context;
  context->signature = signature;
  context->type_id = type_id;
  context->function = 0xffffffffu;
}

/* A VMFuncRef to function `index` of the store's host. */
uint64_t vm_host_func(VMStoreContext *store, uint64_t index, void *native_call, void *signature, uint32_t type_id,
                      uint32_t handle) {
  VMHostFuncContext *context = keep(store, sizeof *context);
  if (!context) return 0;
  set_host_func(context, store, index, native_call, signature, type_id);
  context->handle = handle;
  return (uint64_t)&context->native_call;
}

/* Several, from function `index` on, one VMHostFuncContext after the other. Each is noted in the context of a component: where it
 * is `lowered` as code and context, else as a VMFuncRef. */
uint64_t vm_host_funcs(VMStoreContext *store, const VMHostPlan *plans, uint64_t count, uint64_t index, uint64_t component) {
  VMHostFuncContext *first = keep(store, count * sizeof *first);
  if (!first) return 0;
  for (uint64_t i = 0; i < count; i++) {
    VMHostFuncContext *context = first + i;
    set_host_func(context, store, index + i, plans[i].native_call, plans[i].signature, plans[i].type_id);
    void **place = (void **)(component + plans[i].place);
    place[0] = &context->native_call;
    if (plans[i].lowered) place[0] = context->native_call, place[1] = context;
  }
  return (uint64_t)&first->native_call;
}
