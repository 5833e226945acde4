/* Stubs: what a module's table of code pointers holds for functions that are not compiled yet.
 *
 * Stub i loads i and jumps to vm_stub_common (switch.c), which looks into the context's code table. If entry i points out of this
 * block it is compiled: jump there. If it has an entry in the context's table of interpreted functions, the interpreter takes
 * it. Else the fiber is left with STATUS_COMPILE, all argument registers kept, and the table is
 * looked at again when it is resumed. The stack is as the caller left it, so any signature and both calling conventions work.
 *
 *     block: | vm_stub_common | size of the block | (aarch64: code that loads the first) | stub 0 | stub 1 | ...
 *
 * Stubs depend on nothing but their index, so instances share them. */
#include "shim.h"

#define HEADER 64
#define STRIDE 16
#define COUNT_MOST (1u << 22) /* keeps every jump within reach */

static inline void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }
static inline void put64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof value); }

#if defined(__x86_64__)
static void write_header(uint8_t *block) { memset(block + 16, 0xcc, HEADER - 16); }

static void write_stub(uint8_t *stub, uint32_t index, uint32_t distance) {
  static const uint8_t code[STRIDE] = {
      0x41, 0xbb, 0, 0, 0, 0,       /* mov r11d, index */
      0x4c, 0x8d, 0x15, 0, 0, 0, 0, /* lea r10, [rip - ...]: the block */
      0x41, 0xff, 0x22,             /* jmp [r10] */
  };
  memcpy(stub, code, STRIDE);
  put32(stub + 2, index);
  put32(stub + 9, -(distance + 13));
}
#else
static void write_header(uint8_t *block) {
  put32(block + 16, 0x10000000u | (0x7fffcu << 5) | 17); /* adr x17, #-16: the block */
  put32(block + 20, 0xf9400229u);                        /* ldr x9, [x17] */
  put32(block + 24, 0xd61f0120u);                        /* br x9 */
}

static void write_stub(uint8_t *stub, uint32_t index, uint32_t distance) {
  put32(stub, 0x52800000u | ((index & 0xffff) << 5) | 16);   /* movz w16, index */
  put32(stub + 4, 0x72a00000u | ((index >> 16) << 5) | 16);  /* movk w16, index >> 16, lsl 16 */
  uint32_t back = (uint32_t)-(int32_t)(distance + 8 - 16);   /* b: the header's code */
  put32(stub + 8, 0x14000000u | ((back >> 2) & 0x03ffffff));
  put32(stub + 12, 0xd4200020u);                             /* brk #1 */
}
#endif

VMStubs *vm_stubs_new(uint64_t count) {
  if (count > COUNT_MOST) {
    errno = EINVAL;
    return NULL;
  }
  uint64_t size = vm_round_to_page(HEADER + STRIDE * count);
  VMStubs *stubs = calloc(1, sizeof *stubs);
  if (!stubs) return NULL;
  uint8_t *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) {
    free(stubs);
    return NULL;
  }
  put64(block, (uint64_t)&vm_stub_common);
  put64(block + 8, size);
  write_header(block);
  for (uint32_t i = 0; i < count; i++) write_stub(block + HEADER + STRIDE * i, i, HEADER + STRIDE * i);
  if (mprotect(block, size, PROT_READ | PROT_EXEC)) {
    int error = errno;
    munmap(block, size);
    free(stubs);
    errno = error;
    return NULL;
  }
  vm_code_flush(block, size);
  *stubs = (VMStubs){block, size, block + HEADER, STRIDE, count};
  pthread_mutex_lock(&vm_lock);
  vm_counts.stubs++;
  pthread_mutex_unlock(&vm_lock);
  return stubs;
}

void vm_stubs_free(VMStubs *stubs) {
  munmap(stubs->block, stubs->size);
  free(stubs);
  pthread_mutex_lock(&vm_lock);
  vm_counts.stubs--;
  pthread_mutex_unlock(&vm_lock);
}
