;; A component whose core module never finishes starting. What it exports under the contract's name is
;; empty; whoever only looks at names lets it pass.
(component
  (core module $spin
    (func $start (loop $again (br $again)))
    (start $start))
  (core instance (instantiate $spin))
  (instance $guest)
  (export "quorate:recipe/guest@1.0.0" (instance $guest)))
