/* Reading what modules have thousands of: data segments of the form that nearly all have, lists of indices, sizes of function bodies.
 *
 * That form of a segment is: active, memory 0, `(i32.const c)`, numbers of at most four bytes. Each becomes four words: the constant, where its
 * instruction stands, and where the data begins and ends. */
#include "shim.h"

/* A number in LEB128 of at most four bytes; its bits, or -1. */
static inline int number(const uint8_t *data, uint64_t *at, uint64_t end, uint32_t *value) {
  uint32_t result = 0;
  for (int shift = 0; shift < 28; shift += 7) {
    if (*at >= end) return -1;
    uint8_t byte = data[(*at)++];
    result |= (uint32_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return shift + 7;
    }
  }
  return -1;
}

/* Reads up to `count` unsigned numbers of 32 bits and stops before the first one that is malformed or ends too late, which is at `*next`. Gives how
 * many it read. */
uint64_t vm_scan_numbers(const uint8_t *data, uint64_t at, uint64_t end, uint64_t count, uint32_t *numbers, uint64_t *next) {
  uint64_t found = 0;
  for (*next = at; found < count; *next = at) {
    uint32_t value = 0;
    int shift = 0;
    for (;; shift += 7) {
      if (at >= end || shift > 28 || (shift == 28 && data[at] > 0x0f)) return found;
      value |= (uint32_t)(data[at] & 0x7f) << shift;
      if (data[at++] < 0x80) break;
    }
    numbers[found++] = value;
  }
  return found;
}

/* The same for function bodies: each a size, at most `most`, and that many bytes. Where they begin and end. */
uint64_t vm_scan_bodies(const uint8_t *data, uint64_t at, uint64_t end, uint64_t count, uint32_t most, uint32_t *starts, uint32_t *ends,
                        uint64_t *next) {
  uint64_t found = 0;
  for (*next = at; found < count; *next = at, found++) {
    uint32_t size;
    if (!vm_scan_numbers(data, at, end, 1, &size, &at) || size > most || size > end - at || at + size > UINT32_MAX) break;
    starts[found] = (uint32_t)at;
    ends[found] = (uint32_t)(at += size);
  }
  return found;
}

/* Reads up to `count` segments and stops before the first one of another form, which is at `*next`. Gives how many it read. */
uint64_t vm_scan_segments(const uint8_t *data, uint64_t at, uint64_t end, uint64_t count, uint32_t *words, uint64_t *next) {
  uint64_t found = 0;
  for (*next = at; found < count; found++, words += 4, *next = at) {
    if (end - at < 2 || data[at] || data[at + 1] != 0x41) break;
    uint64_t instruction = at + 1;
    at += 2;
    uint32_t value, size;
    int bits = number(data, &at, end, &value);
    if (bits < 0 || at >= end || data[at++] != 0x0b) break;
    if (value >> (bits - 1) & 1) value |= ~0u << bits;
    if (number(data, &at, end, &size) < 0 || size > end - at || at + size > UINT32_MAX) break;
    words[0] = value;
    words[1] = (uint32_t)instruction;
    words[2] = (uint32_t)at;
    words[3] = (uint32_t)(at += size);
  }
  return found;
}

/* The memory's bytes up to the end of the last that a segment writes; `*total`: how many they write. */
uint64_t vm_segments_extent(const uint32_t *words, uint64_t count, uint64_t *total) {
  uint64_t end = 0;
  for (*total = 0; count--; words += 4) {
    uint64_t length = words[3] - words[2];
    if (words[0] + length > end) end = words[0] + length;
    *total += length;
  }
  return end;
}

/* Writes segments, in order, to a memory that is large enough. */
void vm_segments_copy(uint8_t *memory, const uint8_t *data, const uint32_t *words, uint64_t count) {
  for (; count--; words += 4) memcpy(memory + words[0], data + words[2], words[3] - words[2]);
}
