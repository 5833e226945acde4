"""A guest of wasi:sockets 0.3 as text, lifted without callbacks, so that it reads from top to bottom.

`fetch(port)` connects to 127.0.0.1, says `ping` and answers everything that comes, or the number of the error; `listen()` listens on
127.0.0.1 and answers the port; `echo()` takes a connection and sends back what it receives; `drop()` listens no more.
"""

from __future__ import annotations

_TYPES = """
  (import "wasi:sockets/types@0.3.0" (instance $types
    (type $code' (variant (case "access-denied") (case "invalid-state") (case "connection-refused")
      (case "connection-reset") (case "connection-broken") (case "other" (option string))))
    (export "error-code" (type $code (eq $code')))
    (type $family' (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $family')))
    (type $four (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $ipv4 (eq $four)))
    (type $eight (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $ipv6 (eq $eight)))
    (type $socket4 (record (field "port" u16) (field "address" $ipv4)))
    (export "ipv4-socket-address" (type $ipv4-socket (eq $socket4)))
    (type $socket6 (record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $ipv6-socket (eq $socket6)))
    (type $address' (variant (case "ipv4" $ipv4-socket) (case "ipv6" $ipv6-socket)))
    (export "ip-socket-address" (type $address (eq $address')))
    (export "tcp-socket" (type $tcp (sub resource)))
    (type $body (stream u8))
    (type $sockets (stream (own $tcp)))
    (type $done (future (result (error $code))))
    (export "[static]tcp-socket.create" (func (param "address-family" $family)
      (result (result (own $tcp) (error $code)))))
    (export "[method]tcp-socket.bind" (func (param "self" (borrow $tcp)) (param "local-address" $address)
      (result (result (error $code)))))
    (export "[method]tcp-socket.connect" (func async (param "self" (borrow $tcp)) (param "remote-address" $address)
      (result (result (error $code)))))
    (export "[method]tcp-socket.listen" (func (param "self" (borrow $tcp))
      (result (result $sockets (error $code)))))
    (export "[method]tcp-socket.send" (func (param "self" (borrow $tcp)) (param "data" $body) (result $done)))
    (export "[method]tcp-socket.receive" (func (param "self" (borrow $tcp)) (result (tuple $body $done))))
    (export "[method]tcp-socket.get-local-address" (func (param "self" (borrow $tcp))
      (result (result $address (error $code)))))))
  (alias export $types "error-code" (type $code))
  (alias export $types "tcp-socket" (type $tcp))
"""

_ADDRESS = "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"
_IMPORTS = {
    "create": ('canon lower (func $types "[static]tcp-socket.create") MEM', "(param i32 i32)"),
    "bind": ('canon lower (func $types "[method]tcp-socket.bind") MEM', f"(param i32 {_ADDRESS} i32)"),
    "connect": ('canon lower (func $types "[method]tcp-socket.connect") MEM', f"(param i32 {_ADDRESS} i32)"),
    "listen": ('canon lower (func $types "[method]tcp-socket.listen") MEM', "(param i32 i32)"),
    "send": ('canon lower (func $types "[method]tcp-socket.send")', "(param i32 i32) (result i32)"),
    "receive": ('canon lower (func $types "[method]tcp-socket.receive") MEM', "(param i32 i32)"),
    "local": ('canon lower (func $types "[method]tcp-socket.get-local-address") MEM', "(param i32 i32)"),
    "drop": ("canon resource.drop $tcp", "(param i32)"),
    "body.new": ("canon stream.new $body", "(result i64)"),
    "body.read": ("canon stream.read $body MEM", "(param i32 i32 i32) (result i32)"),
    "body.write": ("canon stream.write $body MEM", "(param i32 i32 i32) (result i32)"),
    "body.drop-r": ("canon stream.drop-readable $body", "(param i32)"),
    "body.drop-w": ("canon stream.drop-writable $body", "(param i32)"),
    "sockets.read": ("canon stream.read $sockets MEM", "(param i32 i32 i32) (result i32)"),
    "sockets.drop-r": ("canon stream.drop-readable $sockets", "(param i32)"),
    "done.read": ("canon future.read $done MEM", "(param i32 i32) (result i32)"),
    "done.drop-r": ("canon future.drop-readable $done", "(param i32)"),
    "return-bytes": ("canon task.return (result (list u8)) (memory $mem)", "(param i32 i32)"),
    "return-none": ("canon task.return", ""),
}

_LOOPBACK = "(i32.const 0) (local.get $port) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)" + (
    " (i32.const 0)" * 6
)
_CODE = f"""
    (data (i32.const 1024) "ping")
    (global $listener (mut i32) (i32.const 0))
    (global $sockets (mut i32) (i32.const 0))
    (func $create (result i32)
      (call $create' (i32.const 0) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then unreachable))
      (i32.load (i32.const 68)))
    ;; whether a future said it went well
    (func $check (param $done i32) (result i32)
      (if (i32.and (i32.const 15) (call $done.read (local.get $done) (i32.const 96))) (then unreachable))
      (call $done.drop-r (local.get $done))
      (i32.eqz (i32.load8_u (i32.const 96))))
    (func (export "fetch") (param $port i32)
      (local $tcp i32) (local $pair i64) (local $sent i32) (local $body i32) (local $received i32) (local $n i32)
      (local $got i32)
      (local.set $tcp (call $create))
      (call $connect (local.get $tcp) {_LOOPBACK} (i32.const 64))
      (if (i32.load8_u (i32.const 64))
        (then
          (call $drop (local.get $tcp))
          (i32.store8 (i32.const 1100) (i32.load8_u (i32.const 68)))
          (call $return-bytes (i32.const 1100) (i32.const 1))
          (return)))
      (local.set $pair (call $body.new))
      (local.set $sent (call $send (local.get $tcp) (i32.wrap_i64 (local.get $pair))))
      (call $receive (local.get $tcp) (i32.const 72))
      (local.set $body (i32.load (i32.const 72)))
      (local.set $received (i32.load (i32.const 76)))
      ;; the streams live on without the socket
      (call $drop (local.get $tcp))
      (local.set $n (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))
      (drop (call $body.write (local.get $n) (i32.const 1024) (i32.const 4)))
      (call $body.drop-w (local.get $n))
      (if (i32.eqz (call $check (local.get $sent))) (then unreachable))
      (block $end (loop $more
        (local.set $n (call $body.read (local.get $body) (i32.add (i32.const 65536) (local.get $got)) (i32.const 65536)))
        (local.set $got (i32.add (local.get $got) (i32.shr_u (local.get $n) (i32.const 4))))
        (br_if $more (i32.eqz (i32.and (local.get $n) (i32.const 15))))))
      (call $body.drop-r (local.get $body))
      (if (i32.eqz (call $check (local.get $received)))
        (then (i32.store8 (i32.add (i32.const 65536) (local.get $got)) (i32.const 33))
          (local.set $got (i32.add (local.get $got) (i32.const 1)))))
      (call $return-bytes (i32.const 65536) (local.get $got)))
    (func (export "listen") (result i32) (local $port i32)
      (global.set $listener (call $create))
      (call $bind (global.get $listener) {_LOOPBACK} (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then unreachable))
      (call $listen (global.get $listener) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then unreachable))
      (global.set $sockets (i32.load (i32.const 68)))
      (call $local (global.get $listener) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then unreachable))
      (i32.load16_u (i32.const 72)))
    (func (export "echo") (local $tcp i32) (local $received i32)
      (if (i32.ne (call $sockets.read (global.get $sockets) (i32.const 64) (i32.const 1)) (i32.const 16))
        (then unreachable))
      (local.set $tcp (i32.load (i32.const 64)))
      (call $receive (local.get $tcp) (i32.const 72))
      (local.set $received (i32.load (i32.const 76)))
      (if (i32.eqz (call $check (call $send (local.get $tcp) (i32.load (i32.const 72))))) (then unreachable))
      (if (i32.eqz (call $check (local.get $received))) (then unreachable))
      (call $drop (local.get $tcp))
      (call $return-none))
    (func (export "drop")
      (call $drop (global.get $listener))
      (call $sockets.drop-r (global.get $sockets)))
"""


def _guest() -> str:
    memory = "(memory $mem) (realloc $realloc)"
    names = {name: f"{name}'" if name == "create" else name for name in _IMPORTS}
    canon = "\n".join(f"  (core func ${name} ({how.replace('MEM', memory)}))" for name, (how, _) in _IMPORTS.items())
    imports = "\n".join(f'    (import "" "{name}" (func ${names[name]} {of}))' for name, (_, of) in _IMPORTS.items())
    exports = "\n".join(f'    (export "{name}" (func ${name}))' for name in _IMPORTS)
    return f"""
(component
  {_TYPES}
  (core module $libc (memory (export "mem") 64)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "mem" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
  (type $body (stream u8))
  (type $sockets (stream (own $tcp)))
  (type $done (future (result (error $code))))
{canon}
  (core module $m
    (import "libc" "mem" (memory 1))
{imports}
{_CODE})
  (core instance $m (instantiate $m (with "libc" (instance $libc)) (with "" (instance
{exports}))))
  (func (export "fetch") async (param "port" u16) (result (list u8))
    (canon lift (core func $m "fetch") async (memory $mem) (realloc $realloc)))
  (func (export "listen") (result u16) (canon lift (core func $m "listen")))
  (func (export "echo") async (canon lift (core func $m "echo") async))
  (func (export "drop") (canon lift (core func $m "drop"))))
"""


SOCKETS = _guest()
