"""Where a call goes: SIP URIs as they are, numbers through a trunk of the settings."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from offhook.app.settings import TrunkSettings
from offhook.base.errors import ConfigError
from offhook.call.commands import Dial
from offhook.call.errors import CommandError
from offhook.proto.sip import Credentials, SipUri, url_host

_E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """One address that a call rings.

    Attributes:
        callee: as the app gave it.
        uri: the Request-URI.
        domain: of our own URI; empty: our address.
        caller: the user part of our own URI.
        trusted: named in the settings and not by the app, so that no address of it is out of bounds.
    """

    callee: str
    uri: str
    caller: str
    domain: str = ""
    credentials: Credentials | None = None
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Trunk:
    """One trunk of the settings, with its password read."""

    settings: TrunkSettings
    credentials: Credentials | None

    @classmethod
    def read(cls, settings: TrunkSettings, environment: Mapping[str, str]) -> "Trunk":
        """Fetch what the settings only point to.

        Raises:
            ConfigError: there is nothing at that place.
        """
        password = settings.password
        where = ""
        if settings.password_env:
            where = f"the environment variable {settings.password_env}"
            password = environment.get(settings.password_env, "")
        elif settings.password_file:
            where = f"the file {settings.password_file}"
            try:
                password = Path(settings.password_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                password = ""
        if where and not password:
            raise ConfigError(
                f"The trunk {settings.name} has no password: {where} cannot be read or is empty."
            )
        credentials = Credentials(settings.username, password) if settings.username else None
        return cls(settings, credentials)

    def takes(self, number: str) -> int:
        """Return how many characters of `number` the best of our prefixes names; 0 when none does."""
        return max((len(p) for p in self.settings.numbers if number.startswith(p)), default=0)


class Trunks:
    """Chooses the way of each call."""

    def __init__(
        self, settings: Sequence[TrunkSettings] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        env = os.environ if environment is None else environment
        self._trunks = [Trunk.read(each, env) for each in settings]

    def targets(self, plan: Dial) -> tuple[Target, ...]:
        """Return where a call goes, in the order asked for.

        Raises:
            CommandError: a number that no trunk takes.
        """
        return tuple(self._target(callee, plan) for callee in plan.to)

    def _target(self, callee: str, plan: Dial) -> Target:
        own = Credentials(plan.username, plan.password or "") if plan.username else None
        user, _, domain = plan.caller.removeprefix("sip:").partition("@")
        transport = plan.transport.value if plan.transport else ""
        if callee.lower().startswith("sip:"):
            return Target(callee, _request_uri(callee, transport), user, domain, own)
        best = max(self._trunks, key=lambda trunk: trunk.takes(callee), default=None)
        if best is None or not best.takes(callee):
            if not _E164.fullmatch(callee):
                raise CommandError("10016", "`to` must be a number in +E.164 format or a SIP URI.", "/to")
            detail = (
                "No trunk of this server takes that number: configure one in [[trunks]], or dial a SIP URI."
            )
            raise CommandError("10038", detail, "/to")
        settings = best.settings
        uri = f"sip:{callee}@{settings.address}"
        transport = transport or settings.transport
        return Target(
            callee=callee,
            uri=uri if transport == "udp" else f"{uri};transport={transport}",
            caller=settings.caller or user,
            domain=settings.domain or SipUri.parse(uri).host,
            credentials=own or best.credentials,
            trusted=True,
        )


def _request_uri(text: str, transport: str) -> str:
    """Return a SIP URI of the app with the transport it names apart, and without what is only for us."""
    uri = SipUri.parse(text)
    kept = {name: value for name, value in uri.parameters.items() if name != "secure"}
    if transport and "transport" not in kept:
        kept["transport"] = transport
    port = "" if uri.port is None else f":{uri.port}"
    user = f"{uri.user}@" if uri.user else ""
    parameters = "".join(f";{name}={value}" if value else f";{name}" for name, value in kept.items())
    return f"sip:{user}{url_host(uri.host)}{port}{parameters}"
