"""After a crash: tells apps that the calls of the last run are over.

A killed process cannot say goodbye. What it had told is in the outbox, so the next one finds the
legs that never ended and tells what is missing: the end of each tap and sound, then `call.hangup`.
"""

import json
from collections.abc import Iterable
from typing import Any, cast

import structlog

from offhook.base.clock import iso_time
from offhook.call.values import HangupCause, HangupSource, WebhookMethod, WebhookRoute
from offhook.edge.store import FORM, Deliveries, DeliveryRow
from offhook.edge.webhook import Outbox

log = structlog.get_logger(__name__)

_HEARD_NO_MORE = {"status": "call_hangup", "status_detail": ""}
_ENDS: dict[str, tuple[str, dict[str, str]]] = {
    "streaming.started": ("streaming.stopped", {"stop_reason": "call_ended"}),
    "call.fork.started": ("call.fork.stopped", {}),
    "call.playback.started": ("call.playback.ended", _HEARD_NO_MORE),
    "call.speak.started": ("call.speak.ended", _HEARD_NO_MORE),
}
"""What ends each thing that was begun, and the fields that the end adds to those of the beginning."""
_ENDED_BY = {ended: ended for ended, _ in _ENDS.values()} | {"streaming.failed": "streaming.stopped"}
STREAM_STOPPED = "stream-stopped"
_OF_EVERY_EVENT = ("call_control_id", "call_leg_id", "call_session_id", "connection_id", "client_state")
_OF_THE_CALL = (*_OF_EVERY_EVENT, "from", "to", "start_time", "calling_party_type")


async def end_calls_of_last_run(deliveries: Deliveries, outbox: Outbox, *, now: float) -> int:
    """Put the missing events of every leg that a crash cut off; return how many legs there were.

    Args:
        now: seconds since 1970; when the calls count as ended, for nobody knows better.
    """
    legs: dict[str, list[DeliveryRow]] = {}
    for row in await deliveries.of_unended_legs():
        legs.setdefault(row.call_leg_id, []).append(row)
    for call_leg_id, all_rows in legs.items():
        rows = [row for row in all_rows if not row.method.startswith(FORM)]
        for callback in missing_callbacks(row for row in all_rows if row.method.startswith(FORM)):
            await _call_back(outbox, callback, now=now)
        last = rows[-1]  # an answer may have sent what follows elsewhere
        method = cast(WebhookMethod, last.method)
        route = WebhookRoute(last.url, last.failover_url, last.timeout_s, method)
        for event_type, payload in missing_events(rows, now=now):
            await outbox.put(event_type, payload, occurred_at=now, route=route, call_leg_id=call_leg_id)
    if legs:
        log.warning("calls were cut off by the end of the last run", calls=len(legs))
    return len(legs)


async def _call_back(outbox: Outbox, started: DeliveryRow, *, now: float) -> None:
    method = cast(WebhookMethod, started.method.removeprefix(FORM))
    payload = json.loads(started.data)["payload"]
    stopped = {**payload, "StreamEvent": STREAM_STOPPED, "Timestamp": iso_time(now)}
    route = WebhookRoute(started.url, method=method, form=True)
    await outbox.put(STREAM_STOPPED, stopped, occurred_at=now, route=route, call_leg_id=started.call_leg_id)


def missing_callbacks(rows: Iterable[DeliveryRow]) -> list[DeliveryRow]:
    """Return the callbacks that told the start of a TeXML stream whose end nobody has told."""
    running: dict[str, DeliveryRow] = {}
    for row in rows:
        stream_id = json.loads(row.data)["payload"]["StreamSid"]
        if row.event_type == "stream-started":
            running[stream_id] = row
        else:
            running.pop(stream_id, None)
    return list(running.values())


def missing_events(rows: Iterable[DeliveryRow], *, now: float) -> list[tuple[str, dict[str, Any]]]:
    """Return what a leg with these rows, in order, has still to tell."""
    open_taps: list[tuple[str, str, dict[str, Any]]] = []
    call: dict[str, Any] = {}
    for row in rows:
        payload = json.loads(row.data)["payload"]
        call |= {name: payload[name] for name in _OF_THE_CALL if name in payload}
        if row.event_type in _ENDS:
            ended_by, more = _ENDS[row.event_type]
            open_taps.append((ended_by, _tap(payload), payload | more))
        elif (stopped := _ENDED_BY.get(row.event_type)) is not None:
            ended = next((tap for tap in open_taps if tap[:2] == (stopped, _tap(payload))), None)
            if ended is not None:
                open_taps.remove(ended)
    client_state = {"client_state": call["client_state"]} if "client_state" in call else {}
    told = [(stopped, payload | client_state) for stopped, _, payload in open_taps]
    hangup = call | {
        "state": "hangup",
        "end_time": iso_time(now),
        "hangup_cause": HangupCause.UNSPECIFIED.value,
        "hangup_source": HangupSource.UNKNOWN.value,
        "sip_hangup_cause": "unspecified",
        "call_quality_stats": None,
    }
    return [*told, ("call.hangup", hangup)]


def _tap(payload: dict[str, Any]) -> str:
    """Return what tells one tap or sound of a leg from another."""
    names = ("stream_id", "playback_id", "speak_id", "rx", "tx", "target", "media_url")
    return str([payload.get(name) for name in names])
