"""The transaction layer: finds the transaction of a message, makes new ones, collects what is to be sent.

It knows no dialogs and no calls.
"""

from collections import Counter
from collections.abc import Callable

from offhook.proto.sip.events import Flow, Transmit, UserAgentConfig, UserAgentEvent
from offhook.proto.sip.message import Request, Response
from offhook.proto.sip.reply import reply_flow
from offhook.proto.sip.timers import Timers
from offhook.proto.sip.transaction import (
    ClientTransaction,
    ClientUser,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Transaction,
    TransactionKey,
)

ServerTransaction = InviteServerTransaction | NonInviteServerTransaction
MAGIC_COOKIE = "z9hG4bK"


class TransactionLayer:
    """Every transaction of one user agent, and the outboxes of what they send and tell."""

    def __init__(self, config: UserAgentConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.times = config.timers
        self.timers = Timers()
        self.counters: Counter[str] = Counter()
        self._random = random
        self._servers: dict[TransactionKey, ServerTransaction] = {}
        self._clients: dict[TransactionKey, InviteClientTransaction | NonInviteClientTransaction] = {}
        self._merged: dict[TransactionKey, TransactionKey] = {}
        self._merge_keys: dict[TransactionKey, TransactionKey] = {}
        self._transmits: list[Transmit] = []
        self._events: list[UserAgentEvent] = []

    def __len__(self) -> int:
        """Return how many transactions are alive, finished ones that still absorb repeats included."""
        return len(self._servers) + len(self._clients)

    @property
    def full(self) -> bool:
        """Whether the bound of transactions is met."""
        return len(self) >= self.config.max_transactions

    def send(self, data: bytes, flow: Flow) -> None:
        """Send bytes over a flow."""
        self._transmits.append(Transmit(data, flow))

    def emit(self, event: UserAgentEvent) -> None:
        """Tell the application."""
        self._events.append(event)

    def take_transmits(self) -> list[Transmit]:
        """Empty the outbox."""
        taken, self._transmits = self._transmits, []
        return taken

    def take_events(self) -> list[UserAgentEvent]:
        """Empty the list of events."""
        taken, self._events = self._events, []
        return taken

    def new_token(self) -> str:
        """Return 64 random bits as text: for tags."""
        return self._random(8).hex()

    def new_call_id(self) -> str:
        """Return a Call-ID nobody else uses (§8.1.1.4)."""
        return self._random(16).hex()

    def new_branch(self) -> str:
        """Return a branch with the magic cookie (§8.1.1.7)."""
        return MAGIC_COOKIE + self._random(10).hex()

    def find_server(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        """Return the transaction this request belongs to (§17.2.3); `method` replaces the request's own."""
        return self._servers.get(server_key(request, method))

    def is_merged(self, request: Request) -> bool:
        """Say whether this request came already on another path (§8.2.2.2)."""
        first = self._merged.get(_merge_key(request))
        return first is not None and first != server_key(request)

    def serve_invite(self, request: Request, flow: Flow, user: object) -> InviteServerTransaction:
        """Open the transaction of a new INVITE; `user` is who a CANCEL of it concerns."""
        key = server_key(request)
        transaction = InviteServerTransaction(key, reply_flow(request.via, flow), self, user)
        self._servers[key] = transaction
        if not request.to.tag:
            merge_key = _merge_key(request)
            self._merged[merge_key] = key
            self._merge_keys[key] = merge_key
        return transaction

    def serve(self, request: Request, flow: Flow) -> NonInviteServerTransaction:
        """Open the transaction of a new request other than INVITE."""
        key = server_key(request)
        transaction = NonInviteServerTransaction(key, reply_flow(request.via, flow), self)
        self._servers[key] = transaction
        return transaction

    def invite(self, request: Request, flow: Flow, user: ClientUser, now: float) -> InviteClientTransaction:
        """Send an INVITE."""
        transaction = InviteClientTransaction(request, flow, self, user)
        self._clients[transaction.key] = transaction
        transaction.start(now)
        return transaction

    def request(self, request: Request, flow: Flow, user: ClientUser, now: float) -> None:
        """Send a request other than INVITE and ACK."""
        transaction = NonInviteClientTransaction(request, flow, self, user)
        self._clients[transaction.key] = transaction
        transaction.start(now)

    def receive_response(self, response: Response, now: float) -> bool:
        """Give a response to its transaction (§17.1.3); False when there is none."""
        transaction = self._clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            return False
        transaction.receive(response, now)
        return True

    def connection_lost(self, flow: Flow, now: float) -> None:
        """Fail what waits for an answer over a stream that is gone (§17.1.4)."""
        lost = [t for t in self._clients.values() if _same_connection(t.flow, flow)]
        for transaction in lost:
            self._fail(transaction, now)

    def ended(self, transaction: Transaction) -> None:
        """Forget a transaction."""
        if self._clients.get(transaction.key) is transaction:
            del self._clients[transaction.key]
        elif self._servers.get(transaction.key) is transaction:
            del self._servers[transaction.key]
            merge_key = self._merge_keys.pop(transaction.key, None)
            if merge_key is not None:
                del self._merged[merge_key]

    def _fail(self, transaction: ClientTransaction, now: float) -> None:
        if transaction.undecided:
            transaction.fail(503, now)


def server_key(request: Request, method: str | None = None) -> TransactionKey:
    """Return what a request is matched by: branch, sent-by and method, ACK counting as INVITE.

    Without the magic cookie (RFC 2543) the headers that do not change between repeats serve.
    """
    via = request.via
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    if via.branch.startswith(MAGIC_COOKIE):
        return via.branch, via.sent_by, method
    old = (request.call_id, str(request.cseq.number), request.sender.tag, request.uri)
    return *old, via.sent_by, via.branch, method


def _merge_key(request: Request) -> TransactionKey:
    cseq = request.cseq
    return request.sender.tag, request.call_id, str(cseq.number), cseq.method


def _same_connection(flow: Flow, lost: Flow) -> bool:
    if flow.transport != lost.transport:
        return False
    if flow.connection:
        return flow.connection == lost.connection
    return flow.remote == lost.remote
