"""Lists that change while they are read, by cursors: `page[after]`, `page[before]`, `page[limit]` (contract 2.3).

A cursor names the item it stands at, so calls that come and go shift nothing. `page[number]` and
`page[size]`, which the SDKs send, work too.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from offhook.base import limits
from offhook.call.errors import Problem
from offhook.edge.http.pages import Page, parameter, whole_number
from offhook.edge.http.problems import Refusal

CURSOR_PARAMETERS = [
    parameter("page[after]", "Only what stands after this cursor.", type="string"),
    parameter("page[before]", "Only what stands before this cursor.", type="string"),
    parameter(
        "page[limit]",
        "How many at most.",
        type="integer",
        minimum=1,
        maximum=limits.PAGE_SIZE_MAX,
        default=limits.PAGE_SIZE,
    ),
]


def cut(path: str, query: Mapping[str, str], items: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Return the answer that holds what a query asks for.

    Args:
        path: of the list, for the links to its neighbours.
        query: the parameters of the request.
        items: the whole list, each with its number; numbers rise and are never used twice.

    Raises:
        Refusal: a cursor that is none, or a number out of range.
    """
    if not any(name in query for name in ("page[after]", "page[before]", "page[limit]")):
        page = Page.of(query)
        chosen = list(items[page.first : page.first + page.size])
    else:
        size = whole_number(query, "page[limit]", limits.PAGE_SIZE, limits.PAGE_SIZE_MAX)
        page = Page(size=size)
        after, before = (_number(query, f"page[{name}]") for name in ("after", "before"))
        within = [
            (number, item)
            for number, item in items
            if (after is None or number > after) and (before is None or number < before)
        ]
        backwards = before is not None and after is None
        chosen = within[-size:] if backwards else within[:size]
    answer = page.answer([item for _, item in chosen], len(items))
    first, last = (chosen[0][0], chosen[-1][0]) if chosen else (None, None)
    more = bool(chosen) and chosen[-1][0] < items[-1][0]
    earlier = bool(chosen) and chosen[0][0] > items[0][0]
    answer["meta"] |= {
        "total_items": len(items),
        "cursors": {"after": _cursor(last), "before": _cursor(first)},
        "next": _link(path, "after", last, page.size) if more else None,
        "previous": _link(path, "before", first, page.size) if earlier else None,
    }
    return answer


def _cursor(number: int | None) -> str | None:
    return (
        None if number is None else base64.urlsafe_b64encode(f"call:{number}".encode()).decode().rstrip("=")
    )


def _link(path: str, way: str, number: int | None, size: int) -> str:
    return f"{path}?{urlencode({f'page[{way}]': _cursor(number), 'page[limit]': size})}"


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        told = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        told = ""
    digits = told.removeprefix("call:")
    if told == digits or not digits.isdigit() or len(digits) > 18:
        raise Refusal(422, Problem("10015", f"The parameter `{name}` is no cursor of this list.", f"/{name}"))
    return int(digits)
