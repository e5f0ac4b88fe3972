// SHA-1 (RFC 3174) of one short text, for the answer to a WebSocket handshake.
#pragma once
#include <stdint.h>
#include <string.h>

#define SHA1_BYTES 20
#define SHA1_BLOCK_BYTES 64
// Two blocks: 119 bytes, the mark and the length.
#define SHA1_TEXT_BYTES_MAX (2 * SHA1_BLOCK_BYTES - 9)

static inline uint32_t sha1_rotate(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

static inline uint32_t sha1_mix(int round, uint32_t b, uint32_t c, uint32_t d) {
  if (round < 20) return ((b & c) | (~b & d)) + 0x5A827999;
  if (round < 40) return (b ^ c ^ d) + 0x6ED9EBA1;
  if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC;
  return (b ^ c ^ d) + 0xCA62C1D6;
}

static inline void sha1_block(uint32_t state[5], const uint8_t *block) {
  uint32_t words[80];
  for (int i = 0; i < 16; i++)
    words[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 80; i++)
    words[i] = sha1_rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (int i = 0; i < 80; i++) {
    uint32_t next = sha1_rotate(a, 5) + sha1_mix(i, b, c, d) + e + words[i];
    e = d, d = c, c = sha1_rotate(b, 30), b = a, a = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

// `bytes` is at most SHA1_TEXT_BYTES_MAX; what is longer is cut.
static inline void sha1(const char *text, size_t bytes, uint8_t digest[SHA1_BYTES]) {
  if (bytes > SHA1_TEXT_BYTES_MAX) bytes = SHA1_TEXT_BYTES_MAX;
  uint8_t padded[2 * SHA1_BLOCK_BYTES] = {0};
  memcpy(padded, text, bytes);
  padded[bytes] = 0x80;
  size_t total = bytes + 9 <= SHA1_BLOCK_BYTES ? SHA1_BLOCK_BYTES : 2 * SHA1_BLOCK_BYTES;
  padded[total - 2] = (uint8_t)(bytes * 8 >> 8);
  padded[total - 1] = (uint8_t)(bytes * 8);
  uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  for (size_t at = 0; at < total; at += SHA1_BLOCK_BYTES) sha1_block(state, padded + at);
  for (int i = 0; i < SHA1_BYTES; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
