// What the load tools share: time, sockets, and the log of records they write when they end.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
// Enough for 1,000 streams over five minutes; more is counted and not kept.
#define RECORDS_MAX (16u * 1024 * 1024)
#define DATAGRAM_BYTES_MAX 2048

_Noreturn static inline void die(const char *what) {
  perror(what);
  exit(1);
}

static inline void *grow(void *block, size_t bytes) {
  void *grown = realloc(block, bytes);
  if (!grown) die("realloc");
  return grown;
}

static inline uint64_t nanoseconds(struct timespec time) {
  return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now);
}

// One stamped packet as it was sent (received_ns is 0) or as it arrived. Python reads it as "<QQII".
struct record {
  uint64_t sent_ns, received_ns;
  uint32_t call, sequence;
};

struct records {
  struct record *items;
  size_t count, capacity, dropped;
};

static inline void records_add(struct records *log, struct record record) {
  if (log->count == RECORDS_MAX) {
    log->dropped++;
    return;
  }
  if (log->count == log->capacity) {
    log->capacity = log->capacity ? log->capacity * 2 : 1 << 16;
    log->items = grow(log->items, log->capacity * sizeof *log->items);
  }
  log->items[log->count++] = record;
}

static inline void records_write(const struct records *log, const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file) die(path);
  if (fwrite(log->items, sizeof *log->items, log->count, file) != log->count) die(path);
  if (fclose(file)) die(path);
}

static volatile sig_atomic_t stopping;

static inline void stop_on_signal(int number) {
  (void)number;
  stopping = 1;
}

// Signals end the main loop; a peer that goes away is an error code; descriptors as many as allowed.
static inline void prepare_process(void) {
  signal(SIGTERM, stop_on_signal);
  signal(SIGINT, stop_on_signal);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// The parent waits for this line.
static inline void announce_ready(void) {
  puts("READY");
  fflush(stdout);
}

static inline struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static inline void bind_loopback(int fd, int port) {
  struct sockaddr_in address = loopback(port);
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
    fprintf(stderr, "port %d: %s\n", port, strerror(errno));
    exit(1);
  }
}

static inline int udp_socket(int port, int receive_bytes) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  // The forced size needs a privilege; without it the system's bound holds.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_bytes, sizeof receive_bytes))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
  bind_loopback(fd, port);
  return fd;
}

static inline void send_without_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline int epoll_open(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) die("epoll");
  return fd;
}

static inline void epoll_watch(int epoll, int fd, epoll_data_t data) {
  struct epoll_event event = {.events = EPOLLIN, .data = data};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}
