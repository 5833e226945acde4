/* A web application: the guest of web.wit, with the canonical ABI written by hand.
 *
 * The path says what to do, so that one guest shows (and tests) all that a server of `wasi:http` components has to cope
 * with: `routes` at the end of this file lists what there is.
 *
 * Memory is a heap that is emptied at the start of each request. */
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module("wasi:" module "@0.2.0"), import_name(name)))
#define HTTP(name) IMPORT("http/types", name)
#define STREAMS(name) IMPORT("io/streams", name)

typedef int32_t handle;
typedef struct { const char *at; uint32_t size; } string;
typedef struct { string name, value; } field;
typedef struct { uint8_t is_error; handle value; } handle_result;
typedef struct { uint8_t some; string value; } maybe_string;
typedef struct { uint8_t is_error; string value; } bytes_result; /* list<u8> or stream-error */
typedef struct { uint8_t kind; string other; } method;
typedef struct { uint8_t is_error; _Alignas(8) handle value; uint8_t rest[32]; } exchange_result; /* or error-code */
typedef struct {
    uint8_t some;
    _Alignas(8) uint8_t taken;
    _Alignas(8) uint8_t is_error;
    _Alignas(8) union { handle response; uint8_t code; } value;
    uint8_t rest[32];
} future_result;
typedef struct { uint8_t some; _Alignas(4) uint8_t taken; uint8_t rest[60]; } trailers_result;
enum { GET, HEAD, POST };
enum { CONNECTION_TIMEOUT = 8, READ_TIMEOUT = 9, DENIED = 15, INTERNAL_ERROR = 38 };

HTTP("[constructor]fields") handle fields_new(void);
HTTP("[method]fields.append") void fields_append(handle, const char *, uint32_t, const char *, uint32_t, void *result);
HTTP("[method]fields.entries") void fields_entries(handle, struct { field *at; uint32_t size; } *);
HTTP("[resource-drop]fields") void fields_drop(handle);
HTTP("[method]incoming-request.method") void request_method(handle, method *);
HTTP("[method]incoming-request.path-with-query") void request_path(handle, maybe_string *);
HTTP("[method]incoming-request.headers") handle request_headers(handle);
HTTP("[method]incoming-request.consume") void request_consume(handle, handle_result *);
HTTP("[resource-drop]incoming-request") void request_drop(handle);
HTTP("[method]incoming-body.stream") void incoming_stream(handle, handle_result *);
HTTP("[static]incoming-body.finish") handle incoming_finish(handle);
HTTP("[resource-drop]incoming-body") void incoming_drop(handle);
HTTP("[method]future-trailers.subscribe") handle trailers_subscribe(handle);
HTTP("[resource-drop]future-trailers") void trailers_drop(handle);
HTTP("[constructor]outgoing-response") handle response_new(handle fields);
HTTP("[method]outgoing-response.set-status-code") int32_t response_status(handle, int32_t);
HTTP("[method]outgoing-response.body") void response_body(handle, handle_result *);
HTTP("[static]response-outparam.set")
void outparam_set(handle, int32_t is_error, int32_t, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);
HTTP("[resource-drop]response-outparam") void outparam_drop(handle);
HTTP("[method]outgoing-body.write") void outgoing_write(handle, handle_result *);
HTTP("[static]outgoing-body.finish") void outgoing_finish(handle, int32_t some, handle trailers, void *result);
HTTP("[constructor]outgoing-request") handle call_new(handle fields);
HTTP("[method]outgoing-request.set-method") int32_t call_method(handle, int32_t, const char *, uint32_t);
HTTP("[method]outgoing-request.set-scheme") int32_t call_scheme(handle, int32_t, int32_t, const char *, uint32_t);
HTTP("[method]outgoing-request.set-authority") int32_t call_authority(handle, int32_t, const char *, uint32_t);
HTTP("[method]outgoing-request.set-path-with-query") int32_t call_path(handle, int32_t, const char *, uint32_t);
HTTP("[method]outgoing-request.body") void call_body(handle, handle_result *);
HTTP("[constructor]request-options") handle options_new(void);
HTTP("[method]request-options.set-first-byte-timeout") int32_t options_first_byte(handle, int32_t, int64_t);
HTTP("[method]request-options.set-between-bytes-timeout") int32_t options_between(handle, int32_t, int64_t);
HTTP("[method]future-incoming-response.subscribe") handle future_subscribe(handle);
HTTP("[method]future-incoming-response.get") void future_get(handle, future_result *);
HTTP("[resource-drop]future-incoming-response") void future_drop(handle);
HTTP("[method]incoming-response.status") int32_t reply_status(handle);
HTTP("[method]incoming-response.consume") void reply_consume(handle, handle_result *);
HTTP("[resource-drop]incoming-response") void reply_drop(handle);
IMPORT("http/outgoing-handler", "handle") void call_send(handle, int32_t some, handle options, exchange_result *);
STREAMS("[method]input-stream.blocking-read") void read_some(handle, int64_t, bytes_result *);
STREAMS("[resource-drop]input-stream") void input_drop(handle);
STREAMS("[method]output-stream.blocking-write-and-flush") void write_all(handle, const char *, uint32_t, void *result);
STREAMS("[resource-drop]output-stream") void output_drop(handle);
IMPORT("io/error", "[resource-drop]error") void error_drop(handle);
IMPORT("io/poll", "[method]pollable.block") void block(handle);
IMPORT("io/poll", "[resource-drop]pollable") void pollable_drop(handle);
IMPORT("clocks/monotonic-clock", "subscribe-duration") handle after(int64_t nanoseconds);

void *memcpy(void *to, const void *from, size_t size) {
    uint8_t *a = to;
    const uint8_t *b = from;
    while (size--) *a++ = *b++;
    return to;
}

void *memset(void *to, int value, size_t size) {
    uint8_t *a = to;
    while (size--) *a++ = (uint8_t)value;
    return to;
}

static char heap[1 << 20];
static uint32_t used;

EXPORT("cabi_realloc") void *guest_realloc(void *old, uint32_t old_size, uint32_t align, uint32_t size) {
    uint32_t start = (used + align - 1) & -align;
    if (size > sizeof heap - start) __builtin_trap();
    used = start + size;
    if (old_size) memcpy(heap + start, old, old_size < size ? old_size : size);
    return heap + start;
}

static string text(const char *literal) {
    string s = {literal, 0};
    while (literal[s.size]) s.size++;
    return s;
}

static int same(string a, string b) {
    if (a.size != b.size) return 0;
    for (uint32_t i = 0; i < a.size; i++)
        if (a.at[i] != b.at[i]) return 0;
    return 1;
}

static uint64_t number(string s) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < s.size && s.at[i] >= '0' && s.at[i] <= '9'; i++) n = n * 10 + (uint64_t)(s.at[i] - '0');
    return n;
}

static string decimal(uint64_t n) {
    char *end = (char *)guest_realloc(NULL, 0, 1, 20) + 20, *at = end;
    do *--at = (char)('0' + n % 10); while (n /= 10);
    return (string){at, (uint32_t)(end - at)};
}

static void add(handle fields, const char *name, string value) {
    uint8_t result[2];
    string n = text(name);
    fields_append(fields, n.at, n.size, value.at, value.size, result);
}

static void sleep(uint64_t milliseconds) {
    handle pollable = after((int64_t)(milliseconds * 1000000));
    block(pollable);
    pollable_drop(pollable);
}

/* -- answering -- */

typedef struct { handle in, out; string query; } request;
typedef struct { handle body, stream; } writer;

static writer respond(handle outparam, int32_t status, handle headers) {
    handle response = response_new(headers);
    response_status(response, status);
    handle_result body, stream;
    response_body(response, &body);
    outgoing_write(body.value, &stream);
    outparam_set(outparam, 0, response, 0, 0, 0, 0, 0, 0);
    return (writer){body.value, stream.value};
}

/* Whether the other end still listens. */
static int put(writer w, string data) {
    struct { uint8_t is_error; _Alignas(4) uint8_t kind; handle error; } result;
    write_all(w.stream, data.at, data.size, &result);
    if (result.is_error && !result.kind) error_drop(result.error);
    return !result.is_error;
}

static void finish(writer w, handle trailers) {
    exchange_result result;
    output_drop(w.stream);
    outgoing_finish(w.body, trailers >= 0, trailers, &result);
}

static void say(handle outparam, int32_t status, string body) {
    handle headers = fields_new();
    add(headers, "content-type", text("text/plain"));
    add(headers, "content-length", decimal(body.size));
    writer w = respond(outparam, status, headers);
    put(w, body);
    finish(w, -1);
}

static void refuse(handle outparam, int32_t code) { outparam_set(outparam, 1, code, 0, 0, 0, 0, 0, 0); }

/* Copy a body piece by piece; nothing is kept. Returns whether all of it came and went. */
static int copy(handle body, writer to) {
    handle_result stream;
    bytes_result got;
    int going = 1;
    incoming_stream(body, &stream);
    for (uint32_t before = used; going; used = before) {
        read_some(stream.value, 1 << 16, &got);
        if (got.is_error) break;
        going = put(to, got.value);
    }
    uint8_t closed = *(uint8_t *)&got.value; /* stream-error: 0 failed, 1 closed */
    if (going && !closed) error_drop((handle)got.value.size), going = 0;
    input_drop(stream.value);
    trailers_drop(incoming_finish(body));
    return going;
}

static void hello(request r) { say(r.out, 200, text("Hello, world!\n")); }

static void echo(request r) {
    handle_result body;
    request_consume(r.in, &body);
    writer w = respond(r.out, 200, fields_new());
    if (copy(body.value, w)) finish(w, -1);
}

static void size(request r) {
    handle_result body, stream;
    bytes_result got;
    uint64_t total = 0;
    request_consume(r.in, &body);
    incoming_stream(body.value, &stream);
    for (uint32_t before = used;; used = before, total += got.value.size) {
        read_some(stream.value, 1 << 16, &got);
        if (got.is_error) break;
    }
    int failed = !*(uint8_t *)&got.value;
    say(r.out, failed ? 400 : 200, decimal(total));
}

static void zeros(request r) {
    static char none[1 << 16];
    writer w = respond(r.out, 200, fields_new());
    for (uint64_t left = number(r.query); left;) {
        uint32_t some = left < sizeof none ? (uint32_t)left : sizeof none;
        if (!put(w, (string){none, some})) return;
        left -= some;
    }
    finish(w, -1);
}

static void wait(request r) {
    sleep(number(r.query));
    say(r.out, 200, text("waited\n"));
}

static void linger(request r) {
    hello(r);
    sleep(number(r.query));
}

static void spin(request r) {
    for (volatile uint32_t i = 0;; i++);
}

static void silent(request r) { outparam_drop(r.out); }

static void trap(request r) { __builtin_trap(); }

static void half(request r) {
    handle headers = fields_new();
    add(headers, "content-length", text("100"));
    put(respond(r.out, 200, headers), text("half"));
    __builtin_trap();
}

static void count(request r) {
    static uint64_t requests;
    say(r.out, 200, decimal(++requests));
}

static void status(request r) {
    handle response = response_new(fields_new());
    response_status(response, (int32_t)number(r.query));
    outparam_set(r.out, 0, response, 0, 0, 0, 0, 0, 0);
}

static void headers(request r) {
    struct { field *at; uint32_t size; } all;
    handle fields = request_headers(r.in);
    fields_entries(fields, (void *)&all);
    writer w = respond(r.out, 200, fields_new());
    for (uint32_t i = 0; i < all.size; i++) {
        put(w, all.at[i].name), put(w, text(": "));
        put(w, all.at[i].value), put(w, text("\n"));
    }
    finish(w, -1);
}

static void trailers(request r) {
    writer w = respond(r.out, 200, fields_new());
    put(w, text("body"));
    handle after = fields_new();
    add(after, "x-sum", text("42"));
    finish(w, after);
}

static void denied(request r) { refuse(r.out, DENIED); }

/* Pass the request on to `authority/path`, body and answer as they come. */
static void pass_on(request r, uint64_t timeout) {
    uint32_t slash = 0;
    while (slash < r.query.size && r.query.at[slash] != '/') slash++;
    handle_result in, out, stream;
    exchange_result sent;
    future_result got;
    method m;
    request_method(r.in, &m);
    handle call = call_new(fields_new());
    call_method(call, m.kind, m.other.at, m.other.size);
    call_scheme(call, 1, 0, NULL, 0);
    call_authority(call, 1, r.query.at, slash);
    call_path(call, 1, r.query.at + slash, r.query.size - slash);
    if (m.kind == POST) call_body(call, &out);
    handle options = options_new();
    options_first_byte(options, 1, (int64_t)timeout * 1000000);
    options_between(options, 1, (int64_t)timeout * 1000000);
    call_send(call, 1, options, &sent);
    if (sent.is_error) return refuse(r.out, *(uint8_t *)&sent.value);
    if (m.kind == POST) {
        request_consume(r.in, &in);
        outgoing_write(out.value, &stream);
        writer w = {out.value, stream.value};
        if (copy(in.value, w)) finish(w, -1);
    }
    handle pollable = future_subscribe(sent.value);
    block(pollable);
    pollable_drop(pollable);
    future_get(sent.value, &got);
    if (got.is_error) return refuse(r.out, got.value.code);
    writer back = respond(r.out, reply_status(got.value.response), fields_new());
    reply_consume(got.value.response, &in);
    if (copy(in.value, back)) finish(back, -1);
}

static void fetch(request r) { pass_on(r, 10000); }

static void hurry(request r) { pass_on(r, 100); }

static const struct { const char *path; void (*run)(request); } routes[] = {
    {"/", hello},            /* a line of text */
    {"/echo", echo},         /* the request's body, as it comes */
    {"/size", size},         /* how many bytes it has */
    {"/zeros", zeros},       /* ?N zero bytes */
    {"/wait", wait},         /* answers after ?N milliseconds */
    {"/linger", linger},     /* answers, and goes on for ?N milliseconds */
    {"/spin", spin},         /* computes for ever */
    {"/silent", silent},     /* gives no answer */
    {"/trap", trap},         /* fails */
    {"/half", half},         /* fails in the middle of its answer */
    {"/count", count},       /* how many requests came to /count of this instance */
    {"/status", status},     /* status ?N without a body */
    {"/headers", headers},   /* the request's headers */
    {"/trailers", trailers}, /* a body with trailers */
    {"/denied", denied},     /* an error in place of a response */
    {"/fetch", fetch},       /* passes the request on to ?AUTHORITY/PATH */
    {"/hurry", hurry},       /* the same with timeouts of 100 ms */
};

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void serve(handle in, handle out) {
    maybe_string target;
    used = 0;
    request_path(in, &target);
    string path = target.value, query = {NULL, 0};
    for (uint32_t i = 0; i < path.size; i++)
        if (path.at[i] == '?') {
            query = (string){path.at + i + 1, path.size - i - 1};
            path.size = i;
            break;
        }
    request r = {in, out, query};
    for (uint32_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (same(path, text(routes[i].path))) return routes[i].run(r);
    say(out, 404, text("not found\n"));
}
