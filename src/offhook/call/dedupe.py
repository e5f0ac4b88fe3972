"""The memory that makes a repeated command harmless (contract 1.4)."""

from dataclasses import dataclass, field

from offhook.base.limits import COMMAND_IDS_KEPT_S, COMMAND_IDS_PER_LEG_MAX
from offhook.call.commands import Command, Reply

_Key = tuple[type[Command], str]


@dataclass(slots=True)
class CommandMemory:
    """Replies to accepted commands, by action and `command_id`, for a minute.

    The action is part of the key because Telnyx's own examples use one constant `command_id` for
    different actions of a call. When full, the oldest is forgotten early and counted.
    """

    most: int = COMMAND_IDS_PER_LEG_MAX
    forgotten_early: int = 0
    _replies: dict[_Key, tuple[float, Reply]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._replies)

    def recall(self, command: Command, now: float) -> Reply | None:
        """Return the first reply to this command as a duplicate, or None when it is new."""
        if command.command_id is None:
            return None
        known = self._replies.get((type(command), command.command_id))
        if known is None or known[0] <= now:
            return None
        return Reply(dict(known[1].data), duplicate=True)

    def remember(self, command: Command, reply: Reply, now: float) -> None:
        """Keep the reply to an accepted command; expired ones are dropped on the way."""
        if command.command_id is None:
            return
        key = (type(command), command.command_id)
        self._replies.pop(key, None)
        self._replies[key] = (now + COMMAND_IDS_KEPT_S, reply)
        self._forget(now)

    def _forget(self, now: float) -> None:
        # Insertion order is expiry order, so the front is always the next to go.
        while True:
            oldest, (expires_at, _) = next(iter(self._replies.items()))
            if expires_at > now:
                if len(self._replies) <= self.most:
                    return
                self.forgotten_early += 1
            del self._replies[oldest]
