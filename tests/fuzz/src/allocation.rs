//! How much memory a piece of work has at most.
//!
//! Comes in: every allocation of the process, once [`Counting`] is its global allocator. Goes out:
//! the most bytes that a closure had at one moment on its thread. Must never allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count of bytes for each thread.
#[derive(Debug)]
pub struct Counting;

fn add(bytes: usize) {
    // Fails only while a thread ends, when nobody measures.
    let _ = LIVE.try_with(|live| {
        live.set(live.get().saturating_add(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn remove(bytes: usize) {
    let _ = LIVE.try_with(|live| live.set(live.get().saturating_sub(bytes)));
}

// SAFETY: every call goes to the system's allocator with the same arguments.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        remove(layout.size());
        unsafe { System.dealloc(memory, layout) }
    }

    // Counted as if the old and the new place were there together, which they can be.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        add(bytes);
        remove(layout.size());
        unsafe { System.realloc(memory, layout, bytes) }
    }
}

/// Runs `work` and tells the most bytes that it had at one moment, over what was there before.
/// 0 unless [`Counting`] is the global allocator.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get().saturating_sub(before))
}
