// Takes what a server sends of its calls and logs when each stamped chunk arrived.
//
//   sink WEBSOCKET_PORT UDP_PORT RECORDS_FILE
//
// WebSocket text frames are media frames with a base64 payload; on the UDP port RTP is expected.
// SIGTERM writes the log.
#include "common.h"
#include "stamp.h"
#include "websocket.h"

#define RTP_HEADER_BYTES 12
#define READ_BYTES 8192
#define PENDING_BYTES_MAX (1024 * 1024)
#define AUDIO_BYTES_MAX 4096
#define UDP_BUFFER_BYTES (32 << 20)

struct connection {
  int fd;
  bool open;
  uint8_t *pending;
  size_t bytes, capacity;
};

static struct records arrived;
static size_t unstamped, other_frames, accepted;

static void note_audio(const uint8_t *audio, int bytes, uint64_t received_ns) {
  struct stamp stamp;
  if (stamp_find(audio, bytes, &stamp))
    records_add(&arrived, (struct record){stamp.sent_ns, received_ns, stamp.call, stamp.sequence});
  else
    unstamped++;
}

// The frame's own text, between the quotes of its payload.
static const char *find_payload(const uint8_t *text, size_t bytes, int *length) {
  static const char name[] = "\"payload\":\"";
  const char *begin = memmem(text, bytes, name, sizeof name - 1);
  if (!begin) return NULL;
  begin += sizeof name - 1;
  const char *end = memchr(begin, '"', bytes - (size_t)(begin - (const char *)text));
  if (!end) return NULL;
  *length = (int)(end - begin);
  return begin;
}

static void take_text(const uint8_t *text, size_t bytes, uint64_t received_ns) {
  int length;
  const char *payload = find_payload(text, bytes, &length);
  if (!payload) {
    other_frames++;
    return;
  }
  uint8_t audio[AUDIO_BYTES_MAX];
  note_audio(audio, base64_decode(payload, length, audio, sizeof audio), received_ns);
}

// False when the connection is to end.
static bool take_frame(struct connection *connection, const struct frame *frame, uint64_t received_ns) {
  switch (frame->opcode) {
  case TEXT:
    take_text(frame->payload, frame->bytes, received_ns);
    return true;
  case PING:
    frame_send(connection->fd, PONG, frame->payload, frame->bytes);
    return true;
  case CLOSE:
    frame_send(connection->fd, CLOSE, frame->payload, frame->bytes > 125 ? 125 : frame->bytes);
    return false;
  default:
    other_frames++;
    return true;
  }
}

static ssize_t take_handshake(struct connection *connection) {
  char answer[512];
  ssize_t used = handshake_answer((const char *)connection->pending, connection->bytes, answer, sizeof answer);
  if (used > 0) {
    connection->open = true;
    if (send(connection->fd, answer, strlen(answer), MSG_NOSIGNAL) < 0) return -1;
  }
  return used;
}

static bool take_pending(struct connection *connection, uint64_t received_ns) {
  size_t used = 0;
  if (!connection->open) {
    ssize_t request_bytes = take_handshake(connection);
    if (request_bytes <= 0) return request_bytes == 0;
    used = (size_t)request_bytes;
  }
  struct frame frame;
  bool goes_on = true;
  while (goes_on && frame_read(connection->pending + used, connection->bytes - used, &frame)) {
    used += frame.wire_bytes;
    goes_on = take_frame(connection, &frame, received_ns);
  }
  connection->bytes -= used;
  memmove(connection->pending, connection->pending + used, connection->bytes);
  return goes_on;
}

static bool read_connection(struct connection *connection) {
  if (connection->capacity - connection->bytes < READ_BYTES) {
    if (connection->capacity >= PENDING_BYTES_MAX) return false;
    connection->capacity = connection->capacity ? connection->capacity * 2 : 2 * READ_BYTES;
    connection->pending = grow(connection->pending, connection->capacity);
  }
  ssize_t bytes = recv(connection->fd, connection->pending + connection->bytes,
                       connection->capacity - connection->bytes, 0);
  if (bytes < 0) return errno == EAGAIN;
  connection->bytes += (size_t)bytes;
  return bytes > 0 && take_pending(connection, now_ns());
}

static void accept_all(int epoll, int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    send_without_delay(fd);
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) die("calloc");
    connection->fd = fd;
    epoll_watch(epoll, fd, (epoll_data_t){.ptr = connection});
    accepted++;
  }
}

static void end_connection(struct connection *connection) {
  close(connection->fd);
  free(connection->pending);
  free(connection);
}

static void receive_rtp(int fd) {
  enum { AT_ONCE = 64 };
  static uint8_t packets[AT_ONCE][DATAGRAM_BYTES_MAX];
  struct mmsghdr messages[AT_ONCE] = {0};
  struct iovec parts[AT_ONCE];
  int count;
  do {
    for (int i = 0; i < AT_ONCE; i++) {
      parts[i] = (struct iovec){packets[i], DATAGRAM_BYTES_MAX};
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    count = recvmmsg(fd, messages, AT_ONCE, 0, NULL);
    uint64_t received_ns = now_ns();
    for (int i = 0; i < count; i++) {
      int bytes = (int)messages[i].msg_len - RTP_HEADER_BYTES;
      if (bytes > 0) note_audio(packets[i] + RTP_HEADER_BYTES, bytes, received_ns);
    }
  } while (count == AT_ONCE);
}

static int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bind_loopback(fd, port);
  if (listen(fd, 4096)) die("listen");
  return fd;
}

static void serve(int listener, int udp) {
  int epoll = epoll_open();
  // The two ports are told by addresses of their own; any other is a connection.
  epoll_watch(epoll, listener, (epoll_data_t){.ptr = &accepted});
  epoll_watch(epoll, udp, (epoll_data_t){.ptr = &arrived});
  struct epoll_event events[256];
  while (!stopping) {
    int ready = epoll_wait(epoll, events, 256, 200);
    for (int i = 0; i < ready; i++) {
      void *source = events[i].data.ptr;
      if (source == &accepted)
        accept_all(epoll, listener);
      else if (source == &arrived)
        receive_rtp(udp);
      else if (!read_connection(source))
        end_connection(source);
    }
  }
}

int main(int count, char **words) {
  if (count != 4) {
    fprintf(stderr, "usage: sink WEBSOCKET_PORT UDP_PORT RECORDS_FILE\n");
    return 2;
  }
  prepare_process();
  int listener = listen_on(atoi(words[1])), udp = udp_socket(atoi(words[2]), UDP_BUFFER_BYTES);
  announce_ready();
  serve(listener, udp);
  records_write(&arrived, words[3]);
  printf("frames=%zu unstamped=%zu other=%zu accepted=%zu unlogged=%zu\n", arrived.count, unstamped,
         other_frames, accepted, arrived.dropped);
  return 0;
}
