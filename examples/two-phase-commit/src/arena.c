// Memory for one run: it is given out from the bottom up and never taken back.
//
// Comes in: sizes. Goes out: memory aligned to 16 bytes, or a trap when there is none.
// Invariant: an instance lives for one run, so that nothing needs to be freed; `free` of a string
// constant is harmless, hence strings can be handed to the generated bindings without a copy.
// Must never: be used where an instance is kept; it would run out.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Set by the linker: where the stack and the static data end.
extern uint8_t __heap_base;

static const size_t PAGE_BYTES = 65536;
static uintptr_t next_free;

void *malloc(size_t bytes) {
  if (next_free == 0) next_free = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
  uintptr_t start = next_free;
  size_t rounded = (bytes + 15) & ~(size_t)15;
  if (rounded < bytes || start + rounded < start) __builtin_trap();
  uintptr_t end = start + rounded;
  size_t have = __builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (end > have) {
    size_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
  }
  next_free = end;
  return (void *)start;
}

void *realloc(void *before, size_t bytes) {
  void *after = malloc(bytes);
  // The old size is not known. Copying more than there was is harmless: the new block lies behind
  // the old one, so all that is read is memory.
  if (before != NULL) memmove(after, before, bytes);
  return after;
}

void *calloc(size_t count, size_t bytes) {
  size_t all;
  if (__builtin_mul_overflow(count, bytes, &all)) __builtin_trap();
  return memset(malloc(all), 0, all);
}

void free(void *before) { (void)before; }
