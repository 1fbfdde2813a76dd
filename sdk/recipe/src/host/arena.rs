//! The guest's allocator: an arena that never frees, right because an instance lives for one run.
//!
//! Comes in: allocations of one run. Goes out: addresses that grow.
//! Invariant: `next <= end`, and everything between them is untouched memory of this instance.
//! The arena is part of the initial memory, so that an ordinary run never grows it: growing costs
//! the server several page faults per run, more than the run itself.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::{Cell, UnsafeCell};
use core::ptr::null_mut;

/// With the 64 KiB stack this keeps an ordinary run within three 64 KiB pages.
const ARENA_BYTES: usize = 48 << 10;
const PAGE_BYTES: usize = 64 << 10;

#[repr(align(16))]
struct Arena {
    memory: UnsafeCell<[u8; ARENA_BYTES]>,
    next: Cell<usize>,
    /// Zero until the first allocation.
    end: Cell<usize>,
}

// SAFETY: wasm32-unknown-unknown without the threads proposal has one thread.
unsafe impl Sync for Arena {}

#[global_allocator]
static ARENA: Arena =
    Arena { memory: UnsafeCell::new([0; ARENA_BYTES]), next: Cell::new(0), end: Cell::new(0) };

impl Arena {
    /// Takes `layout.size()` bytes of what is left; `None` if that is too little.
    fn take(&self, layout: Layout) -> Option<usize> {
        let start = self.next.get().checked_next_multiple_of(layout.align())?;
        let end = start.checked_add(layout.size())?;
        if end > self.end.get() {
            return None;
        }
        self.next.set(end);
        Some(start)
    }

    /// Adds fresh pages; what is left is kept only when the pages follow on it.
    fn grow(&self, layout: Layout) -> Option<()> {
        let bytes = layout.size().checked_add(layout.align())?;
        let pages = bytes.div_ceil(PAGE_BYTES);
        let start = memory_size(0).checked_mul(PAGE_BYTES)?;
        if memory_grow(0, pages) == usize::MAX {
            return None;
        }
        if self.end.get() != start {
            self.next.set(start);
        }
        self.end.set(start + pages * PAGE_BYTES);
        Some(())
    }
}

// SAFETY: `take` gives out each address once, aligned, within the arena or pages grown for it; only
// the newest allocation is ever resized in place.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.end.get() == 0 {
            let start = self.memory.get() as usize;
            self.next.set(start);
            self.end.set(start + ARENA_BYTES);
        }
        if let Some(address) = self.take(layout) {
            return address as *mut u8;
        }
        match self.grow(layout).and_then(|()| self.take(layout)) {
            Some(address) => address as *mut u8,
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if address as usize + layout.size() == self.next.get() {
            self.next.set(address as usize);
        }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let start = address as usize;
        let is_newest = start + layout.size() == self.next.get();
        if is_newest && start.checked_add(size).is_some_and(|end| end <= self.end.get()) {
            self.next.set(start + size);
            return address;
        }
        if size <= layout.size() {
            return address;
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
            return null_mut();
        };
        // SAFETY: the caller vouches for `address` and `layout`; the new memory is larger and apart.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                core::ptr::copy_nonoverlapping(address, moved, layout.size());
            }
            moved
        }
    }
}
