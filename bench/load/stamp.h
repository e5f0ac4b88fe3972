// The stamp at the head of each generated payload: who sent it, which one it is, and when.
//
// 20 bytes travel as 40, one nibble each, as 0x80 | nibble. These mu-law codes are the same after
// decoding to linear PCM and encoding again, so a server may decode audio and the stamp lives.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define STAMP_RAW_BYTES 20
#define STAMP_BYTES (2 * STAMP_RAW_BYTES)
#define STAMP_MAGIC 0x0FF400C5u

struct stamp {
  uint32_t call, sequence;
  uint64_t sent_ns;
};

static inline void stamp_write(uint8_t *payload, struct stamp stamp) {
  uint8_t raw[STAMP_RAW_BYTES];
  uint32_t magic = STAMP_MAGIC;
  memcpy(raw, &magic, 4);
  memcpy(raw + 4, &stamp.call, 4);
  memcpy(raw + 8, &stamp.sequence, 4);
  memcpy(raw + 12, &stamp.sent_ns, 8);
  for (int i = 0; i < STAMP_RAW_BYTES; i++) {
    payload[2 * i] = 0x80 | (raw[i] >> 4);
    payload[2 * i + 1] = 0x80 | (raw[i] & 15);
  }
}

static inline bool stamp_read_at(const uint8_t *payload, struct stamp *stamp) {
  uint8_t raw[STAMP_RAW_BYTES];
  for (int i = 0; i < STAMP_RAW_BYTES; i++) {
    uint8_t high = payload[2 * i], low = payload[2 * i + 1];
    if (((high | low) & 0xF0) != 0x80) return false;
    raw[i] = (uint8_t)((high << 4) | (low & 15));
  }
  uint32_t magic;
  memcpy(&magic, raw, 4);
  memcpy(&stamp->call, raw + 4, 4);
  memcpy(&stamp->sequence, raw + 8, 4);
  memcpy(&stamp->sent_ns, raw + 12, 8);
  return magic == STAMP_MAGIC;
}

// A server that plays audio of its own pace may cut its packets elsewhere than ours were cut.
static inline bool stamp_find(const uint8_t *payload, int bytes, struct stamp *stamp) {
  for (int at = 0; at + STAMP_BYTES <= bytes; at++)
    if (stamp_read_at(payload + at, stamp)) return true;
  return false;
}
