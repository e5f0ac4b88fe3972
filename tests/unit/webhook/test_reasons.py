"""The page that explains the errors of the log knows every one of them."""

import re
from pathlib import Path

import pytest

from offhook.edge.webhook import post

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[3] / "docs/howto/find-lost-webhooks.md"


def test_every_reason_of_a_failed_attempt_is_explained() -> None:
    source = Path(post.__file__).read_text(encoding="utf-8")
    reasons = re.findall(r'(?:reason=|_NotUsable\()f?"([^"{]+)', source)
    assert len(reasons) >= 11
    page = PAGE.read_text(encoding="utf-8")
    assert [reason for reason in reasons if f"`{reason}" not in page] == []
