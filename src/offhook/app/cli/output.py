"""How commands talk: colour where a person looks, JSON lines where a program does."""

import json
from typing import Any

from rich.console import Console

people = Console(highlight=False)
"""Standard output, for people. Rich leaves colour out when it is not a terminal or NO_COLOR is set."""

problems = Console(stderr=True, highlight=False)
"""Standard error."""


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on one line, at once."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def mask(secret: str) -> str:
    """Return a secret so that its owner recognises it and nobody else learns it."""
    return f"{secret[:5]}..." if len(secret) >= 16 else "..."
