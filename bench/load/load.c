// An open-loop RTP generator: 50 packets a second for each stream, whatever the server does.
//
//   load TARGETS SECONDS SENT_FILE [BACK_FILE]
//
// TARGETS has a line "call local_port remote_port" for each stream, all on 127.0.0.1. Streams are
// spread evenly over the 20 ms, woken at most once a millisecond. With BACK_FILE, what comes back
// is read, and its time is that at which the kernel took it; else it is left. The logs are written at the
// end.
#include "common.h"
#include "stamp.h"
#include <sys/prctl.h>

#define PACKET_NS (20 * NS_PER_MS)
#define RTP_HEADER_BYTES 12
#define PAYLOAD_BYTES 160
#define PACKET_BYTES (RTP_HEADER_BYTES + PAYLOAD_BYTES)
#define SSRC_BASE 0x0FF40000u
#define LEAD_NS (50 * NS_PER_MS)
#define UNREAD_BYTES_MAX 4096
#define BACK_BYTES (64 << 10)

struct stream {
  uint32_t call, sequence, rtp_timestamp;
  uint16_t rtp_sequence;
  int fd;
  struct sockaddr_in remote;
};

static struct stream *streams;
static uint32_t stream_count;
static struct records sent, back;
static bool reads_back;
static uint64_t send_errors, late_max_ns, unstamped;

static struct stream open_stream(uint32_t call, int local_port, int remote_port) {
  udp_socket(local_port + 1, UNREAD_BYTES_MAX); // RTCP
  int fd = udp_socket(local_port, reads_back ? BACK_BYTES : UNREAD_BYTES_MAX), on = 1;
  if (reads_back) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  return (struct stream){
      .call = call,
      .rtp_timestamp = call * 160007u,
      .rtp_sequence = (uint16_t)(call * 7919u),
      .fd = fd,
      .remote = loopback(remote_port),
  };
}

static void read_targets(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die(path);
  uint32_t call;
  int local_port, remote_port;
  while (fscanf(file, "%u %d %d", &call, &local_port, &remote_port) == 3) {
    streams = grow(streams, (stream_count + 1) * sizeof *streams);
    streams[stream_count++] = open_stream(call, local_port, remote_port);
  }
  fclose(file);
}

// RFC 3550 section 5.1; payload type 0, the marker on the first packet.
static void write_rtp_header(uint8_t *packet, const struct stream *stream) {
  uint16_t sequence = htons(stream->rtp_sequence);
  uint32_t timestamp = htonl(stream->rtp_timestamp), ssrc = htonl(SSRC_BASE + stream->call);
  packet[0] = 0x80;
  packet[1] = stream->sequence == 0 ? 0x80 : 0;
  memcpy(packet + 2, &sequence, 2);
  memcpy(packet + 4, &timestamp, 4);
  memcpy(packet + 8, &ssrc, 4);
}

// A 500 Hz square tone fills what the stamp leaves.
static void write_tone(uint8_t *payload) {
  for (int i = 0; i < PAYLOAD_BYTES; i++) payload[i] = i % 16 < 8 ? 0xA5 : 0x25;
}

static void send_packet(struct stream *stream, uint8_t *packet, uint64_t due_ns) {
  write_rtp_header(packet, stream);
  struct stamp stamp = {stream->call, stream->sequence, now_ns()};
  stamp_write(packet + RTP_HEADER_BYTES, stamp);
  const struct sockaddr *remote = (const struct sockaddr *)&stream->remote;
  if (sendto(stream->fd, packet, PACKET_BYTES, 0, remote, sizeof stream->remote) != PACKET_BYTES) send_errors++;
  records_add(&sent, (struct record){stamp.sent_ns, 0, stamp.call, stamp.sequence});
  stream->sequence++;
  stream->rtp_sequence++;
  stream->rtp_timestamp += PAYLOAD_BYTES;
  if (stamp.sent_ns - due_ns > late_max_ns) late_max_ns = stamp.sent_ns - due_ns;
}

static uint64_t kernel_ns(struct msghdr *message) {
  for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item; item = CMSG_NXTHDR(message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_TIMESTAMPNS) continue;
    struct timespec time;
    memcpy(&time, CMSG_DATA(item), sizeof time);
    return nanoseconds(time);
  }
  return now_ns();
}

static void read_back(int fd) {
  uint8_t packet[DATAGRAM_BYTES_MAX];
  char control[128];
  for (;;) {
    struct iovec part = {packet, sizeof packet};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int bytes = (int)recvmsg(fd, &message, MSG_DONTWAIT) - RTP_HEADER_BYTES;
    if (bytes < -RTP_HEADER_BYTES) return;
    struct stamp stamp;
    if (bytes > 0 && stamp_find(packet + RTP_HEADER_BYTES, bytes, &stamp))
      records_add(&back, (struct record){stamp.sent_ns, kernel_ns(&message), stamp.call, stamp.sequence});
    else
      unstamped++;
  }
}

// Sends are numbered through: round by round, stream by stream.
static uint64_t due_ns(uint64_t begin_ns, uint64_t number) {
  uint64_t round = number / stream_count, stream = number % stream_count;
  return begin_ns + round * PACKET_NS + stream * PACKET_NS / stream_count;
}

static void sleep_until(uint64_t due) {
  uint64_t next_ms = (now_ns() / NS_PER_MS + 1) * NS_PER_MS;
  uint64_t wake = due > next_ms ? due : next_ms;
  struct timespec at = {(time_t)(wake / NS_PER_S), (long)(wake % NS_PER_S)};
  clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL);
}

static void send_until(uint64_t end_ns, uint64_t begin_ns) {
  uint8_t packet[PACKET_BYTES];
  write_tone(packet + RTP_HEADER_BYTES);
  for (uint64_t number = 0; !stopping; number++) {
    uint64_t due = due_ns(begin_ns, number);
    if (due >= end_ns) break;
    while (now_ns() < due && !stopping) sleep_until(due);
    struct stream *stream = &streams[number % stream_count];
    send_packet(stream, packet, due);
    if (reads_back) read_back(stream->fd);
  }
}

int main(int count, char **words) {
  if (count != 4 && count != 5) {
    fprintf(stderr, "usage: load TARGETS SECONDS SENT_FILE [BACK_FILE]\n");
    return 2;
  }
  prepare_process();
  prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
  reads_back = count == 5;
  read_targets(words[1]);
  if (stream_count == 0) return 2;
  uint64_t begin_ns = now_ns() + LEAD_NS;
  announce_ready();
  send_until(begin_ns + (uint64_t)(atof(words[2]) * NS_PER_S), begin_ns);
  records_write(&sent, words[3]);
  if (reads_back) records_write(&back, words[4]);
  printf("sent=%zu back=%zu unstamped=%llu errors=%llu late_max_us=%llu unlogged=%zu\n", sent.count, back.count,
         (unsigned long long)unstamped, (unsigned long long)send_errors,
         (unsigned long long)late_max_ns / 1000, sent.dropped + back.dropped);
  return 0;
}
