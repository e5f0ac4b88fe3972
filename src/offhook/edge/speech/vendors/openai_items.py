"""The utterances of one OpenAI session, which the service calls items. Pure.

They are begun, committed and transcribed at their own pace, each named by an id; their words are
told in the order in which they were committed.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from offhook.base.limits import VENDOR_ITEMS_MAX, VENDOR_ITEMS_WAITING_MAX
from offhook.edge.speech.vendors.dialect import Said, Settled, Trouble, VendorEvent
from offhook.edge.speech.vendors.endpointer import Span


@dataclass(slots=True)
class Item:
    """One utterance."""

    start_ms: int | None = None
    end_ms: int | None = None
    settles_ms: int = 0
    """All audio before it belongs to this item or to none."""
    text: str = ""
    final: Said | None = None


class Items:
    """Keeps the items that have not been told; bounded, whatever the service says."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._committed: deque[str] = deque()
        self._told: deque[str] = deque(maxlen=VENDOR_ITEMS_MAX)

    @property
    def waiting(self) -> bool:
        """True while a committed item has no words yet."""
        return bool(self._committed)

    def get(self, item_id: str) -> Item | None:
        """Return the item, a new one where it is unknown; None when it was told already."""
        if item_id in self._told:
            return None
        if item_id not in self._items:
            if len(self._items) >= VENDOR_ITEMS_MAX:
                self._forget(next(iter(self._items)))
            self._items[item_id] = Item()
        return self._items[item_id]

    def is_committed(self, item_id: str) -> bool:
        """Return whether its audio is complete."""
        return item_id in self._committed

    def commit(self, item_id: str, span: Span, settles_ms: int) -> None:
        """Note that its audio is complete; `span` is where it was, unless the service has said that."""
        item = self.get(item_id)
        if item is None or item_id in self._committed:
            return
        self._committed.append(item_id)
        item.start_ms = span.start_ms if item.start_ms is None else item.start_ms
        item.end_ms = max(item.start_ms, span.end_ms if item.end_ms is None else item.end_ms)
        item.settles_ms = max(settles_ms, item.end_ms)

    def may_tell(self, item_id: str) -> bool:
        """Return whether a partial of it would not come between another item and its final."""
        return not self._committed or self._committed[0] == item_id

    def due(self) -> Sequence[VendorEvent]:
        """Return the finals that nothing is in front of, each once."""
        events: list[VendorEvent] = []
        while self._committed and (final := self._items[self._committed[0]].final) is not None:
            item_id = self._committed[0]
            events += [final, Settled(self._items[item_id].settles_ms)]
            self._told.append(item_id)
            self._forget(item_id)
        if len(self._committed) > VENDOR_ITEMS_WAITING_MAX:
            events.append(Trouble("openai left an utterance without its words", retry=True))
        return events

    def _forget(self, item_id: str) -> None:
        del self._items[item_id]
        if item_id in self._committed:
            self._committed.remove(item_id)
