"""A handler of wasi:http 0.3 as text. It is lifted without callback, so that it reads from top to bottom.

What it does depends on the first letter of the path:

| | |
|---|---|
| `/hello` | writes `hello` after it has returned, and trailers `x-end: 1`, and then counts what it was told of the transmission |
| `/echo` | gives back the body and the trailers of the request as they are |
| `/forward/AUTHORITY` | sends method, body and trailers of the request to `/echo?` of AUTHORITY, and gives back the response |
| `/get/AUTHORITY` | gets `/echo?` of AUTHORITY: a request without contents |
| `/nothing` | a response without contents, status 204 |
| `/size` | says that there are 10 bytes, and writes 5 |
| `/ok` | how many transmissions were good and bad so far, as two bytes |
| `/denied`, `/trap`, `/after` | an error; a trap; a trap after it has returned an empty response |
| `/broken` | writes `hello`, and traps where the trailers should come |
"""

from __future__ import annotations

_TYPES = """
  (import "wasi:http/types@0.3.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "request" (type $request (sub resource)))
    (export "request-options" (type $options (sub resource)))
    (export "response" (type $response (sub resource)))
    (type $code' (variant
      (case "HTTP-request-denied") (case "connection-refused") (case "connection-terminated")
      (case "HTTP-response-body-size" (option u64)) (case "HTTP-protocol-error") (case "HTTP-request-URI-invalid")
      (case "internal-error" (option string))))
    (export "error-code" (type $code (eq $code')))
    (type $header-error' (variant (case "invalid-syntax") (case "forbidden") (case "immutable") (case "size-exceeded")
      (case "other" (option string))))
    (export "header-error" (type $header-error (eq $header-error')))
    (type $method' (variant (case "get") (case "head") (case "post") (case "put") (case "delete") (case "connect")
      (case "options") (case "trace") (case "patch") (case "other" string)))
    (export "method" (type $method (eq $method')))
    (type $scheme' (variant (case "HTTP") (case "HTTPS") (case "other" string)))
    (export "scheme" (type $scheme (eq $scheme')))
    (type $body (stream u8))
    (type $trailers (future (result (option (own $fields)) (error $code))))
    (type $done (future (result (error $code))))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]fields.append" (func (param "self" (borrow $fields)) (param "name" string)
      (param "value" (list u8)) (result (result (error $header-error)))))
    (export "[static]request.new" (func (param "headers" (own $fields)) (param "contents" (option $body))
      (param "trailers" $trailers) (param "options" (option (own $options))) (result (tuple (own $request) $done))))
    (export "[method]request.get-method" (func (param "self" (borrow $request)) (result $method)))
    (export "[method]request.set-method" (func (param "self" (borrow $request)) (param "method" $method)
      (result (result))))
    (export "[method]request.get-path-with-query" (func (param "self" (borrow $request)) (result (option string))))
    (export "[method]request.set-path-with-query" (func (param "self" (borrow $request))
      (param "path-with-query" (option string)) (result (result))))
    (export "[method]request.set-scheme" (func (param "self" (borrow $request)) (param "scheme" (option $scheme))
      (result (result))))
    (export "[method]request.set-authority" (func (param "self" (borrow $request)) (param "authority" (option string))
      (result (result))))
    (export "[static]request.consume-body" (func (param "this" (own $request)) (param "res" $done)
      (result (tuple $body $trailers))))
    (export "[static]response.new" (func (param "headers" (own $fields)) (param "contents" (option $body))
      (param "trailers" $trailers) (result (tuple (own $response) $done))))
    (export "[method]response.set-status-code" (func (param "self" (borrow $response)) (param "status-code" u16)
      (result (result))))))
  (alias export $types "fields" (type $fields))
  (alias export $types "request" (type $request))
  (alias export $types "response" (type $response))
  (alias export $types "error-code" (type $code))
  (type $answer (result (own $response) (error $code)))
  (import "wasi:http/client@0.3.0" (instance $client
    (alias outer 1 $request (type $request')) (export "request" (type $request (eq $request')))
    (alias outer 1 $response (type $response')) (export "response" (type $response (eq $response')))
    (alias outer 1 $code (type $code')) (export "error-code" (type $code (eq $code')))
    (export "send" (func async (param "request" (own $request)) (result (result (own $response) (error $code)))))))
"""

_IMPORTS = {
    "fields": ('canon lower (func $types "[constructor]fields")', "(result i32)"),
    "append": ('canon lower (func $types "[method]fields.append") MEM', "(param i32 i32 i32 i32 i32 i32)"),
    "request.new": ('canon lower (func $types "[static]request.new") MEM', "(param i32 i32 i32 i32 i32 i32 i32)"),
    "get-method": ('canon lower (func $types "[method]request.get-method") MEM', "(param i32 i32)"),
    "set-method": (
        'canon lower (func $types "[method]request.set-method") MEM',
        "(param i32 i32 i32 i32) (result i32)",
    ),
    "get-path": ('canon lower (func $types "[method]request.get-path-with-query") MEM', "(param i32 i32)"),
    "set-path": (
        'canon lower (func $types "[method]request.set-path-with-query") MEM',
        "(param i32 i32 i32 i32) (result i32)",
    ),
    "set-scheme": (
        'canon lower (func $types "[method]request.set-scheme") MEM',
        "(param i32 i32 i32 i32 i32) (result i32)",
    ),
    "set-authority": (
        'canon lower (func $types "[method]request.set-authority") MEM',
        "(param i32 i32 i32 i32) (result i32)",
    ),
    "consume": ('canon lower (func $types "[static]request.consume-body") MEM', "(param i32 i32 i32)"),
    "response.new": ('canon lower (func $types "[static]response.new") MEM', "(param i32 i32 i32 i32 i32)"),
    "set-status": ('canon lower (func $types "[method]response.set-status-code")', "(param i32 i32) (result i32)"),
    "send": ('canon lower (func $client "send") MEM', "(param i32 i32)"),
    "drop-request": ("canon resource.drop $request", "(param i32)"),
    "body.new": ("canon stream.new $body", "(result i64)"),
    "body.write": ("canon stream.write $body MEM", "(param i32 i32 i32) (result i32)"),
    "body.drop-w": ("canon stream.drop-writable $body", "(param i32)"),
    "trailers.new": ("canon future.new $trailers", "(result i64)"),
    "trailers.write": ("canon future.write $trailers MEM", "(param i32 i32) (result i32)"),
    "trailers.drop-w": ("canon future.drop-writable $trailers", "(param i32)"),
    "done.new": ("canon future.new $done", "(result i64)"),
    "done.read": ("canon future.read $done MEM", "(param i32 i32) (result i32)"),
    "done.write": ("canon future.write $done MEM", "(param i32 i32) (result i32)"),
    "done.drop-r": ("canon future.drop-readable $done", "(param i32)"),
    "done.drop-w": ("canon future.drop-writable $done", "(param i32)"),
    "return": ("canon task.return (result $answer) (memory $mem)", "(param i32 i32 i32 i64 i32)"),
}

_CODE = r"""
    (data (i32.const 1024) "hello\nx-end1/echo?content-length10")
    (global $good (mut i32) (i32.const 0))
    (global $bad (mut i32) (i32.const 0))
    (func $low (param i64) (result i32) (i32.wrap_i64 (local.get 0)))
    (func $high (param i64) (result i32) (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32))))
    (func $ok (param $response i32)
      (call $return (i32.const 0) (local.get $response) (i32.const 0) (i64.const 0) (i32.const 0)))
    (func $denied (call $return (i32.const 1) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0)))
    ;; a response; its handle, and that of the future at 100
    (func $respond (param $fields i32) (param $some i32) (param $body i32) (param $trailers i32) (result i32)
      (call $response.new (local.get $fields) (local.get $some) (local.get $body) (local.get $trailers) (i32.const 96))
      (i32.load (i32.const 96)))
    ;; waits for a transmission, and counts how it went
    (func $count (param $done i32)
      (if (i32.and (i32.const 15) (call $done.read (local.get $done) (i32.const 160))) (then (unreachable)))
      (if (i32.load8_u (i32.const 160))
        (then (global.set $bad (i32.add (global.get $bad) (i32.const 1))))
        (else (global.set $good (i32.add (global.get $good) (i32.const 1)))))
      (call $done.drop-r (local.get $done)))
    (func $write (param $w i32) (param $at i32) (param $n i32)
      (drop (call $body.write (local.get $w) (local.get $at) (local.get $n)))
      (call $body.drop-w (local.get $w)))
    ;; trailers: none, or the fields given
    (func $end (param $w i32) (param $fields i32)
      (i32.store8 (i32.const 200) (i32.const 0))
      (i32.store8 (i32.const 208) (i32.ne (local.get $fields) (i32.const 0)))
      (i32.store (i32.const 212) (local.get $fields))
      (drop (call $trailers.write (local.get $w) (i32.const 200)))
      (call $trailers.drop-w (local.get $w)))
    ;; the body (80) and the trailers (84) of a request; the writable end of `res`
    (func $take (param $request i32) (result i32) (local $res i64)
      (local.set $res (call $done.new))
      (call $consume (local.get $request) (call $low (local.get $res)) (i32.const 80))
      (call $high (local.get $res)))
    (func $say (param $w i32) (param $code i32)
      (i32.store8 (i32.const 240) (local.get $code))
      (drop (call $done.write (local.get $w) (i32.const 240)))
      (call $done.drop-w (local.get $w)))
    (func $text (param $fields i32) (param $at i32) (param $n i32)
      (local $body i64) (local $trailers i64) (local $end i32)
      (local.set $body (call $body.new))
      (local.set $trailers (call $trailers.new))
      (call $ok (call $respond (local.get $fields) (i32.const 1) (call $low (local.get $body))
        (call $low (local.get $trailers))))
      (local.set $end (call $fields))
      (call $append (local.get $end) (i32.const 1030) (i32.const 5) (i32.const 1035) (i32.const 1) (i32.const 300))
      (call $write (call $high (local.get $body)) (local.get $at) (local.get $n))
      (call $end (call $high (local.get $trailers)) (local.get $end))
      (call $count (i32.load (i32.const 100))))
    (func $broken (local $body i64) (local $trailers i64)
      (local.set $body (call $body.new))
      (local.set $trailers (call $trailers.new))
      (call $ok (call $respond (call $fields) (i32.const 1) (call $low (local.get $body)) (call $low (local.get $trailers))))
      (call $write (call $high (local.get $body)) (i32.const 1024) (i32.const 5))
      (unreachable))
    (func $empty (param $status i32) (local $trailers i64) (local $response i32)
      (local.set $trailers (call $trailers.new))
      (local.set $response (call $respond (call $fields) (i32.const 0) (i32.const 0) (call $low (local.get $trailers))))
      (drop (call $set-status (local.get $response) (local.get $status)))
      (call $ok (local.get $response))
      (call $end (call $high (local.get $trailers)) (i32.const 0)))
    (func $address (param $request i32) (param $from i32)
      (local $at i32)
      (local.set $at (i32.load (i32.const 68)))
      (drop (call $set-scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
      (drop (call $set-authority (local.get $request) (i32.const 1) (i32.add (local.get $at) (local.get $from))
        (i32.sub (i32.load (i32.const 72)) (local.get $from))))
      (drop (call $set-path (local.get $request) (i32.const 1) (i32.const 1036) (i32.const 6))))
    ;; sends a request, and answers with what comes of it
    (func $pass (param $request i32)
      (call $send (local.get $request) (i32.const 320))
      (if (i32.load8_u (i32.const 320))
        (then (call $return (i32.const 1) (i32.load8_u (i32.const 328)) (i32.load8_u (i32.const 336))
          (i64.load32_u (i32.const 340)) (i32.load (i32.const 344))))
        (else (call $ok (i32.load (i32.const 328))))))
    (func $forward (param $request i32) (local $res i32) (local $new i32)
      (call $get-method (local.get $request) (i32.const 400))
      (local.set $res (call $take (local.get $request)))
      (call $request.new (call $fields) (i32.const 1) (i32.load (i32.const 80)) (i32.load (i32.const 84)) (i32.const 0)
        (i32.const 0) (i32.const 88))
      (local.set $new (i32.load (i32.const 88)))
      (drop (call $set-method (local.get $new) (i32.load8_u (i32.const 400)) (i32.load (i32.const 404))
        (i32.load (i32.const 408))))
      (call $address (local.get $new) (i32.const 9))
      (call $pass (local.get $new))
      (call $say (local.get $res) (i32.const 0))
      (call $count (i32.load (i32.const 92))))
    (func $get (local $trailers i64) (local $new i32)
      (local.set $trailers (call $trailers.new))
      (call $request.new (call $fields) (i32.const 0) (i32.const 0) (call $low (local.get $trailers)) (i32.const 0)
        (i32.const 0) (i32.const 88))
      (local.set $new (i32.load (i32.const 88)))
      (call $address (local.get $new) (i32.const 5))
      (call $background (call $high (local.get $trailers)))
      (call $pass (local.get $new))
      (call $count (i32.load (i32.const 92))))
    ;; an asynchronous write of the trailers, which nobody waits for
    (func $background (param $w i32)
      (i64.store (i32.const 200) (i64.const 0))
      (i64.store (i32.const 208) (i64.const 0))
      (drop (call $trailers.start (local.get $w) (i32.const 200))))
    (func (export "handle") (param $request i32) (local $letter i32) (local $fields i32) (local $res i32)
      (call $get-path (local.get $request) (i32.const 64))
      (local.set $letter (i32.load8_u offset=1 (i32.load (i32.const 68))))
      (local.set $fields (call $fields))
      (if (i32.eq (local.get $letter) (i32.const 116)) (then (unreachable)))
      (if (i32.eq (local.get $letter) (i32.const 102)) (then (call $forward (local.get $request)) (return)))
      (if (i32.eq (local.get $letter) (i32.const 101))
        (then
          (local.set $res (call $take (local.get $request)))
          (call $ok (call $respond (local.get $fields) (i32.const 1) (i32.load (i32.const 80)) (i32.load (i32.const 84))))
          (call $count (i32.load (i32.const 100)))
          (call $say (local.get $res) (i32.const 0))
          (return)))
      (call $drop-request (local.get $request))
      (if (i32.eq (local.get $letter) (i32.const 103)) (then (call $get) (return)))
      (if (i32.eq (local.get $letter) (i32.const 104))
        (then (call $text (local.get $fields) (i32.const 1024) (i32.const 6)) (return)))
      (if (i32.eq (local.get $letter) (i32.const 115))
        (then
          (call $append (local.get $fields) (i32.const 1042) (i32.const 14) (i32.const 1056) (i32.const 2)
            (i32.const 300))
          (call $text (local.get $fields) (i32.const 1024) (i32.const 5))
          (return)))
      (if (i32.eq (local.get $letter) (i32.const 111))
        (then
          (i32.store8 (i32.const 600) (global.get $good))
          (i32.store8 (i32.const 601) (global.get $bad))
          (call $text (local.get $fields) (i32.const 600) (i32.const 2))
          (return)))
      (if (i32.eq (local.get $letter) (i32.const 98)) (then (call $broken) (return)))
      (if (i32.eq (local.get $letter) (i32.const 110)) (then (call $empty (i32.const 204)) (return)))
      (if (i32.eq (local.get $letter) (i32.const 97)) (then (call $empty (i32.const 200)) (unreachable)))
      (call $denied))
"""

_IMPORTS["trailers.start"] = ("canon future.write $trailers async MEM", "(param i32 i32) (result i32)")


def _guest() -> str:
    memory = "(memory $mem) (realloc $realloc)"
    canon = "\n".join(f"  (core func ${name} ({how.replace('MEM', memory)}))" for name, (how, _) in _IMPORTS.items())
    imports = "\n".join(f'    (import "" "{name}" (func ${name} {of}))' for name, (_, of) in _IMPORTS.items())
    exports = "\n".join(f'    (export "{name}" (func ${name}))' for name in _IMPORTS)
    return f"""
(component
  {_TYPES}
  (core module $libc (memory (export "mem") 16)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "mem" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
  (type $body (stream u8))
  (type $trailers (future (result (option (own $fields)) (error $code))))
  (type $done (future (result (error $code))))
{canon}
  (core module $m
    (import "libc" "mem" (memory 1))
{imports}
{_CODE})
  (core instance $m (instantiate $m (with "libc" (instance $libc)) (with "" (instance
{exports}))))
  (func $handle async (param "request" (own $request)) (result $answer)
    (canon lift (core func $m "handle") async (memory $mem) (realloc $realloc)))
  (instance $api (export "request" (type $request)) (export "response" (type $response))
    (export "error-code" (type $code)) (export "handle" (func $handle)))
  (export "wasi:http/handler@0.3.0" (instance $api)))
"""


HANDLER = _guest()

MIDDLEWARE = f"""
(component
  {_TYPES.replace("wasi:http/client", "wasi:http/handler").replace('"send"', '"handle"')}
  (core module $libc (memory (export "mem") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "mem" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $next (canon lower (func $client "handle") (memory $mem) (realloc $realloc)))
  (core func $return (canon task.return (result $answer) (memory $mem)))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "next" (func $next (param i32 i32)))
    (import "" "return" (func $return (param i32 i32 i32 i64 i32)))
    (func (export "handle") (param $request i32)
      (call $next (local.get $request) (i32.const 64))
      (call $return (i32.load8_u (i32.const 64)) (i32.load (i32.const 72)) (i32.const 0) (i64.const 0) (i32.const 0))))
  (core instance $m (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "next" (func $next)) (export "return" (func $return))))))
  (func $handle async (param "request" (own $request)) (result $answer)
    (canon lift (core func $m "handle") async (memory $mem) (realloc $realloc)))
  (instance $api (export "request" (type $request)) (export "response" (type $response))
    (export "error-code" (type $code)) (export "handle" (func $handle)))
  (export "wasi:http/handler@0.3.0" (instance $api)))
"""
"""Hands every request to the next handler."""
