"""The command line: one module a command, each thin over the room that does the work.

Commands print for people; with `--json` they print JSON lines on standard output. Problems are one
sentence on standard error. Exit status: 0 done, 1 it did not work, 2 something must be changed first.
"""

from offhook.app.cli.root import app


def main() -> None:
    """Run `offhook` (the console script)."""
    app()


__all__ = ["app", "main"]
