"""A request of ours inside a dialog that is neither INVITE, ACK nor BYE: sent until it has its final answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from offhook.proto.sip.digest import Authorizer
from offhook.proto.sip.events import Headers
from offhook.proto.sip.message import Response

if TYPE_CHECKING:
    from offhook.proto.sip.call import Call

OnAnswer = Callable[[int, float], None]
"""Takes the final status and the time; 408 is silence, 503 the transport."""


class DialogRequest:
    """One request, sent again with credentials when it is challenged (RFC 3261 §22.2).

    Args:
        call: an established call; a request of a call that is over is not sent again.
        headers: with everything that is the method's own.
        content_type: of `body`, written even when that is empty; None for a request without one.
        names_us: whether it has a Contact, as those that refresh the target must.
        authorizer: answers challenges, where there are credentials.
        on_answer: told once.
    """

    def __init__(
        self,
        call: "Call",
        method: str,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        body: bytes = b"",
        names_us: bool = False,
        authorizer: Authorizer | None = None,
        on_answer: OnAnswer,
        now: float,
    ) -> None:
        self.numbers: list[int] = []
        """The CSeq of each time it was sent."""
        self._call = call
        self._method = method
        self._headers = headers
        self._content_type = content_type
        self._body = body
        self._names_us = names_us
        self._authorizer = authorizer
        self._on_answer = on_answer
        self._send((), now)

    def on_response(self, response: Response, now: float) -> None:
        """Take a response; only a final one that is no challenge we can meet is told."""
        authorizer, call = self._authorizer, self._call
        if response.status < 200:
            return
        if (
            response.status in (401, 407)
            and authorizer is not None
            and not call.over
            and not call.layer.full
            and authorizer.learn(response)
        ):
            call.layer.counters["challenges_answered"] += 1
            assert call.dialog is not None, "a call that is established has a dialog"
            self._send(authorizer.headers(self._method, call.dialog.request_uri), now)
            return
        self._on_answer(response.status, now)

    def on_failure(self, status: int, now: float) -> None:
        """Take the verdict of silence or of the transport."""
        self._on_answer(status, now)

    def _send(self, credentials: Headers, now: float) -> None:
        call, layer = self._call, self._call.layer
        assert call.dialog is not None, "a call that is established has a dialog"
        request = call.dialog.request(
            self._method,
            branch=layer.new_branch(),
            user_agent=layer.config.user_agent,
            headers=(*self._headers, *credentials),
            contact_user=layer.config.contact_user if self._names_us else None,
            content_type=self._content_type,
            body=self._body,
        )
        self.numbers.append(request.cseq.number)
        layer.request(request, call.dialog.next_hop(), self, now)
