"""Facts of Telnyx's published specification."""

import json
from pathlib import Path
from typing import Any

import pytest

_DATA = Path(__file__).parents[2] / "data" / "telnyx"


@pytest.fixture(scope="session")
def telnyx_parameters() -> dict[str, Any]:
    return json.loads((_DATA / "request_params.json").read_text())


@pytest.fixture(scope="session")
def telnyx_languages() -> dict[str, list[str]]:
    return json.loads((_DATA / "transcription_languages.json").read_text())
