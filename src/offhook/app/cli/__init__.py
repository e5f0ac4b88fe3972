"""The command line: one module a command, each thin over the room that does the work.

Commands print for people; with `--json` they print JSON lines on standard output. Problems are one
sentence on standard error. Exit status: 0 done, 1 it did not work, 2 something must be changed first.
"""

from offhook.app.cli.root import app
from offhook.base.log import set_up_logs


def main() -> None:
    """Run `offhook` (the console script)."""
    # Without it, structlog's own tracebacks would print the values of local variables.
    set_up_logs(level="warning")
    app()


__all__ = ["app", "main"]
