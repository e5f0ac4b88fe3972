// Takes what a server sends of its calls and logs when each stamped chunk arrived.
//
//   sink WEBSOCKET_PORT UDP_PORT RECORDS_FILE [echo]
//
// WebSocket text frames are media frames with a base64 payload; on the UDP port RTP is expected. What is
// of the outbound track goes into a log of its own, RECORDS_FILE.outbound. With `echo` the audio of each
// inbound frame is sent back as a media frame of an app. SIGUSR1 stops the reading of the connection
// accepted first, and SIGUSR1 again lets it go on; its socket holds little meanwhile. SIGTERM writes the
// logs.
#include "common.h"
#include "stamp.h"
#include "websocket.h"
#include <limits.h>

#define RTP_HEADER_BYTES 12
#define READ_BYTES 8192
#define PENDING_BYTES_MAX (1024 * 1024)
#define AUDIO_BYTES_MAX 4096
#define UDP_BUFFER_BYTES (32 << 20)
#define TCP_BUFFER_BYTES (16 << 10)
#define ECHO_HEAD "{\"event\":\"media\",\"media\":{\"payload\":\""
#define ECHO_TAIL "\"}}"

struct connection {
  int fd;
  bool open;
  uint8_t *pending;
  size_t bytes, capacity;
  uint64_t sequence_number;
};

static struct records arrived, arrived_outbound;
static size_t unstamped, other_frames, accepted, echoes_lost, error_frames, gaps;
static bool echo;
static volatile sig_atomic_t stall_wanted;
static struct connection *first_accepted;

static void note_audio(struct records *log, const uint8_t *audio, int bytes, uint64_t received_ns) {
  struct stamp stamp;
  if (stamp_find(audio, bytes, &stamp))
    records_add(log, (struct record){stamp.sent_ns, received_ns, stamp.call, stamp.sequence});
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

// Numbers begin with the start frame and have no gap; an error frame has none.
static void check_number(struct connection *connection, const uint8_t *text, size_t bytes) {
  static const char name[] = "\"sequence_number\":\"";
  const char *found = memmem(text, bytes, name, sizeof name - 1);
  if (found) {
    uint64_t number = strtoull(found + sizeof name - 1, NULL, 10);
    if (number != connection->sequence_number + 1) gaps++;
    connection->sequence_number = number;
  } else if (memmem(text, bytes, "\"error\"", 7)) {
    error_frames++;
  }
}

static void send_echo(int fd, const char *payload, int length) {
  char text[READ_BYTES];
  size_t head = sizeof ECHO_HEAD - 1, tail = sizeof ECHO_TAIL - 1;
  if (head + (size_t)length + tail > sizeof text) return;
  memcpy(text, ECHO_HEAD, head);
  memcpy(text + head, payload, (size_t)length);
  memcpy(text + head + (size_t)length, ECHO_TAIL, tail);
  if (!frame_send(fd, TEXT, text, head + (size_t)length + tail)) echoes_lost++;
}

static void take_text(int fd, const uint8_t *text, size_t bytes, uint64_t received_ns) {
  int length;
  const char *payload = find_payload(text, bytes, &length);
  if (!payload) {
    other_frames++;
    return;
  }
  bool outbound = memmem(text, bytes, "\"outbound\"", 10);
  if (echo && !outbound) send_echo(fd, payload, length);
  uint8_t audio[AUDIO_BYTES_MAX];
  struct records *log = outbound ? &arrived_outbound : &arrived;
  note_audio(log, audio, base64_decode(payload, length, audio, sizeof audio), received_ns);
}

// False when the connection is to end.
static bool take_frame(struct connection *connection, const struct frame *frame, uint64_t received_ns) {
  switch (frame->opcode) {
  case TEXT:
    check_number(connection, frame->payload, frame->bytes);
    take_text(connection->fd, frame->payload, frame->bytes, received_ns);
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
    if (accepted == 0) first_accepted = connection;
    epoll_watch(epoll, fd, (epoll_data_t){.ptr = connection});
    accepted++;
  }
}

static void end_connection(struct connection *connection) {
  if (connection == first_accepted) first_accepted = NULL;
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
      if (bytes > 0) note_audio(&arrived, packets[i] + RTP_HEADER_BYTES, bytes, received_ns);
    }
  } while (count == AT_ONCE);
}

static int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Connections inherit it: what a program does not read must not hide in the kernel.
  int buffer_bytes = TCP_BUFFER_BYTES;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  bind_loopback(fd, port);
  if (listen(fd, 4096)) die("listen");
  return fd;
}

static void stall_on_signal(int number) {
  (void)number;
  stall_wanted = !stall_wanted;
}

// Between two waits: what the signal has asked for.
static void heed_stall(int epoll, bool *stalled) {
  if (!first_accepted || (bool)stall_wanted == *stalled) return;
  *stalled = !*stalled;
  if (*stalled)
    epoll_ctl(epoll, EPOLL_CTL_DEL, first_accepted->fd, NULL);
  else
    epoll_watch(epoll, first_accepted->fd, (epoll_data_t){.ptr = first_accepted});
}

static void serve(int listener, int udp) {
  int epoll = epoll_open();
  // The two ports are told by addresses of their own; any other is a connection.
  epoll_watch(epoll, listener, (epoll_data_t){.ptr = &accepted});
  epoll_watch(epoll, udp, (epoll_data_t){.ptr = &arrived});
  struct epoll_event events[256];
  bool stalled = false;
  while (!stopping) {
    heed_stall(epoll, &stalled);
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
  if (count != 4 && count != 5) {
    fprintf(stderr, "usage: sink WEBSOCKET_PORT UDP_PORT RECORDS_FILE [echo]\n");
    return 2;
  }
  echo = count == 5 && strcmp(words[4], "echo") == 0;
  prepare_process();
  signal(SIGUSR1, stall_on_signal);
  int listener = listen_on(atoi(words[1])), udp = udp_socket(atoi(words[2]), UDP_BUFFER_BYTES);
  announce_ready();
  serve(listener, udp);
  records_write(&arrived, words[3]);
  char outbound_file[PATH_MAX];
  snprintf(outbound_file, sizeof outbound_file, "%s.outbound", words[3]);
  records_write(&arrived_outbound, outbound_file);
  printf("frames=%zu outbound=%zu unstamped=%zu other=%zu accepted=%zu unlogged=%zu echoes_lost=%zu "
         "error_frames=%zu gaps=%zu\n",
         arrived.count, arrived_outbound.count, unstamped, other_frames, accepted,
         arrived.dropped + arrived_outbound.dropped, echoes_lost, error_frames, gaps);
  return 0;
}
