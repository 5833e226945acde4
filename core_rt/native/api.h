/* What Python may call. cffi reads this file as it is, so: declarations only, no directives of the preprocessor.
 *
 * Functions that return int give a STATUS_* (0 is good) or -1 for a call that is against the rules; those that can run out of
 * memory or file descriptors give NULL or -1 with errno set. */

/* calls (fiber.c) */
int vm_call(VMCallSite *site);
int vm_resume(VMFiber *fiber);
int vm_resume_running(VMStoreContext *store);
int vm_park(VMFiber *fiber);
int vm_abandon(VMFiber *fiber);
int vm_catches(VMFiber *fiber);
VMFiber *vm_running(VMStoreContext *store);
int vm_is_parked(VMFiber *fiber);
uint64_t vm_thread_token(void);
VMFiber *vm_fiber_new(VMStoreContext *store, uint64_t stack_size);
int vm_fiber_free(VMFiber *fiber);
int vm_fibers_close(VMStoreContext *store);
void vm_fiber_pool_limit(uint64_t mappings, uint64_t resident);

/* typed calls (calls.c): `packed` begins with the address of the site. Instead of a result: CALL_LEFT + status, or NaN and vm_left
 * has the status; vm_result when the call is over */
int64_t vm_call_int(const char *packed);
double vm_call_float(const char *packed);
int vm_call_into(VMCallSite *site, const char *arguments, uint64_t *values);
int64_t vm_lifted_int(const char *packed);
double vm_lifted_float(const char *packed);
int64_t vm_lifted_end_int(uint32_t kind);
double vm_lifted_end_float(uint32_t kind);
int vm_left(void);
int vm_outcome(void);
int64_t vm_result_int(uint32_t kind);
double vm_result_float(uint32_t kind);

/* traps (trap.c) */
void vm_backtrace(VMFiber *fiber);
int vm_divert(VMFiber *fiber, uint64_t pc, uint64_t to, uint64_t mark_at, uint64_t mark);
void vm_signals_ensure(void);

/* stores (store.c) */
#define VM_VALUES_SIZE 16384
VMStoreContext *vm_store_new(void);
int vm_store_empty(VMStoreContext *store);
void vm_store_free(VMStoreContext *store);
int vm_store_end(VMStoreContext *store);
void vm_store_renew(VMStoreContext *store);
void vm_interrupt(VMStoreContext *store);
void vm_interrupt_engine(uint32_t engine);
void *vm_alloc(size_t size);
void vm_free(void *block);

/* ticker (ticker.c): microseconds between ticks, 0 for none */
void vm_ticker_period(uint64_t microseconds);
uint64_t vm_ticker_get_period(void);

/* services for compiled code (builtins.c) */
void *vm_builtin_array(void);
void *vm_host_call_address(void);

/* stubs (stubs.c): stub i stands at `first + i * stride` */
typedef struct VMStubs {
  uint8_t *block;
  uint64_t size;
  uint8_t *first;
  uint64_t stride;
  uint64_t count;
} VMStubs;
VMStubs *vm_stubs_new(uint64_t count);
void vm_stubs_free(VMStubs *stubs);

/* linear memories (memory.c); `accessible` bytes from `base` on can be read and written */
typedef struct VMImage {
  int fd;
  int closed;
  uint64_t size;
  uint64_t users;
} VMImage;
typedef struct VMReservation {
  uint8_t *base;
  uint64_t size;
  uint64_t accessible;
  uint64_t range;
  uint64_t users;
  VMImage *image;
  struct VMReservation *next;
} VMReservation;
VMReservation *vm_reserve(uint64_t size, uint64_t length, VMImage *image);
int vm_commit(VMReservation *reservation, uint64_t length);
void vm_hold(VMReservation *reservation);
void vm_release(VMReservation *reservation);
void vm_reservation_pool_limit(uint64_t count);
VMImage *vm_image_new(const uint8_t *data, uint64_t length);
VMImage *vm_image_of_file(int file, uint64_t length);
void vm_image_free(VMImage *image);

/* instances (instance.c): offsets are from the context; what is made is known by its address, 0 if there is no memory */
typedef struct VMMemoryPlan {
  uint64_t reservation;
  uint64_t length;
  VMImage *image;
} VMMemoryPlan;
typedef struct VMDataPlan {
  uint64_t memory;
  uint64_t to;
  const uint8_t *from;
  uint64_t length;
} VMDataPlan;
/* Functions that an active segment puts into a table; for one that is in the template already, into table `table` of the module's own
 * from element `start` on. `functions` is null until the first of them is looked for. */
typedef struct VMTableSegment {
  uint32_t table;
  uint32_t count;
  uint64_t start;
  const uint32_t *functions;
} VMTableSegment;
typedef struct VMTemplate {
  uint64_t size;
  const uint8_t *prefix;
  uint64_t prefix_size;
  const uint32_t *imports;
  uint64_t import_count;
  uint32_t memories;
  uint32_t memory_count;
  uint32_t first_memory;
  uint32_t tables;
  uint32_t table_count;
  uint32_t first_table;
  const VMMemoryPlan *memory_plans;
  const uint64_t *table_elements;
  const VMDataPlan *data;
  uint64_t data_count;
  uint32_t funcrefs;
  uint32_t funcref_count;
  uint32_t imported_funcs;
  uint32_t func_imports;
  uint32_t segment_count; /* those that every instance begins with */
  VMTableSegment *segments;
  /* Of each defined function: where its reference stands, its type. Null until something asks. */
  const uint32_t *slots;
  const uint32_t *types;
  uint64_t tail_stubs;
  uint64_t tail_stride;
} VMTemplate;
typedef struct VMLink {
  uint32_t base;
  uint32_t offset;
} VMLink;
typedef struct VMHostPlan {
  void *native_call;
  void *signature;
  uint32_t type_id;
  uint32_t lowered;
  uint64_t place;
} VMHostPlan;
uint64_t vm_instantiate(VMStoreContext *store, const VMTemplate *plan, uint64_t handle, const uint64_t *imports);
uint64_t vm_instantiate_linked(VMStoreContext *store, const VMTemplate *plan, uint64_t handle, const VMLink *links,
                               const uint64_t *bases);
void vm_share(VMMemoryDefinition *to, const VMMemoryDefinition *from);
int vm_table_grow(VMTableDefinition *table, uint64_t elements);
int vm_table_segment(VMStoreContext *store, uint64_t table, const VMTemplate *plan, uint64_t context,
                     const VMTableSegment *segment, uint64_t start);
uint64_t vm_table_settle(VMStoreContext *store, VMTableDefinition *table, uint64_t start, uint64_t count);
uint64_t vm_keep(VMStoreContext *store, uint64_t size);
uint64_t vm_component(VMStoreContext *store, const uint8_t *prefix, uint64_t size, uint64_t handle);
uint64_t vm_host_func(VMStoreContext *store, uint64_t index, void *native_call, void *signature, uint32_t type_id,
                      uint32_t handle);
uint64_t vm_host_funcs(VMStoreContext *store, const VMHostPlan *plans, uint64_t count, uint64_t index, uint64_t component);

/* machine code (code.c): written through `rw` (NULL: it is in a file and stays as it is), run through `rx` */
typedef struct VMCodeArena {
  uint8_t *rw;
  uint8_t *rx;
  uint64_t size;
  uint64_t range;
} VMCodeArena;
VMCodeArena *vm_code_arena_new(uint64_t size);
VMCodeArena *vm_code_arena_map(int fd, uint64_t offset, uint64_t size);
void vm_code_arena_free(VMCodeArena *arena);
void vm_code_flush(void *address, uint64_t length);
int64_t vm_code_register(void *address, uint64_t length);
void vm_code_unregister(int64_t range);
uint64_t vm_code_enter(uint64_t *table, const uint32_t *offsets, uint64_t count, uint64_t base);
uint64_t vm_processor(uint64_t *words, uint64_t capacity);

/* what modules have many of (scan.c) */
uint64_t vm_scan_numbers(const uint8_t *data, uint64_t at, uint64_t end, uint64_t count, uint32_t *numbers, uint64_t *next);
uint64_t vm_scan_bodies(const uint8_t *data, uint64_t at, uint64_t end, uint64_t count, uint32_t most, uint32_t *starts, uint32_t *ends,
                        uint64_t *next);
uint64_t vm_scan_segments(const uint8_t *data, uint64_t at, uint64_t end, uint64_t count, uint32_t *words, uint64_t *next);
uint64_t vm_segments_extent(const uint32_t *words, uint64_t count, uint64_t *total);
void vm_segments_copy(uint8_t *memory, const uint8_t *data, const uint32_t *words, uint64_t count);

/* plain function bodies (body.c). What an instruction is to it: */
#define BODY_OTHER 0
#define BODY_NOP 1
#define BODY_UNREACHABLE 2
#define BODY_BLOCK 3
#define BODY_LOOP 4
#define BODY_IF 5
#define BODY_ELSE 6
#define BODY_END 7
#define BODY_BR 8
#define BODY_BR_IF 9
#define BODY_BR_TABLE 10
#define BODY_RETURN 11
#define BODY_CALL 12
#define BODY_CALL_INDIRECT 13
#define BODY_DROP 14
#define BODY_SELECT 15
#define BODY_GET 16
#define BODY_SET 17
#define BODY_TEE 18
#define BODY_GLOBAL_GET 19
#define BODY_GLOBAL_SET 20
#define BODY_LOAD 21
#define BODY_STORE 22
#define BODY_MEMORY_SIZE 23
#define BODY_MEMORY_GROW 24
#define BODY_MEMORY_FILL 25
#define BODY_MEMORY_COPY 26
#define BODY_MEMORY_INIT 27
#define BODY_DATA_DROP 28
#define BODY_INTEGER 29
#define BODY_FLOAT 30
#define BODY_UNARY 31
#define BODY_BINARY 32
/* Immediates are places in a list of values. At 0 is no value; then come the integers from BODY_SMALLEST on, BODY_SMALL of them; then (align, offset, 0)
 * for the first BODY_ALIGNS alignments and, in each, BODY_OFFSETS offsets; from BODY_COMMON on the body's own `integers`. Counted from the end, -1 and so
 * on, are the body's other values, two words each in `extras`: kind | a << 8, b */
#define BODY_SMALLEST -64
#define BODY_SMALL 256
#define BODY_ALIGNS 4
#define BODY_OFFSETS 256
#define BODY_COMMON 1281
#define BODY_VALUE_BELOW 0 /* operands under the parameters of the loop that is the next value: b, count | first in `below` << 32, or -1 */
#define BODY_VALUE_BITS 1 /* b, unsigned */
#define BODY_VALUE_MEMARG 2 /* (a, b, 0) */
#define BODY_VALUE_BLOCK 3 /* a: type index, or BODY_TYPE_BYTE + a byte; b: where in `sets` a bit for each local tells whether it is assigned inside */
#define BODY_VALUE_LOOP 4 /* the same, of a loop with operands under its parameters */
#define BODY_VALUE_TABLE 5 /* a: first in `targets`; b: how many before the default */
#define BODY_VALUE_PAIR 6 /* (a, b) */
#define BODY_VALUE_TYPE 7 /* the type a */
#define BODY_TYPE_BYTE 0x100000000
#define BODY_LOCALS_MOST 2048
#define BODY_LABELS_MOST 65520
#define BODY_BELOW_MOST 64
#define BODY_BELOW 4096
typedef struct VMBodyModule {
  const uint8_t *types;
  const uint32_t *signatures; /* by type: counts of parameters (-1: not plain) and results, where in `types` */
  const uint32_t *funcs;      /* types, by function */
  const uint8_t *globals;     /* type | 0x80 if mutable; 0: not plain */
  const uint8_t *tables;      /* 1: of functions, with indices of 32 bits */
  uint32_t type_count;
  uint32_t func_count;
  uint32_t global_count;
  uint32_t table_count;
  uint32_t data_count;
  uint32_t memory; /* whether memory 0 is there and has addresses of 32 bits */
} VMBodyModule;
typedef struct VMBody {
  uint32_t *ops;
  int32_t *values;
  uint32_t *offsets;
  uint32_t *targets;
  int64_t *integers;
  uint64_t *extras;
  uint64_t *sets;
  uint32_t integer_count;
  uint32_t extra_count;
  uint32_t set_count;
  uint32_t set_room;
  uint32_t target_count;
  uint32_t below_count;
  uint32_t local_count;
  uint8_t locals[BODY_LOCALS_MOST];
  uint8_t below[BODY_BELOW];
} VMBody;
uint32_t vm_read_body(const VMBodyModule *module, const uint32_t *table, const uint8_t *data, uint32_t start, uint32_t length,
                      uint32_t type, VMBody *out);

typedef struct VMStatistics {
  uint64_t stores;
  uint64_t fibers;
  uint64_t fiber_mappings_pooled;
  uint64_t reservations;
  uint64_t reservations_pooled;
  uint64_t images;
  uint64_t code_arenas;
  uint64_t stubs;
  uint64_t traps;
  uint64_t ticks;
} VMStatistics;
void vm_statistics(VMStatistics *out);

/* calls of any signature without compiled code (bridge.c) */
void *vm_array_bridge_address(void);
void *vm_host_bridge_address(void);

/* the heap (heap.c); roots: the addresses of a VMTableDefinition, VMGlobalDefinition or VMRoots that live as long as the store */
#define VM_ROOT_TABLE 0
#define VM_ROOT_GLOBAL 1
#define VM_ROOT_RANGE 2
void vm_heap_close(VMStoreContext *store);
int vm_heap_reserve(VMStoreContext *store, uint64_t bytes);
uint32_t vm_heap_describe(VMStoreContext *store, const uint32_t *words, uint64_t count);
uint32_t vm_heap_allocate(VMStoreContext *store, uint32_t type, uint64_t length);
int vm_heap_add_root(VMStoreContext *store, int kind, void *place);
void vm_heap_handles(VMStoreContext *store, uint32_t *words, uint64_t count);
void vm_heap_slots(VMStoreContext *store, uint8_t *marks, uint64_t count);
void vm_heap_collect(VMStoreContext *store);
void vm_heap_stress(VMStoreContext *store, int on);
void vm_heap_step(VMStoreContext *store, int start_one, uint64_t budget);
void vm_heap_keep(VMStoreContext *store, uint32_t reference);
void vm_heap_statistics(VMStoreContext *store, VMHeapStatistics *out);
