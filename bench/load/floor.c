// The least work a server could do for one streamed or forked track: a lower bound on this machine.
//
//   floor json|udp STREAMS FIRST_PORT SINK_PORT
//
// One thread, one epoll. RTP comes in on FIRST_PORT + 2*i. For each packet, `json` sends the payload
// as one masked WebSocket message in the shape of a media frame, over one connection a stream;
// `udp` sends the packet on as it came.
#include "common.h"
#include "base64.h"

#define RTP_HEADER_BYTES 12
#define FRAME_BYTES_MAX 4096
#define HEADER_BYTES 8 // two bytes, a 16 bit length, the mask

struct stream {
  int rtp, websocket;
  uint32_t chunk;
};

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

static int write_media_json(char *text, uint32_t chunk, const uint8_t *payload, int bytes) {
  int length = sprintf(text,
                       "{\"event\":\"media\",\"sequence_number\":\"%u\",\"media\":{\"track\":\"inbound\","
                       "\"chunk\":\"%u\",\"timestamp\":\"%u\",\"payload\":\"",
                       chunk + 1, chunk, chunk * 20);
  length += base64_encode(payload, bytes, text + length);
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

static void send_json(struct stream *stream, const uint8_t *payload, int bytes) {
  uint8_t frame[FRAME_BYTES_MAX];
  char *text = (char *)frame + HEADER_BYTES;
  int length = write_media_json(text, stream->chunk, payload, bytes);
  uint32_t key = stream->chunk * 2654435761u;
  mask(text, length, key);
  frame[0] = 0x81;
  frame[1] = 0x80 | 126;
  frame[2] = (uint8_t)(length >> 8);
  frame[3] = (uint8_t)length;
  memcpy(frame + 4, &key, 4);
  send(stream->websocket, frame, (size_t)length + HEADER_BYTES, 0);
}

int main(int count, char **words) {
  if (count != 5) {
    fprintf(stderr, "usage: floor json|udp STREAMS FIRST_PORT SINK_PORT\n");
    return 2;
  }
  bool json = strcmp(words[1], "json") == 0;
  int total = atoi(words[2]), first_port = atoi(words[3]), sink_port = atoi(words[4]);
  prepare_process();
  int epoll = epoll_open();
  struct stream *streams = calloc((size_t)total, sizeof *streams);
  for (int i = 0; i < total; i++) {
    streams[i].rtp = udp_socket(first_port + 2 * i, 64 * 1024);
    if (json) streams[i].websocket = connect_websocket(sink_port);
    epoll_watch(epoll, streams[i].rtp, (epoll_data_t){.ptr = &streams[i]});
  }
  announce_ready();

  struct sockaddr_in sink = loopback(sink_port);
  struct epoll_event events[256];
  uint8_t packet[DATAGRAM_BYTES_MAX];
  while (!stopping) {
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      struct stream *stream = events[i].data.ptr;
      int bytes = (int)recv(stream->rtp, packet, sizeof packet, 0);
      if (bytes <= RTP_HEADER_BYTES) continue;
      stream->chunk++;
      if (json)
        send_json(stream, packet + RTP_HEADER_BYTES, bytes - RTP_HEADER_BYTES);
      else
        sendto(stream->rtp, packet, (size_t)bytes, 0, (struct sockaddr *)&sink, sizeof sink);
    }
  }
  return 0;
}
