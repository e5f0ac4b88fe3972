"""Every way a call can end, brought about on sockets, and what `call.hangup` then says (contract 3.5)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import telnyx

from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, OffhookProcess, free_port, running_app
from tests.interop.test_calls_out import callee, dial, running_server, scenario

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

Cause = tuple[str, str, str]
"""hangup_cause, sip_hangup_cause, hangup_source."""

REFUSALS: dict[str, tuple[str, str]] = {
    "486": ("user_busy", "callee"),
    "600": ("user_busy", "callee"),
    "404": ("not_found", "callee"),
    "410": ("not_found", "callee"),
    "484": ("not_found", "callee"),
    "604": ("not_found", "callee"),
    "302": ("call_rejected", "callee"),
    "403": ("call_rejected", "callee"),
    "488": ("call_rejected", "callee"),
    "603": ("call_rejected", "callee"),
    "606": ("call_rejected", "callee"),
    "480": ("no_answer", "callee"),
    "408": ("timeout", "unknown"),
    "500": ("unspecified", "unknown"),
    "503": ("unspecified", "unknown"),
    "504": ("unspecified", "unknown"),
}
CHALLENGES = {"401": "WWW-Authenticate", "407": "Proxy-Authenticate"}
REJECTS: dict[str, tuple[str, int]] = {
    "CALL_REJECTED": ("call_rejected", 603),
    "USER_BUSY": ("user_busy", 486),
    "NOT_FOUND": ("not_found", 404),
    "TEMPORARILY_UNAVAILABLE": ("no_answer", 480),
}


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running_app() as app:
        yield app


async def cause_of(app: App, call_control_id: str, timeout_s: float = 30) -> Cause:
    """Wait for the end of a call and return what was told of it."""

    def hangup(app: App) -> dict[str, Any] | None:
        for event in app.events:
            data = event["data"]
            if data["event_type"] == "call.hangup" and data["payload"]["call_control_id"] == call_control_id:
                return dict(data["payload"])
        return None

    await app.wait_for(lambda app: hangup(app) is not None, timeout_s)
    told = hangup(app)
    assert told is not None
    return told["hangup_cause"], told["sip_hangup_cause"], told["hangup_source"]


async def dialled(server: OffhookProcess, to: str, **parameters: Any) -> str:
    """Dial; return the call."""
    return str((await dial(server, to, **parameters))["call_control_id"])


async def until(app: App, call_control_id: str, event_type: str) -> None:
    await app.wait_for(
        lambda app: any(
            event["data"]["event_type"] == event_type
            and event["data"]["payload"]["call_control_id"] == call_control_id
            for event in app.events
        )
    )


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """Hold a UDP port at which nothing is ever said."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])


async def test_every_refusal_of_a_callee_is_told_with_its_cause(app: App, tmp_path: Path) -> None:
    async with running_server(app, tmp_path) as server, AsyncExitStack() as phones:
        wanted: dict[str, Cause] = {}
        for status, (cause, source) in REFUSALS.items():
            port = await phones.enter_async_context(
                callee(tmp_path, *scenario(tmp_path, "refuse", status=status))
            )
            call = await dialled(server, f"sip:bob@127.0.0.1:{port}")
            wanted[call] = (cause, status, source)
        for status, header in CHALLENGES.items():
            challenge = f'\n      {header}: Digest realm="there", nonce="1f", algorithm=MD5'
            refuse = scenario(tmp_path, "refuse", status=status, more=challenge)
            port = await phones.enter_async_context(callee(tmp_path, *refuse))
            call = await dialled(server, f"sip:bob@127.0.0.1:{port}")
            wanted[call] = ("call_rejected", status, "callee")
        refuse = scenario(tmp_path, "refuse", status="408")
        port = await phones.enter_async_context(callee(tmp_path, *refuse))
        call = await dialled(server, f"sip:bob@127.0.0.1:{port}", retry_on_timeout=False)
        wanted[call] = ("no_answer", "408", "unknown")
        assert {call: await cause_of(app, call) for call in wanted} == wanted
    assert set(app.types()) == {"call.initiated", "call.hangup"}


async def test_a_call_that_nobody_takes_and_one_that_never_left_are_told_apart(
    app: App, tmp_path: Path
) -> None:
    async with (
        running_server(app, tmp_path) as server,
        callee(tmp_path, *scenario(tmp_path, "ring"), count=3) as ringing,
        black_hole() as silent,
    ):
        bob = f"sip:bob@127.0.0.1:{ringing}"
        nobody = f"sip:bob@127.0.0.1:{free_port()};transport=tcp"
        wanted: dict[str, Cause] = {
            await dialled(server, bob, timeout_secs=5): ("timeout", "487", "unknown"),
            await dialled(server, bob, timeout_secs=5, retry_on_timeout=False): (
                "no_answer",
                "487",
                "unknown",
            ),
            await dialled(server, f"sip:bob@127.0.0.1:{silent}", timeout_secs=5): (
                "timeout",
                "487",
                "unknown",
            ),
            # RFC 3261 8.1.3.1: what could not be sent counts as a 503.
            await dialled(server, nobody): ("unspecified", "503", "unknown"),
            await dialled(server, "sip:bob@nowhere.invalid"): ("unspecified", "unspecified", "unknown"),
        }
        given_up = await dialled(server, bob)
        await until(app, given_up, "call.initiated")
        await asyncio.sleep(0.3)
        await app.act(given_up, "hangup")
        wanted[given_up] = ("originator_cancel", "487", "caller")
        assert {call: await cause_of(app, call) for call in wanted} == wanted


async def test_an_answered_call_tells_who_hung_up(app: App, tmp_path: Path) -> None:
    async with (
        running_server(app, tmp_path) as server,
        callee(tmp_path, "-sn", "uas") as port,
        callee(tmp_path, *scenario(tmp_path, "trunk")) as hanging_up,
    ):
        by_app = await dialled(server, f"sip:bob@127.0.0.1:{port}")
        trunk = f"sip:bob@127.0.0.1:{hanging_up}"
        by_phone = await dialled(server, trunk, sip_auth_username="us", sip_auth_password="secret")
        await until(app, by_app, "call.answered")
        await app.act(by_app, "hangup")
        assert await cause_of(app, by_app) == ("normal_clearing", "200", "caller")
        assert await cause_of(app, by_phone) == ("normal_clearing", "200", "callee")


async def test_what_only_half_a_minute_brings_about_is_told_too(app: App, tmp_path: Path) -> None:
    app.on_event = obey
    silent_caller = scenario(tmp_path, "silent")
    async with (
        running_server(app, tmp_path) as server,
        callee(tmp_path, "-sn", "uas", timeout_s=60) as port,
        callee(tmp_path, *silent_caller, "-s", "answer", f"127.0.0.1:{server.sip_port}", timeout_s=60),
        black_hole() as silent,
    ):
        nobody = f"sip:bob@127.0.0.1:{silent}"
        wanted: dict[str, Cause] = {
            # RFC 3261 17.1.1.2: an INVITE without any answer is given up after 64 T1, 32 s.
            await dialled(server, nobody, timeout_secs=60): ("timeout", "408", "unknown"),
            await dialled(server, nobody, timeout_secs=60, retry_on_timeout=False): (
                "no_answer",
                "408",
                "unknown",
            ),
            await dialled(server, f"sip:bob@127.0.0.1:{port}", time_limit_secs=30): (
                "time_limit",
                "200",
                "unknown",
            ),
        }
        # 13.3.1.4: so is an answer that is never acknowledged.
        assert await incoming_cause(app, "answer", 50) == ("unspecified", "408", "unknown")
        assert {call: await cause_of(app, call, 45) for call in wanted} == wanted


async def test_an_answer_without_a_codec_of_ours_ends_the_call(app: App, tmp_path: Path) -> None:
    only_pcma = '[sip]\ncodecs = "PCMA"\n'
    async with running_server(app, tmp_path, only_pcma) as server, callee(tmp_path, "-sn", "uas") as port:
        # sipp answers in PCMU whatever was offered.
        call = await dialled(server, f"sip:bob@127.0.0.1:{port}")
        assert await cause_of(app, call) == ("unspecified", "488", "unknown")


def called_user(payload: dict[str, Any]) -> str:
    return str(payload["to"]).removeprefix("sip:").partition("@")[0]


async def obey(app: App, event: dict[str, Any]) -> None:
    """Do with each call what its number asks for."""
    data = event["data"]
    payload = data["payload"]
    call, wish = payload["call_control_id"], called_user(payload)
    match data["event_type"], wish:
        case "call.initiated", "answer" | "answer-hangup":
            await app.act(call, "answer")
        case "call.initiated", "hangup":
            await app.act(call, "hangup")
        case "call.initiated", cause if cause in REJECTS:
            await app.act(call, "reject", cause=cause)
        case "call.answered", "answer-hangup":
            await app.act(call, "hangup")


async def incoming_cause(app: App, user: str, timeout_s: float = 30) -> Cause:
    """Wait for the end of the call to `user`."""

    def calls(app: App) -> list[str]:
        return [
            event["data"]["payload"]["call_control_id"]
            for event in app.events
            if event["data"]["event_type"] == "call.initiated"
            and called_user(event["data"]["payload"]) == user
        ]

    await app.wait_for(lambda app: len(calls(app)) == 1)
    return await cause_of(app, calls(app)[0], timeout_s)


async def slow_application(server: OffhookProcess, url: str) -> str:
    """Return an application that gives each call a second for the first command."""
    async with telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api) as client:
        made = await client.call_control_applications.create(
            application_name="slow",
            webhook_event_url=url,
            first_command_timeout=True,
            first_command_timeout_secs=1,
        )
    assert made.data is not None
    return made.data.id or ""


async def test_every_end_of_a_call_that_came_in_is_told_to_the_app_and_to_the_caller(
    app: App, tmp_path: Path
) -> None:
    async with running_server(app, tmp_path) as server, Phone() as phone:
        app.on_event = obey

        async def call(user: str, **plan: Any) -> CallResult:
            return await phone.call(CallPlan(uri=f"sip:{user}@127.0.0.1:{server.sip_port}", **plan))

        slow = await slow_application(server, app.url)
        results = await asyncio.gather(
            call("answer", duration_s=0.3),
            call("answer-hangup"),
            call("hangup"),
            call("nobody", ring_timeout_s=0.5),
            call(slow),
            *(call(cause) for cause in REJECTS),
        )
        statuses = [result.status for result in results]
        # What the phone that gave up was answered, it does not say.
        assert [statuses[2], *statuses[4:]] == [603, 480, *(status for _, status in REJECTS.values())]
        assert [result.ended_by for result in results[:2]] == ["local", "remote"]
        wanted: dict[str, Cause] = {
            "answer": ("normal_clearing", "200", "caller"),
            "answer-hangup": ("normal_clearing", "200", "callee"),
            "hangup": ("call_rejected", "603", "callee"),
            "nobody": ("originator_cancel", "487", "caller"),
            slow: ("timeout", "480", "unknown"),
            **{name: (cause, str(status), "callee") for name, (cause, status) in REJECTS.items()},
        }
        assert {user: await incoming_cause(app, user) for user in wanted} == wanted
        assert app.refused == []


def one_pair() -> str:
    """Return an even port and the next, which nobody uses now."""
    while True:
        low = free_port() & ~1
        try:
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp,
            ):
                rtp.bind(("127.0.0.1", low))
                rtcp.bind(("127.0.0.1", low + 1))
        except OSError:
            continue
        return f"{low}-{low + 1}"


async def test_without_a_free_port_a_call_is_refused_and_told_so(app: App, tmp_path: Path) -> None:
    app.on_event = obey
    async with (
        running_server(app, tmp_path, OFFHOOK_RTP_PORTS=one_pair()) as server,
        callee(tmp_path, "-sn", "uas") as port,
        Phone() as phone,
    ):
        first = await dialled(server, f"sip:bob@127.0.0.1:{port}")
        await until(app, first, "call.answered")
        out = await dialled(server, f"sip:bob@127.0.0.1:{port}")
        assert await cause_of(app, out) == ("unspecified", "500", "unknown")
        refused = await phone.call(CallPlan(uri=f"sip:answer@127.0.0.1:{server.sip_port}"))
        assert refused.status == 500
        assert await incoming_cause(app, "answer") == ("unspecified", "500", "unknown")
        await app.act(first, "hangup")
        assert await cause_of(app, first) == ("normal_clearing", "200", "caller")
