"""A network of one's own, so that no port and no traffic of another program gets in the way."""

import fcntl
import os
import shutil
import socket
import struct
import sys

INSIDE = "OFFHOOK_BENCH_NETWORK"
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def enter_own_network() -> str:
    """Go on in a network namespace with nothing but loopback, if we may. Says where we are."""
    if INSIDE in os.environ:
        bring_up_loopback()
        return "own network namespace"
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        return "shared loopback"
    return os.execve(unshare, [unshare, "--net", sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
        flags = struct.unpack("16sh14x", answer)[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
