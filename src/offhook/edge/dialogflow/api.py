"""What a session asks of either of Google's APIs."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

from offhook.edge.dialogflow.protocol import Item

Metadata = Sequence[tuple[str, str]]


class AgentApi(Protocol):
    """One agent, through one channel, in one conversation."""

    async def prepare(self, metadata: Metadata) -> None:
        """Find out what is not known yet; raises what Google's library raises."""
        ...

    def hello(self, *, playing_ms: int) -> Any:
        """Return the first request of a turn of speech; `playing_ms` of a reply are still to be heard."""
        ...

    def event(self, name: str) -> Any:
        """Return the only request of a turn that is an event."""
        ...

    def audio(self, pcm: bytes) -> Any:
        """Return a request with audio."""
        ...

    async def stream(self, requests: AsyncIterator[Any], metadata: Metadata, timeout_s: float) -> Any:
        """Start the RPC of one turn; iterate over the result for responses."""
        ...

    def read(self, response: Any) -> Iterable[Item]:
        """Return what a response says.

        Raises:
            DialogflowError: its audio cannot be played.
        """
        ...
