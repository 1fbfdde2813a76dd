;; A component that asks for the environment of a process.
(component
  (import "wasi:cli/environment@0.2.0" (instance
    (export "get-arguments" (func (result (list string)))))))
