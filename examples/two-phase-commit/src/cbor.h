// The part of CBOR (RFC 8949) that arguments, replies and configurations need.
//
// Comes in: bytes of a caller, who may err or lie; values to write. Goes out: values, bytes.
// Invariant: a reader never passes its end, and once it is `bad` it stays so; a writer only grows.

#ifndef CBOR_H
#define CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Reads items one after another.
typedef struct {
  const uint8_t *at;
  const uint8_t *end;
  bool bad;
} reader;

// Text as it lies in the bytes read; not ended by a zero.
typedef struct {
  const char *at;
  size_t length;
} slice;

reader read_from(const uint8_t *bytes, size_t length);
// Entries of the map that comes next; no bytes at all, and null, are a map of none.
uint64_t read_map(reader *from);
slice read_text(reader *from);
uint64_t read_unsigned(reader *from);
bool read_bool(reader *from);
// Whether null comes next; it is passed over then.
bool read_null(reader *from);
// Whether all was read, and all of it well.
bool read_well(const reader *from);
bool slice_is(slice text, const char *wanted);

// Bytes that grow: text or CBOR.
typedef struct {
  uint8_t *bytes;
  size_t length;
  size_t room;
} writer;

void put_bytes(writer *to, const void *bytes, size_t length);
// Plain text, without a CBOR head.
void put_plain(writer *to, const char *text);
// A number in decimal digits, at least so many, without a CBOR head.
void put_digits(writer *to, uint64_t number, unsigned digits_min);
void write_map(writer *to, uint64_t entries);
void write_text(writer *to, const char *text, size_t length);
void write_word(writer *to, const char *word);
void write_unsigned(writer *to, uint64_t number);

#endif
