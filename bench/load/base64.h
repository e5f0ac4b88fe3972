// Base64 (RFC 4648 section 4), as media frames carry audio.
#pragma once
#include <stdbool.h>
#include <stdint.h>

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

static inline int base64_value(char letter) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  if (letter >= '0' && letter <= '9') return letter - '0' + 52;
  return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

// Stops at padding, at any other foreign character, or when `room` is full. Returns the bytes written.
static inline int base64_decode(const char *text, int count, uint8_t *bytes, int room) {
  int written = 0, bits = 0;
  uint32_t group = 0;
  for (int i = 0; i < count && written < room; i++) {
    int value = base64_value(text[i]);
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
