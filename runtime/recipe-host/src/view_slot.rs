//! How a run's view of the tree reaches the host functions.
//!
//! Comes in: a borrowed view, for one call. Goes out: access to it from within that call.
//! A store's data must be `'static`, the view is not: a pointer bridges the two.
//! Invariant: the pointer is set only while `lend` is on the stack below, and `lend` holds the view
//! borrowed mutably for all of that time. Must never: hand out the pointer, or keep it after the call.

use crate::run_state::Run;
use quorate_machine::RecipeView;
use std::ptr::NonNull;
use wasmtime::Store;

/// Empty, or the view lent to the call under way.
#[derive(Default)]
pub(crate) struct ViewSlot(Option<NonNull<RecipeView<'static>>>);

impl ViewSlot {
    /// Uses the view; `None` outside of [`lend`].
    pub(crate) fn with<R>(&mut self, visit: impl FnOnce(&mut RecipeView<'_>) -> R) -> Option<R> {
        let mut view = self.0?;
        // SAFETY: `lend` alone fills the slot, from a `&mut RecipeView` that it keeps borrowed until
        // it has emptied the slot again, also when unwinding; so the pointer is valid and nobody
        // else uses the view now. `&mut self` excludes a second reference from here. The lifetime
        // `'static` is not shown to `visit`, which must work for every lifetime.
        #[allow(unsafe_code)]
        let view = unsafe { view.as_mut() };
        Some(visit(view))
    }
}

/// Runs `call` while host functions of the store can reach `view`.
pub(crate) fn lend<R>(
    store: &mut Store<Run>,
    view: &mut RecipeView<'_>,
    call: impl FnOnce(&mut Store<Run>) -> R,
) -> R {
    struct Lent<'s>(&'s mut Store<Run>);
    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            self.0.data_mut().view = ViewSlot(None);
        }
    }
    let lent = Lent(store);
    lent.0.data_mut().view = ViewSlot(Some(NonNull::from(view).cast()));
    call(lent.0)
}
