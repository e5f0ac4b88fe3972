"""All abilities of a leg as one: what is asked of it is asked of each of them, in order."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from offhook.call.ability import Ability, Decision, LegContext
from offhook.call.bridging import Bridging
from offhook.call.commands import Answer, Command, Dial
from offhook.call.dialpad import Dialpad
from offhook.call.facts import Fact
from offhook.call.gathering import Gathering
from offhook.call.informing import Informing
from offhook.call.playbacks import Playbacks
from offhook.call.recordings import Recordings
from offhook.call.referring import Referring
from offhook.call.tapping import Tapping
from offhook.proto.sdp import NegotiatedMedia

ABILITIES: tuple[type[Ability], ...] = (
    Tapping,
    Recordings,
    Playbacks,
    Dialpad,
    Gathering,
    Informing,
    Referring,
    Bridging,
)
"""In the order in which they begin with an answer, and end with the call."""

Kind = TypeVar("Kind", bound=Ability)


class Abilities:
    """What one leg can do once it is answered; see `Ability` for each question."""

    def __init__(self, leg: LegContext) -> None:
        self._all = tuple(ability(leg) for ability in ABILITIES)

    def __iter__(self) -> Iterator[Ability]:
        return iter(self._all)

    def __len__(self) -> int:
        return sum(map(len, self._all))

    def the(self, kind: type[Kind]) -> Kind:
        """Return the ability of this kind."""
        return next(each for each in self._all if isinstance(each, kind))

    def that_does(self, command: Command) -> Ability:
        """Return the ability that a command is for."""
        return next(each for each in self._all if isinstance(command, each.COMMANDS))

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """Tell the fact to everybody whom it concerns."""
        return [item for each in self._all if isinstance(fact, each.FACTS) for item in each.handle(fact, now)]

    def check_plan(self, plan: Answer | Dial, media: NegotiatedMedia) -> None:
        """Raise `CommandError` when what is to begin with the answer cannot be done in such a call."""
        for ability in self._all:
            ability.check_plan(plan, media)

    def reserve(self, plan: Answer | Dial) -> dict[str, str]:
        """Return the ids of what begins with the answer."""
        return {name: one for each in self._all for name, one in each.reserve(plan).items()}

    def prepare(self, plan: Dial, ids: dict[str, str], codecs: Sequence[str]) -> list[Decision]:
        """Begin what is to be ready before the call is placed."""
        return [item for each in self._all for item in each.prepare(plan, ids, codecs)]

    def preparing(self) -> bool:
        """Tell whether the call has to wait for something to be ready."""
        return any(each.preparing() for each in self._all)

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """Begin what was to begin with the answer."""
        return [item for each in self._all for item in each.begin(plan, ids, now)]

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """End everything because the call has ended."""
        return [item for each in self._all for item in each.close(hangup_cause, now)]

    def abandon(self) -> list[Decision]:
        """Forget what did not report its end in time."""
        return [item for each in self._all for item in each.abandon()]

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called next."""
        return min((at for each in self._all if (at := each.poll_timeout()) is not None), default=None)

    def handle_timeout(self, now: float) -> list[Decision]:
        """Let time pass."""
        return [item for each in self._all for item in each.handle_timeout(now)]
