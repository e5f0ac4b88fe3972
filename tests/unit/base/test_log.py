"""What a log line shows, and above all what it does not."""

import io
import logging
import sys

import pytest
import structlog

from offhook.base.log import LogFormat, set_up_logs

pytestmark = pytest.mark.unit


def fail_with(secret: str) -> None:
    """Raise while a local variable holds a secret."""
    raise RuntimeError(f"failed after {len(secret)} characters")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_shows_no_values_of_variables(style: LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers = logging.getLogger().handlers[:]
    try:
        set_up_logs(level="debug", style=style)
        try:
            fail_with("+1555" + "0001111")
        except RuntimeError:
            structlog.get_logger("test").exception("it broke", leg="leg-1")
    finally:
        logging.getLogger().handlers[:] = handlers
    text = stream.getvalue()
    assert "it broke" in text
    assert "leg-1" in text
    assert "fail_with" in text, "there is a traceback"
    assert "+15550001111" not in text


def test_lines_below_the_level_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers = logging.getLogger().handlers[:]
    try:
        set_up_logs(level="warning", style="json")
        structlog.get_logger("test").info("quiet")
        structlog.get_logger("test").warning("loud")
    finally:
        logging.getLogger().handlers[:] = handlers
    assert stream.getvalue().count("\n") == 1
    assert '"event": "loud"' in stream.getvalue()
