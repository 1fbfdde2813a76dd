// See cbor.h.

#include "cbor.h"

#include <stdlib.h>
#include <string.h>

enum { UNSIGNED = 0, TEXT = 3, MAP = 5, SIMPLE = 7 };
enum { FALSE_VALUE = 20, TRUE_VALUE = 21, NULL_VALUE = 22 };

reader read_from(const uint8_t *bytes, size_t length) {
  return (reader){.at = bytes, .end = bytes + length, .bad = false};
}

// The argument of an item's head, if the item is of this major type; items without a length of
// their own count as bad.
static uint64_t read_head(reader *from, unsigned major) {
  if (from->bad || from->at == from->end || *from->at >> 5 != major) {
    from->bad = true;
    return 0;
  }
  unsigned low = *from->at++ & 31;
  if (low < 24) return low;
  size_t bytes = (size_t)1 << (low - 24);
  if (low > 27 || (size_t)(from->end - from->at) < bytes) {
    from->bad = true;
    return 0;
  }
  uint64_t value = 0;
  while (bytes-- > 0) value = value << 8 | *from->at++;
  return value;
}

uint64_t read_map(reader *from) {
  if (from->at == from->end || read_null(from)) return 0;
  return read_head(from, MAP);
}

slice read_text(reader *from) {
  uint64_t length = read_head(from, TEXT);
  if (from->bad || length > (uint64_t)(from->end - from->at)) {
    from->bad = true;
    return (slice){.at = "", .length = 0};
  }
  slice text = {.at = (const char *)from->at, .length = (size_t)length};
  from->at += length;
  return text;
}

uint64_t read_unsigned(reader *from) { return read_head(from, UNSIGNED); }

bool read_bool(reader *from) {
  uint64_t value = read_head(from, SIMPLE);
  if (value != FALSE_VALUE && value != TRUE_VALUE) from->bad = true;
  return value == TRUE_VALUE;
}

bool read_null(reader *from) {
  if (from->bad || from->at == from->end || *from->at != (SIMPLE << 5 | NULL_VALUE)) return false;
  from->at++;
  return true;
}

bool read_well(const reader *from) { return !from->bad && from->at == from->end; }

bool slice_is(slice text, const char *wanted) {
  return text.length == strlen(wanted) && memcmp(text.at, wanted, text.length) == 0;
}

void put_bytes(writer *to, const void *bytes, size_t length) {
  if (to->room - to->length < length) {
    to->room = to->length + length + 64;
    to->bytes = realloc(to->bytes, to->room);
  }
  memcpy(to->bytes + to->length, bytes, length);
  to->length += length;
}

void put_plain(writer *to, const char *text) { put_bytes(to, text, strlen(text)); }

void put_digits(writer *to, uint64_t number, unsigned digits_min) {
  char digits[20];
  unsigned used = 0;
  do {
    digits[sizeof digits - ++used] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0 || used < digits_min);
  put_bytes(to, digits + sizeof digits - used, used);
}

static void write_head(writer *to, unsigned major, uint64_t value) {
  uint8_t head[9];
  unsigned bytes = value < 24 ? 0 : value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;
  unsigned low = bytes == 0 ? (unsigned)value : bytes == 1 ? 24 : bytes == 2 ? 25 : bytes == 4 ? 26 : 27;
  head[0] = (uint8_t)(major << 5 | low);
  for (unsigned i = 0; i < bytes; i++) head[1 + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
  put_bytes(to, head, 1 + bytes);
}

void write_map(writer *to, uint64_t entries) { write_head(to, MAP, entries); }

void write_text(writer *to, const char *text, size_t length) {
  write_head(to, TEXT, length);
  put_bytes(to, text, length);
}

void write_word(writer *to, const char *word) { write_text(to, word, strlen(word)); }

void write_unsigned(writer *to, uint64_t number) { write_head(to, UNSIGNED, number); }
