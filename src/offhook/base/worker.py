"""What a worker process does about itself. Imports little, because every worker imports it.

A worker is a Python module that speaks over its standard streams, lives as long as its input, and
loads one object named `module:NAME`.
"""

import importlib
import os
import signal

_NICE = 5
"""The machine's calls come first: a late word is nothing beside a late packet."""


def become_worker() -> tuple[int, int]:
    """Prepare this process to be a worker; returns the descriptors to read from and to write to."""
    # A terminal's Ctrl-C reaches the whole group; the server decides when workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    # Libraries print; whatever they print must not land between our frames.
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return source, sink


def write_all(sink: int, data: bytes) -> None:
    """Write all of `data`, waiting while the other side does not read."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]


def import_named(reference: str) -> object:
    """Import `module:NAME` and return what it names.

    Raises:
        ImportError: there is no such thing; the message repeats the reference alone.
    """
    module, _, name = reference.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise ImportError(f"{reference} cannot be imported") from None
    return found
