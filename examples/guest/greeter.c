/* The guest of greeter.wit, with the canonical ABI written by hand: no libc, no generated bindings.
 *
 * Memory is a heap that only grows while a call lasts: the host asks for room through `realloc`, and `post_return`, called
 * when the host has taken the result, empties it. */
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define INTERFACE "example:greeter/greetings@1.0.0"

typedef struct { const char *at; uint32_t size; } string;
typedef struct { string name; uint8_t age; } person;
typedef struct { uint8_t is_error; string *at; uint32_t size; } result;
enum { INFO, WARNING };

IMPORT("example:greeter/log@1.0.0", "log") void host_log(int32_t level, const char *at, uint32_t size);
IMPORT("[export]" INTERFACE, "[resource-new]counter") int32_t counter_handle(int32_t representation);

void *memcpy(void *to, const void *from, size_t size) {
    uint8_t *a = to;
    const uint8_t *b = from;
    while (size--) *a++ = *b++;
    return to;
}

static uint8_t heap[1 << 20];
static uint32_t used;

EXPORT("realloc") void *guest_realloc(void *old, uint32_t old_size, uint32_t align, uint32_t size) {
    used = (used + align - 1) & -align;
    if (size > sizeof heap - used) __builtin_trap();
    void *found = heap + used;
    used += size;
    if (old_size) memcpy(found, old, old_size < size ? old_size : size);
    return found;
}

EXPORT("post-return") void post_return(void *result) { (void)result; used = 0; }

static void *room(uint32_t size) { return guest_realloc(NULL, 0, 4, size); }

static string text(const char *literal) {
    string s = {literal, 0};
    while (literal[s.size]) s.size++;
    return s;
}

static string join(string a, string b) {
    char *at = room(a.size + b.size);
    memcpy(at, a.at, a.size);
    memcpy(at + a.size, b.at, b.size);
    return (string){at, a.size + b.size};
}

static string *keep(string s) {
    string *kept = room(sizeof *kept);
    *kept = s;
    return kept;
}

static string greeting(string name, uint8_t age) {
    string who = age < 18 ? text("Hi, ") : text("Good day, ");
    return join(join(who, name), text("!"));
}

EXPORT("hello") string *hello(const char *name, uint32_t size) {
    return keep(join(join(text("Hello, "), (string){name, size}), text("!")));
}

EXPORT("greet") string *greet(const char *name, uint32_t size, uint32_t age) {
    string made = greeting((string){name, size}, (uint8_t)age);
    host_log(INFO, made.at, made.size);
    return keep(made);
}

EXPORT("greet-all") result *greet_all(const person *people, uint32_t count) {
    result *answer = room(sizeof *answer);
    if (!count) {
        string why = text("nobody is here");
        host_log(WARNING, why.at, why.size);
        *answer = (result){1, (string *)why.at, why.size};
        return answer;
    }
    string *all = room(count * sizeof *all);
    for (uint32_t i = 0; i < count; i++) all[i] = greeting(people[i].name, people[i].age);
    *answer = (result){0, all, count};
    return answer;
}

static uint32_t counters[64];
static uint8_t taken[64];

EXPORT("counter-new") int32_t counter_new(uint32_t start) {
    for (int32_t i = 0; i < 64; i++) {
        if (taken[i]) continue;
        taken[i] = 1;
        counters[i] = start;
        return counter_handle(i);
    }
    __builtin_trap();
}

/* A borrowed handle of its own resource reaches a guest as the representation. */
EXPORT("counter-increment") uint32_t counter_increment(int32_t representation, uint32_t by) {
    return counters[representation] += by;
}

EXPORT("counter-drop") void counter_drop(int32_t representation) { taken[representation] = 0; }
