;; A valid component that is no recipe.
(component)
