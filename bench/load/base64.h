// Base64 (RFC 4648 section 4), as media frames carry audio.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char BASE64_ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Returns the characters written; no terminator.
static inline int base64_encode(const uint8_t *bytes, int count, char *text) {
  char *out = text;
  int i = 0;
  for (; i + 2 < count; i += 3) {
    uint32_t group = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
    *out++ = BASE64_ALPHABET[group >> 18];
    *out++ = BASE64_ALPHABET[group >> 12 & 63];
    *out++ = BASE64_ALPHABET[group >> 6 & 63];
    *out++ = BASE64_ALPHABET[group & 63];
  }
  if (i < count) {
    bool two = i + 1 < count;
    uint32_t group = (uint32_t)bytes[i] << 16 | (two ? (uint32_t)bytes[i + 1] << 8 : 0);
    *out++ = BASE64_ALPHABET[group >> 18];
    *out++ = BASE64_ALPHABET[group >> 12 & 63];
    *out++ = two ? BASE64_ALPHABET[group >> 6 & 63] : '=';
    *out++ = '=';
  }
  return (int)(out - text);
}

// The value of each letter; -1 for any other character.
static inline const int8_t *base64_values(void) {
  static int8_t values[256];
  static bool filled;
  if (!filled) {
    memset(values, -1, sizeof values);
    for (int i = 0; i < 64; i++) values[(uint8_t)BASE64_ALPHABET[i]] = (int8_t)i;
    filled = true;
  }
  return values;
}

// Stops at padding, at any other foreign character, or when `room` is full. Returns the bytes written.
static inline int base64_decode(const char *text, int count, uint8_t *bytes, int room) {
  const int8_t *values = base64_values();
  int written = 0, bits = 0, i = 0;
  uint32_t group = 0;
  for (; i + 4 <= count && written + 3 <= room; i += 4) {
    int a = values[(uint8_t)text[i]], b = values[(uint8_t)text[i + 1]];
    int c = values[(uint8_t)text[i + 2]], d = values[(uint8_t)text[i + 3]];
    if ((a | b | c | d) < 0) break;
    group = (uint32_t)(a << 18 | b << 12 | c << 6 | d);
    bytes[written++] = (uint8_t)(group >> 16);
    bytes[written++] = (uint8_t)(group >> 8);
    bytes[written++] = (uint8_t)group;
  }
  for (group = 0; i < count && written < room; i++) {
    int value = values[(uint8_t)text[i]];
    if (value < 0) break;
    group = group << 6 | (uint32_t)value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[written++] = (uint8_t)(group >> bits);
    }
  }
  return written;
}
