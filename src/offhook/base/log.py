"""Structured logs on standard error: fixed texts with fields beside them.

No secret, phone number, transcript, payload or URL query ever belongs into a log line.
"""

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["auto", "text", "json"]


def set_up_logs(*, level: str = "info", style: LogFormat = "auto") -> None:
    """Send this process's logs to standard error: for people on a terminal, else as JSON lines."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    for_people = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor
    if for_people:
        # Plain, for the pretty tracebacks show the values of local variables.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        renderer = structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr, level=max(threshold, logging.WARNING), format="%(message)s", force=True
    )
