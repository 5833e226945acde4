/* A core module with one import and one export: tells the host about every prime below n, gives their number. */
#include <stdint.h>

__attribute__((import_module("host"), import_name("report"))) void report(uint32_t prime);

static uint8_t composite[1 << 16];

__attribute__((export_name("primes"))) uint32_t primes(uint32_t n) {
    uint32_t count = 0;
    if (n > sizeof composite) __builtin_trap();
    for (uint32_t i = 0; i < n; i++) composite[i] = 0;
    for (uint32_t i = 2; i < n; i++) {
        if (composite[i]) continue;
        report(i);
        count++;
        for (uint32_t j = i * 2; j < n; j += i) composite[j] = 1;
    }
    return count;
}
