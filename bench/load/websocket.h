// The server's side of RFC 6455, as far as a sink needs it: the handshake and frames with a mask.
#pragma once
#include "common.h"
#include "base64.h"
#include "sha1.h"

#define KEY_HEADER "\r\nSec-WebSocket-Key: "
#define KEY_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_BYTES_MAX 64

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

struct frame {
  enum opcode opcode;
  bool is_last;
  uint8_t *payload;
  size_t bytes;      // of the payload
  size_t wire_bytes; // of all
};

// The bytes of the request when it is whole, 0 when more must come, -1 when it is none.
static inline ssize_t handshake_answer(const char *request, size_t bytes, char *answer, size_t room) {
  const char *end = memmem(request, bytes, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t request_bytes = (size_t)(end + 4 - request);
  const char *key = memmem(request, request_bytes, KEY_HEADER, sizeof KEY_HEADER - 1);
  if (!key) return -1;
  key += sizeof KEY_HEADER - 1;
  int key_bytes = (int)strcspn(key, "\r ");
  if (key_bytes > KEY_BYTES_MAX) return -1;
  char joined[KEY_BYTES_MAX + sizeof KEY_GUID];
  int joined_bytes = snprintf(joined, sizeof joined, "%.*s" KEY_GUID, key_bytes, key);
  uint8_t digest[SHA1_BYTES];
  sha1(joined, (size_t)joined_bytes, digest);
  char accept[32] = {0};
  base64_encode(digest, SHA1_BYTES, accept);
  snprintf(answer, room,
           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Accept: %s\r\n\r\n",
           accept);
  return (ssize_t)request_bytes;
}

static inline uint64_t big_endian(const uint8_t *bytes, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; i++) value = value << 8 | bytes[i];
  return value;
}

static inline void unmask(uint8_t *payload, size_t bytes, const uint8_t key[4]) {
  uint32_t word;
  memcpy(&word, key, 4);
  uint64_t keys = (uint64_t)word << 32 | word;
  size_t at = 0;
  for (; at + 8 <= bytes; at += 8) {
    uint64_t eight;
    memcpy(&eight, payload + at, 8);
    eight ^= keys;
    memcpy(payload + at, &eight, 8);
  }
  for (; at < bytes; at++) payload[at] ^= key[at & 3];
}

// Reads one frame and unmasks it in place. False while it is not whole.
static inline bool frame_read(uint8_t *bytes, size_t count, struct frame *frame) {
  if (count < 2) return false;
  int length_code = bytes[1] & 0x7F;
  size_t length_bytes = length_code == 127 ? 8 : length_code == 126 ? 2 : 0;
  bool masked = bytes[1] & 0x80;
  size_t header = 2 + length_bytes + (masked ? 4 : 0);
  if (count < header) return false;
  uint64_t payload_bytes = length_bytes ? big_endian(bytes + 2, (int)length_bytes) : (uint64_t)length_code;
  if (count - header < payload_bytes) return false;
  if (masked) unmask(bytes + header, payload_bytes, bytes + header - 4);
  *frame = (struct frame){bytes[0] & 0x0F, bytes[0] & 0x80, bytes + header, payload_bytes, header + payload_bytes};
  return true;
}

// A frame of the server has no mask. One that the socket does not take whole is lost to the peer.
static inline bool frame_send(int fd, enum opcode opcode, const void *payload, size_t bytes) {
  uint8_t header[4] = {(uint8_t)(0x80 | opcode), (uint8_t)bytes};
  size_t header_bytes = 2;
  if (bytes > 125) {
    header[1] = 126;
    header[2] = (uint8_t)(bytes >> 8);
    header[3] = (uint8_t)bytes;
    header_bytes = 4;
  }
  struct iovec parts[2] = {{header, header_bytes}, {(void *)payload, bytes}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)(header_bytes + bytes);
}
