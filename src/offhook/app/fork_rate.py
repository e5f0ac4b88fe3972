"""How fast forks may be aimed at one host: an API key must not be enough to flood somebody."""

from offhook.base.errors import LimitReached
from offhook.base.limits import FORK_HOSTS_REMEMBERED_MAX
from offhook.call.commands import StartFork


class ForkRate:
    """Lets a second's worth of forks begin at once at each host, then one at a time.

    Args:
        per_s: forks a second to one host; 0: any number.
    """

    def __init__(self, per_s: float) -> None:
        self.refused_total = 0
        self._per_s = per_s
        self._free_at: dict[str, float] = {}

    def take(self, command: StartFork, now: float) -> None:
        """Count a fork that is about to begin.

        Raises:
            LimitReached: too many were aimed at its host of late; it is not counted.
        """
        if self._per_s <= 0:
            return
        hosts = {target.host for target in (command.rx, command.tx, command.target) if target is not None}
        ahead_s = max(1.0 - 1.0 / self._per_s, 0.0)
        due = {host: max(self._free_at.get(host, now), now) for host in hosts}
        if any(at - now > ahead_s for at in due.values()):
            self.refused_total += 1
            raise LimitReached(
                "Too many forks were aimed at that address within a second (limits.forks_per_s)."
            )
        if len(self._free_at) >= FORK_HOSTS_REMEMBERED_MAX:
            self._forget(now)
        self._free_at |= {host: at + 1.0 / self._per_s for host, at in due.items()}

    def _forget(self, now: float) -> None:
        """Forget the hosts that are free; of a crowd that is not, those that have waited longest."""
        waiting = {host: at for host, at in self._free_at.items() if at > now}
        kept = sorted(waiting, key=lambda host: waiting[host])[-FORK_HOSTS_REMEMBERED_MAX // 2 :]
        self._free_at = {host: waiting[host] for host in kept}
