;; A core module as a toolchain for WASI makes it: no server offers what it imports.
(module
  (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_initialize")))
