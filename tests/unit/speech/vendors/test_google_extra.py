"""Google's libraries are an extra: nobody needs them who does not use them."""

import importlib
import subprocess
import sys

import pytest

from offhook.edge.speech.protocol import SpeechConfig, SpeechNotInstalled
from offhook.edge.speech.vendors.google import GoogleEngine

pytestmark = pytest.mark.unit


async def test_without_the_extra_the_text_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SpeechNotInstalled, match=r'pip install "offhook\[google\]"'):
        await GoogleEngine().ensure_available({"project": "p"})
    with pytest.raises(SpeechNotInstalled):
        GoogleEngine().check(SpeechConfig(options={"project": "p"}))


def test_the_engine_can_be_looked_up_without_loading_grpc() -> None:
    script = (
        "import sys, offhook.edge.speech.vendors.google as g; assert g.ENGINE; print('grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
