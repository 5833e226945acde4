/* The guest of files.wit: moves bytes through files and standard streams, the canonical ABI by hand. Any error is a trap. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module("wasi:" module "@0.2.0"), import_name(name)))
#define FILES(name) IMPORT("filesystem/types", "[method]descriptor." name)

typedef int32_t handle;
typedef struct { uint8_t is_error; handle value; } handle_result;
typedef struct { uint8_t is_error; const char *at; uint32_t size; } bytes_result;
typedef struct { uint8_t is_error; const char *at; uint32_t size; uint8_t end; } read_result;
typedef struct { uint8_t is_error; _Alignas(8) uint64_t count; } count_result;
typedef struct { struct { handle directory; const char *at; uint32_t size; } *at; uint32_t size; } directories;
enum { CREATE = 1, TRUNCATE = 8, READ = 1, WRITE = 2 };

FILES("read-via-stream") void read_via_stream(handle, int64_t, handle_result *);
FILES("write-via-stream") void write_via_stream(handle, int64_t, handle_result *);
FILES("read") void read_at(handle, int64_t length, int64_t offset, read_result *);
FILES("write") void write_at(handle, const char *, uint32_t, int64_t offset, count_result *);
FILES("open-at") void open_at(handle, int32_t, const char *, uint32_t, int32_t how, int32_t flags, handle_result *);
IMPORT("filesystem/types", "[resource-drop]descriptor") void drop_descriptor(handle);
IMPORT("filesystem/preopens", "get-directories") void get_directories(directories *);
IMPORT("io/streams", "[method]input-stream.blocking-read") void read_some(handle, int64_t, bytes_result *);
IMPORT("io/streams", "[method]output-stream.blocking-write-and-flush")
void write_all(handle, const char *, uint32_t, void *);
IMPORT("io/streams", "[resource-drop]input-stream") void drop_input(handle);
IMPORT("io/streams", "[resource-drop]output-stream") void drop_output(handle);
IMPORT("cli/stdin", "get-stdin") handle get_stdin(void);
IMPORT("cli/stdout", "get-stdout") handle get_stdout(void);

static char heap[4 << 20];
static uint32_t used;
static handle directory = -1;

EXPORT("cabi_realloc") void *guest_realloc(void *old, uint32_t old_size, uint32_t align, uint32_t size) {
    uint32_t start = (used + align - 1) & -align;
    if (old_size || size > sizeof heap - start) __builtin_trap();
    used = start + size;
    return heap + start;
}

static void must(uint8_t is_error) { if (is_error) __builtin_trap(); }

static handle open(const char *name, uint32_t size, int32_t how, int32_t flags) {
    handle_result result;
    if (directory < 0) {
        directories all;
        get_directories(&all);
        directory = all.at[0].directory;
    }
    open_at(directory, 0, name, size, how, flags, &result);
    must(result.is_error);
    return result.value;
}

static uint64_t drain(handle in, handle out, uint32_t piece) {
    uint64_t total = 0;
    bytes_result got;
    struct { uint8_t is_error; uint32_t rest[2]; } put;
    for (uint32_t before = used;; used = before, total += got.size) {
        read_some(in, piece, &got);
        if (got.is_error) return total;
        if (out < 0) continue;
        write_all(out, got.at, got.size, &put);
        must(put.is_error);
    }
}

EXPORT("read-streamed") uint64_t read_streamed(const char *name, uint32_t size, uint32_t piece) {
    handle file = open(name, size, 0, READ);
    handle_result stream;
    read_via_stream(file, 0, &stream);
    must(stream.is_error);
    uint64_t total = drain(stream.value, -1, piece);
    drop_input(stream.value);
    drop_descriptor(file);
    used = 0;
    return total;
}

EXPORT("read-at-offsets") uint64_t read_at_offsets(const char *name, uint32_t size, uint32_t piece) {
    handle file = open(name, size, 0, READ);
    uint64_t total = 0;
    read_result got = {0};
    for (uint32_t before = used; !got.end; used = before, total += got.size) {
        read_at(file, piece, (int64_t)total, &got);
        must(got.is_error);
    }
    drop_descriptor(file);
    used = 0;
    return total;
}

EXPORT("write-streamed")
uint64_t write_streamed(const char *name, uint32_t size, uint32_t piece, uint32_t pieces) {
    handle file = open(name, size, CREATE | TRUNCATE, WRITE);
    handle_result stream;
    write_via_stream(file, 0, &stream);
    must(stream.is_error);
    for (uint32_t i = 0; i < pieces; i++) {
        struct { uint8_t is_error; uint32_t rest[2]; } put;
        write_all(stream.value, heap + (1 << 20), piece, &put);
        must(put.is_error);
    }
    drop_output(stream.value);
    drop_descriptor(file);
    used = 0;
    return (uint64_t)piece * pieces;
}

EXPORT("write-at-offsets")
uint64_t write_at_offsets(const char *name, uint32_t size, uint32_t piece, uint32_t pieces) {
    handle file = open(name, size, CREATE | TRUNCATE, WRITE);
    uint64_t total = 0;
    for (uint32_t i = 0; i < pieces; i++) {
        count_result put;
        write_at(file, heap + (1 << 20), piece, (int64_t)total, &put);
        must(put.is_error);
        total += put.count;
    }
    drop_descriptor(file);
    used = 0;
    return total;
}

EXPORT("copy-stdin-to-stdout") uint64_t copy_stdin_to_stdout(uint32_t piece) {
    handle in = get_stdin(), out = get_stdout();
    uint64_t total = drain(in, out, piece);
    drop_input(in);
    drop_output(out);
    used = 0;
    return total;
}

EXPORT("open-and-close") void open_and_close(const char *name, uint32_t size, uint32_t times) {
    while (times--) drop_descriptor(open(name, size, 0, READ));
    used = 0;
}
