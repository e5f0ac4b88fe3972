"""Lists in pages, as Telnyx numbers them (contract 1.1): `page[number]`, `page[size]` and the `meta` of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offhook.base import limits
from offhook.call.errors import Problem
from offhook.edge.http.problems import Refusal

_NUMBER_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; the first has the number 1."""

    number: int = 1
    size: int = limits.PAGE_SIZE

    @property
    def first(self) -> int:
        """Return how many items stand before this page."""
        return (self.number - 1) * self.size

    @classmethod
    def of(cls, query: Mapping[str, str], *, default_size: int = limits.PAGE_SIZE) -> "Page":
        """Return the page that a query asks for.

        Raises:
            Refusal: a number that is none, or is out of range.
        """
        return cls(
            whole_number(query, "page[number]", cls().number, _NUMBER_MAX),
            whole_number(query, "page[size]", default_size, limits.PAGE_SIZE_MAX),
        )

    def answer(self, items: list[dict[str, Any]], total: int) -> dict[str, Any]:
        """Return the answer that holds `items` of a list of `total`."""
        return {
            "data": items,
            "meta": {
                "page_number": self.number,
                "page_size": self.size,
                "total_pages": -(-total // self.size),
                "total_results": total,
            },
        }


def choice(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """Return the value of a parameter that has few; the first one is its default.

    Raises:
        Refusal: it has another value.
    """
    value = query.get(name, allowed[0])
    if value not in allowed:
        raise Refusal(
            422, Problem("10032", f"The parameter `{name}` must be one of {', '.join(allowed)}.", f"/{name}")
        )
    return value


def parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """Return the description of a query parameter for OpenAPI."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


PAGE_PARAMETERS = [
    parameter("page[number]", "Which page.", type="integer", minimum=1, default=Page().number),
    parameter(
        "page[size]",
        "How many a page.",
        type="integer",
        minimum=1,
        maximum=limits.PAGE_SIZE_MAX,
        default=Page().size,
    ),
]


def whole_number(query: Mapping[str, str], name: str, default: int, largest: int) -> int:
    """Return the value of a parameter that is a number from 1 to `largest`.

    Raises:
        Refusal: it is none, or out of range.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest))):
        raise Refusal(422, Problem("10026", f"The parameter `{name}` must be a whole number.", f"/{name}"))
    if not 1 <= int(text) <= largest:
        raise Refusal(
            422, Problem("10033", f"The parameter `{name}` must be from 1 to {largest}.", f"/{name}")
        )
    return int(text)
