"""The Call Control applications of this server, and which of them a call is for.

The default application is the settings'; what the API changes on it lasts until the server ends.
The others are made over the API and kept in the database. All are held in memory, so that a call is
routed at once.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from urllib.parse import unquote

import structlog
from pydantic import ValidationError

from offhook.app.settings import DEFAULT_APPLICATION_ID, RouteSettings, Settings
from offhook.app.settings.values import is_network
from offhook.app.trunk_addresses import TrunkAddresses
from offhook.base import limits
from offhook.base.clock import Clock, iso_time
from offhook.base.errors import LimitReached
from offhook.base.ids import RandomBytes, decimal_id, system_random
from offhook.call.errors import CommandError
from offhook.call.values import WebhookRoute
from offhook.edge.http.applications import Application, ApplicationResource
from offhook.edge.store import ApplicationRow, ApplicationTable
from offhook.proto import sip

log = structlog.get_logger(__name__)

DEFAULT_APPLICATION_NAME = "default"


class Applications:
    """The `ApplicationService` of the HTTP API, and the router of incoming calls.

    Args:
        settings: the default application and the routes.
        clock: for `created_at` and `updated_at`.
        table: where the others are kept; None: in memory only.
        trunks: which addresses are those of the trunks that routes name.
        random: where their ids come from.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        table: ApplicationTable | None = None,
        *,
        trunks: TrunkAddresses | None = None,
        random: RandomBytes = system_random,
    ) -> None:
        self._clock = clock
        self._table = table
        self._random = random
        self._routes = tuple(_Route(route, trunks or TrunkAddresses((), ())) for route in settings.routes)
        self._default_timeout_s = settings.webhooks.timeout_s
        self._changing = asyncio.Lock()
        default = _default_application(settings, iso_time(clock.now()))
        self._kept: dict[str, ApplicationResource] = {default.id: default}

    async def load(self) -> None:
        """Read what is kept. Before the first call."""
        if self._table is None:
            return
        for row in await self._table.load():
            try:
                application = Application.model_validate_json(row.members)
            except ValidationError:
                log.error("an application cannot be read and is left out", application=row.id)
                continue
            self._kept[row.id] = _resource(row.id, application, row.created_at, row.updated_at)

    # For the HTTP API

    def all(self) -> Sequence[ApplicationResource]:
        """Return all applications, oldest first."""
        return tuple(self._kept.values())

    def find(self, application_id: str) -> ApplicationResource | None:
        """Return one application."""
        return self._kept.get(application_id)

    async def create(self, application: Application) -> ApplicationResource:
        """Keep a new application.

        Raises:
            CommandError: its subdomain is taken.
            LimitReached: there are as many as there may be.
        """
        async with self._changing:
            if len(self._kept) > limits.APPLICATIONS_MAX:
                raise LimitReached(f"There are {limits.APPLICATIONS_MAX} applications; delete one first.")
            self._check_subdomain(application, None)
            application_id = decimal_id(self._random)
            while application_id in self._kept:
                application_id = decimal_id(self._random)
            now = iso_time(self._clock.now())
            return await self._keep(_resource(application_id, application, now, now), application)

    async def update(
        self, application_id: str, change: Callable[[ApplicationResource], Application]
    ) -> ApplicationResource | None:
        """Change an application; `change` sees what earlier changes left.

        Raises:
            CommandError: its subdomain is taken.
        """
        async with self._changing:
            current = self._kept.get(application_id)
            if current is None:
                return None
            application = change(current)
            self._check_subdomain(application, application_id)
            now = iso_time(self._clock.now())
            changed = _resource(application_id, application, current.created_at, now)
            return await self._keep(changed, application)

    async def delete(self, application_id: str) -> ApplicationResource | None:
        """Forget an application.

        Raises:
            CommandError: it is the default one.
        """
        if application_id == DEFAULT_APPLICATION_ID:
            raise CommandError(
                "10038", "The default application is the settings' and cannot be deleted.", "/id"
            )
        async with self._changing:
            if application_id not in self._kept:
                return None
            if self._table is not None:
                await self._table.delete(application_id)
            return self._kept.pop(application_id)

    # For calls

    def of_call(self, event: sip.IncomingCall) -> ApplicationResource | None:
        """Return the application that a call is for, or None when its route leads to none.

        The first `[[routes]]` block that fits decides; else an application whose id is called, else
        one whose `sip_subdomain` is, else the default one.
        """
        user, host = _called(event.request_uri)
        source = event.source.remote[0]
        for route in self._routes:
            if route.fits(user, source):
                return self._named(route.application)
        if (found := self._kept.get(user)) is not None:
            return found
        subdomain = host.partition(".")[0].lower()
        found = self._of_subdomain(subdomain) if "." in host else None
        if found is None:
            return self._kept[DEFAULT_APPLICATION_ID]
        if found.inbound.sip_subdomain_receive_settings == "only_my_connections":
            return found if any(route.names(source) for route in self._routes) else None
        return found

    def webhook_route(self, application: ApplicationResource) -> WebhookRoute | None:
        """Return where the events of an application's calls go; None: it has no URL."""
        if not application.webhook_event_url:
            return None
        return WebhookRoute(
            application.webhook_event_url,
            application.webhook_event_failover_url or None,
            # 0 cannot be meant: no receiver answers in no time.
            application.webhook_timeout_secs or self._default_timeout_s,
        )

    def _named(self, name: str) -> ApplicationResource | None:
        if (found := self._kept.get(name)) is not None:
            return found
        return next((item for item in self._kept.values() if item.application_name == name), None)

    def _of_subdomain(self, subdomain: str) -> ApplicationResource | None:
        items = self._kept.values()
        return next((i for i in items if (i.inbound.sip_subdomain or "").lower() == subdomain), None)

    def _check_subdomain(self, application: Application, application_id: str | None) -> None:
        wanted = application.inbound.sip_subdomain
        taken_by = self._of_subdomain(wanted.lower()) if wanted else None
        if taken_by is not None and taken_by.id != application_id:
            raise CommandError(
                "10015", "`sip_subdomain` is that of another application.", "/inbound/sip_subdomain"
            )

    async def _keep(self, shown: ApplicationResource, application: Application) -> ApplicationResource:
        if shown.id != DEFAULT_APPLICATION_ID and self._table is not None:
            members = application.model_dump_json()
            await self._table.put(ApplicationRow(shown.id, members, shown.created_at, shown.updated_at))
        self._kept[shown.id] = shown
        return shown


class _Route:
    """One `[[routes]]` block, ready to be compared with."""

    def __init__(self, settings: RouteSettings, trunks: TrunkAddresses) -> None:
        self.application = settings.application
        self._whole = {_plain(name) for name in settings.called if not name.endswith("*")}
        self._beginnings = tuple(_plain(name[:-1]) for name in settings.called if name.endswith("*"))
        self._any_called = not settings.called
        self._any_source = not settings.sources
        self._networks = tuple(ipaddress.ip_network(each) for each in settings.sources if is_network(each))
        self._trunks = tuple(source for source in settings.sources if not is_network(source))
        self._addresses = trunks

    def fits(self, user: str, source: str) -> bool:
        """Tell whether a call to `user` from the address `source` is this block's."""
        called = _plain(user)
        wanted = self._any_called or called in self._whole or called.startswith(self._beginnings)
        return wanted and (self._any_source or self.names(source))

    def names(self, source: str) -> bool:
        """Tell whether `source` is an address that this block names, by itself or as a trunk's."""
        try:
            address = ipaddress.ip_address(source)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks) or any(
            self._addresses.belongs(address, trunk) for trunk in self._trunks
        )


def _plain(user: str) -> str:
    """Return a number without its plus, which trunks write or leave out as they like."""
    return user.removeprefix("+").lower()


def _called(uri: str) -> tuple[str, str]:
    """Return user and host of the request URI; both are empty when it is malformed."""
    try:
        parsed = sip.SipUri.parse(uri)
    except sip.SipSyntaxError:
        return "", ""
    return unquote(parsed.user.partition(";")[0]), parsed.host


def _default_application(settings: Settings, now: str) -> ApplicationResource:
    webhooks = settings.webhooks
    return ApplicationResource(
        id=DEFAULT_APPLICATION_ID,
        application_name=DEFAULT_APPLICATION_NAME,
        webhook_event_url=None if webhooks.url is None else str(webhooks.url),
        webhook_event_failover_url="" if webhooks.failover_url is None else str(webhooks.failover_url),
        created_at=now,
        updated_at=now,
    )


def _resource(
    application_id: str, application: Application, created_at: str, updated_at: str
) -> ApplicationResource:
    members = application.model_dump()
    return ApplicationResource(**members, id=application_id, created_at=created_at, updated_at=updated_at)
