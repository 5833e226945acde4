;; The component around the core module that greeter.c compiles to; build.py puts that one where the empty module stands.
(component
  (import "example:greeter/log@1.0.0" (instance $log
    (type $l (enum "info" "warning"))
    (export "level" (type $level (eq $l)))
    (export "log" (func (param "level" $level) (param "message" string)))))

  (core module)  ;; number 0: one with a name of its own is not empty

  ;; The guest's memory is needed to lower `log`, which is needed to instantiate the guest: a table stands in between.
  (core module $Late
    (table (export "table") 2 2 funcref)
    (type $log (func (param i32 i32 i32)))
    (type $drop (func (param i32)))
    (func (export "log") (param i32 i32 i32)
      (call_indirect (type $log) (local.get 0) (local.get 1) (local.get 2) (i32.const 0)))
    (func (export "drop") (param i32) (call_indirect (type $drop) (local.get 0) (i32.const 1))))
  (core instance $late (instantiate $Late))
  (type $counter' (resource (rep i32) (dtor (core func $late "drop"))))
  (core func $counter-handle (canon resource.new $counter'))
  (core instance $guest (instantiate 0
    (with "example:greeter/log@1.0.0" (instance (export "log" (func $late "log"))))
    (with "[export]example:greeter/greetings@1.0.0" (instance (export "[resource-new]counter" (func $counter-handle))))))
  (core func $log (canon lower (func $log "log") (memory (core memory $guest "memory")) string-encoding=utf8))
  (core module $Fill
    (import "" "table" (table 2 2 funcref))
    (import "" "log" (func $log (param i32 i32 i32)))
    (import "" "drop" (func $drop (param i32)))
    (elem (i32.const 0) func $log $drop))
  (core instance (instantiate $Fill (with "" (instance
    (export "table" (table $late "table")) (export "log" (func $log)) (export "drop" (func $guest "counter-drop"))))))

  (func (export "hello") (param "name" string) (result string) (canon lift (core func $guest "hello")
    (memory (core memory $guest "memory")) (realloc (core func $guest "realloc"))
    (post-return (core func $guest "post-return"))))

  (type $person' (record (field "name" string) (field "age" u8)))
  (func $greet (param "who" $person') (result string) (canon lift (core func $guest "greet")
    (memory (core memory $guest "memory")) (realloc (core func $guest "realloc"))
    (post-return (core func $guest "post-return"))))
  (func $greet-all (param "people" (list $person')) (result (result (list string) (error string)))
    (canon lift (core func $guest "greet-all")
      (memory (core memory $guest "memory")) (realloc (core func $guest "realloc"))
      (post-return (core func $guest "post-return"))))
  (func $new (param "start" u32) (result (own $counter')) (canon lift (core func $guest "counter-new")))
  (func $increment (param "self" (borrow $counter')) (param "by" u32) (result u32)
    (canon lift (core func $guest "counter-increment")))

  ;; An interface with types of its own is exported by way of a component that gives those types their names.
  (component $Greetings
    (type $person' (record (field "name" string) (field "age" u8)))
    (import "person" (type $person (eq $person')))
    (import "counter" (type $counter (sub resource)))
    (import "greet" (func $greet (param "who" $person) (result string)))
    (import "greet-all" (func $greet-all (param "people" (list $person)) (result (result (list string) (error string)))))
    (import "new" (func $new (param "start" u32) (result (own $counter))))
    (import "increment" (func $increment (param "self" (borrow $counter)) (param "by" u32) (result u32)))
    (export $Person "person" (type $person))
    (export $Counter "counter" (type $counter))
    (export "greet" (func $greet) (func (param "who" $Person) (result string)))
    (export "greet-all" (func $greet-all)
      (func (param "people" (list $Person)) (result (result (list string) (error string)))))
    (export "[constructor]counter" (func $new) (func (param "start" u32) (result (own $Counter))))
    (export "[method]counter.increment" (func $increment)
      (func (param "self" (borrow $Counter)) (param "by" u32) (result u32))))
  (instance $greetings (instantiate $Greetings
    (with "person" (type $person')) (with "counter" (type $counter')) (with "greet" (func $greet))
    (with "greet-all" (func $greet-all)) (with "new" (func $new)) (with "increment" (func $increment))))
  (export "example:greeter/greetings@1.0.0" (instance $greetings)))
