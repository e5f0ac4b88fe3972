// The least work a server could do for one streamed or forked call: a lower bound on this machine.
//
//   floor json|udp|echo STREAMS FIRST_PORT SINK_PORT
//
// One thread, one epoll. RTP comes in on FIRST_PORT + 2*i. For each packet, `json` sends the payload
// as one masked WebSocket message in the shape of a media frame, over one connection a stream;
// `udp` sends the packet on as it came. `echo` does what `json` does, reads the media frames that an app
// sends, sends their audio to where RTP comes from, at once, and writes it as a frame of the outbound track.
#include "common.h"
#include "websocket.h"

#define RTP_HEADER_BYTES 12
#define FRAME_BYTES_MAX 4096
#define HEADER_BYTES 8 // two bytes, a 16 bit length, the mask

#define PENDING_BYTES 8192
#define AUDIO_BYTES_MAX 1024

struct stream {
  int rtp, websocket;
  uint32_t sequence_number, chunk[2], rtp_sequence;
  struct sockaddr_in phone;
  size_t pending_bytes;
  uint8_t *pending;
};

enum track { INBOUND, OUTBOUND };

static int connect_websocket(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in sink = loopback(port);
  if (fd < 0 || connect(fd, (struct sockaddr *)&sink, sizeof sink)) die("connect");
  send_without_delay(fd);
  static const char request[] =
      "GET /media HTTP/1.1\r\nHost: floor\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  char response[1024];
  if (send(fd, request, sizeof request - 1, 0) < 0 || recv(fd, response, sizeof response, 0) <= 0) die("upgrade");
  return fd;
}

static int write_media_json(char *text, struct stream *stream, enum track track, const uint8_t *audio, int bytes) {
  uint32_t chunk = ++stream->chunk[track];
  int length = sprintf(text,
                       "{\"event\":\"media\",\"sequence_number\":\"%u\",\"media\":{\"track\":\"%s\","
                       "\"chunk\":\"%u\",\"timestamp\":\"%u\",\"payload\":\"",
                       ++stream->sequence_number, track == INBOUND ? "inbound" : "outbound", chunk, chunk * 20);
  length += base64_encode(audio, bytes, text + length);
  return length + sprintf(text + length, "\"},\"stream_id\":\"32de0dea-53cb-4b21-89a4-9e1819c043bc\"}");
}

// Eight bytes at a time; the text's buffer has room for the last stride.
static void mask(char *text, int length, uint32_t key) {
  uint64_t keys = (uint64_t)key << 32 | key;
  for (int at = 0; at < length; at += 8) {
    uint64_t word;
    memcpy(&word, text + at, 8);
    word ^= keys;
    memcpy(text + at, &word, 8);
  }
}

static void send_json(struct stream *stream, enum track track, const uint8_t *audio, int bytes) {
  uint8_t frame[FRAME_BYTES_MAX];
  char *text = (char *)frame + HEADER_BYTES;
  int length = write_media_json(text, stream, track, audio, bytes);
  uint32_t key = stream->sequence_number * 2654435761u;
  mask(text, length, key);
  frame[0] = 0x81;
  frame[1] = 0x80 | 126;
  frame[2] = (uint8_t)(length >> 8);
  frame[3] = (uint8_t)length;
  memcpy(frame + 4, &key, 4);
  send(stream->websocket, frame, (size_t)length + HEADER_BYTES, 0);
}

static void send_rtp(struct stream *stream, const uint8_t *audio, int bytes) {
  uint8_t packet[RTP_HEADER_BYTES + AUDIO_BYTES_MAX];
  uint32_t number = ++stream->rtp_sequence;
  uint16_t sequence = htons((uint16_t)number);
  uint32_t timestamp = htonl(number * 160), ssrc = htonl(1);
  packet[0] = 0x80;
  packet[1] = 0;
  memcpy(packet + 2, &sequence, 2);
  memcpy(packet + 4, &timestamp, 4);
  memcpy(packet + 8, &ssrc, 4);
  memcpy(packet + RTP_HEADER_BYTES, audio, (size_t)bytes);
  const struct sockaddr *phone = (const struct sockaddr *)&stream->phone;
  sendto(stream->rtp, packet, (size_t)(RTP_HEADER_BYTES + bytes), 0, phone, sizeof stream->phone);
}

static void take_app_frame(struct stream *stream, const char *text, size_t bytes) {
  static const char name[] = "\"payload\":\"";
  const char *begin = memmem(text, bytes, name, sizeof name - 1);
  if (!begin) return;
  begin += sizeof name - 1;
  const char *end = memchr(begin, '"', bytes - (size_t)(begin - text));
  if (!end) return;
  uint8_t audio[AUDIO_BYTES_MAX];
  int count = base64_decode(begin, (int)(end - begin), audio, sizeof audio);
  send_rtp(stream, audio, count);
  send_json(stream, OUTBOUND, audio, count);
}

static void read_app(struct stream *stream) {
  uint8_t *pending = stream->pending;
  ssize_t got = recv(stream->websocket, pending + stream->pending_bytes, PENDING_BYTES - stream->pending_bytes, 0);
  if (got <= 0) exit(stopping ? 0 : 1);
  stream->pending_bytes += (size_t)got;
  size_t used = 0;
  struct frame frame;
  while (frame_read(pending + used, stream->pending_bytes - used, &frame)) {
    used += frame.wire_bytes;
    take_app_frame(stream, (const char *)frame.payload, frame.bytes);
  }
  stream->pending_bytes -= used;
  memmove(pending, pending + used, stream->pending_bytes);
}

static void read_rtp(struct stream *stream, bool json, const struct sockaddr_in *sink) {
  uint8_t packet[DATAGRAM_BYTES_MAX];
  socklen_t room = sizeof stream->phone;
  int bytes =
      (int)recvfrom(stream->rtp, packet, sizeof packet, 0, (struct sockaddr *)&stream->phone, &room);
  if (bytes <= RTP_HEADER_BYTES) return;
  if (json)
    send_json(stream, INBOUND, packet + RTP_HEADER_BYTES, bytes - RTP_HEADER_BYTES);
  else
    sendto(stream->rtp, packet, (size_t)bytes, 0, (const struct sockaddr *)sink, sizeof *sink);
}

int main(int count, char **words) {
  if (count != 5) {
    fprintf(stderr, "usage: floor json|udp|echo STREAMS FIRST_PORT SINK_PORT\n");
    return 2;
  }
  bool json = strcmp(words[1], "udp") != 0, echo = strcmp(words[1], "echo") == 0;
  int total = atoi(words[2]), first_port = atoi(words[3]), sink_port = atoi(words[4]);
  prepare_process();
  int epoll = epoll_open();
  struct stream *streams = calloc((size_t)total, sizeof *streams);
  for (int i = 0; i < total; i++) {
    streams[i].rtp = udp_socket(first_port + 2 * i, 64 * 1024);
    if (json) streams[i].websocket = connect_websocket(sink_port);
    epoll_watch(epoll, streams[i].rtp, (epoll_data_t){.u64 = 2 * (uint64_t)i});
    if (!echo) continue;
    streams[i].pending = grow(NULL, PENDING_BYTES);
    epoll_watch(epoll, streams[i].websocket, (epoll_data_t){.u64 = 2 * (uint64_t)i + 1});
  }
  announce_ready();

  struct sockaddr_in sink = loopback(sink_port);
  struct epoll_event events[256];
  while (!stopping) {
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      struct stream *stream = &streams[events[i].data.u64 / 2];
      if (events[i].data.u64 % 2)
        read_app(stream);
      else
        read_rtp(stream, json, &sink);
    }
  }
  return 0;
}
