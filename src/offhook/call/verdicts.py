"""How a call ended: the table of hangup causes (contract 3.5).

| what happened | hangup_cause | sip_hangup_cause | source |
| --- | --- | --- | --- |
| the caller sent BYE (also before its ACK) | normal_clearing | 200 | caller |
| `hangup` after the answer was sent | normal_clearing | 200 | callee |
| the caller cancelled, or sent BYE while ringing | originator_cancel | 487 | caller |
| `reject` with CALL_REJECTED | call_rejected | 603 | callee |
| `reject` with USER_BUSY | user_busy | 486 | callee |
| `reject` with NOT_FOUND | not_found | 404 | callee |
| `reject` with TEMPORARILY_UNAVAILABLE | no_answer | 480 | callee |
| `hangup` while ringing: refused like CALL_REJECTED | call_rejected | 603 | callee |
| nobody answered in time; the caller gets 480 | timeout | 480 | unknown |
| no ACK came in time | unspecified | 408 | unknown |
| the time limit of a call was reached | time_limit | 200 | unknown |
| the media leg could not be opened; the caller gets 500 | unspecified | 500 | unknown |
| media broke down, or no RTP came for too long | unspecified | unspecified | unknown |
| neither INVITE nor ACK said where to send audio | unspecified | unspecified | unknown |
| the dialog broke: the SIP status where there is one | unspecified | code or unspecified | unknown |

A call we made, before its answer; after it the table above holds, with BYE of the far end as callee:

| what happened | hangup_cause | sip_hangup_cause | source |
| --- | --- | --- | --- |
| `hangup` | originator_cancel | 487 | caller |
| `timeout_secs` passed | timeout, no_answer without retry_on_timeout | 487 | unknown |
| nobody answered anything, or 408 | the same | 408 | unknown |
| 486, 600 | user_busy | code | callee |
| 404, 410, 484, 604 | not_found | code | callee |
| 480 | no_answer | 480 | callee |
| any other 3xx, 4xx or 6xx | call_rejected | code | callee |
| 5xx, no transport, no such host | unspecified | code or unspecified | unknown |
| the answer has no audio that we can do | unspecified | 488 | unknown |
"""

from dataclasses import dataclass

from offhook.call.commands import RejectCause
from offhook.call.values import HangupCause, HangupSource


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a call ended, as `call.hangup` tells it. `sip` is a status code as text or `unspecified`."""

    cause: HangupCause
    sip: str
    source: HangupSource


_UNSPECIFIED = "unspecified"

ENDED_BY_CALLER = Verdict(HangupCause.NORMAL_CLEARING, "200", HangupSource.CALLER)
ENDED_BY_APP = Verdict(HangupCause.NORMAL_CLEARING, "200", HangupSource.CALLEE)
CANCELLED = Verdict(HangupCause.ORIGINATOR_CANCEL, "487", HangupSource.CALLER)
NOBODY_ANSWERED = Verdict(HangupCause.TIMEOUT, "480", HangupSource.UNKNOWN)
NO_ACK = Verdict(HangupCause.UNSPECIFIED, "408", HangupSource.UNKNOWN)
TIME_LIMIT_REACHED = Verdict(HangupCause.TIME_LIMIT, "200", HangupSource.UNKNOWN)
MEDIA_REFUSED = Verdict(HangupCause.UNSPECIFIED, "500", HangupSource.UNKNOWN)
MEDIA_LOST = Verdict(HangupCause.UNSPECIFIED, _UNSPECIFIED, HangupSource.UNKNOWN)

DECLINED = Verdict(HangupCause.CALL_REJECTED, "603", HangupSource.CALLEE)
BUSY = Verdict(HangupCause.USER_BUSY, "486", HangupSource.CALLEE)
UNKNOWN_NUMBER = Verdict(HangupCause.NOT_FOUND, "404", HangupSource.CALLEE)
UNAVAILABLE = Verdict(HangupCause.NO_ANSWER, "480", HangupSource.CALLEE)

REJECTIONS = {
    RejectCause.CALL_REJECTED: (603, DECLINED),
    RejectCause.USER_BUSY: (486, BUSY),
    RejectCause.NOT_FOUND: (404, UNKNOWN_NUMBER),
    RejectCause.TEMPORARILY_UNAVAILABLE: (480, UNAVAILABLE),
}
"""What the caller is answered and what the app is told, for each reason an app may give."""


GIVEN_UP = Verdict(HangupCause.ORIGINATOR_CANCEL, "487", HangupSource.CALLER)
ENDED_BY_CALLED_PHONE = Verdict(HangupCause.NORMAL_CLEARING, "200", HangupSource.CALLEE)
ENDED_BY_CALLING_APP = Verdict(HangupCause.NORMAL_CLEARING, "200", HangupSource.CALLER)
NO_COMMON_MEDIA = Verdict(HangupCause.UNSPECIFIED, "488", HangupSource.UNKNOWN)

_BUSY = frozenset((486, 600))
_NOT_FOUND = frozenset((404, 410, 484, 604))


def rang_too_long(sip_status: int, *, retry_on_timeout: bool) -> Verdict:
    """Return the verdict on a call of ours that nobody took in time."""
    cause = HangupCause.TIMEOUT if retry_on_timeout else HangupCause.NO_ANSWER
    return Verdict(cause, str(sip_status), HangupSource.UNKNOWN)


def refused_by_callee(sip_status: int | None, *, by_peer: bool, retry_on_timeout: bool) -> Verdict:
    """Return the verdict on a call of ours that ended with this final status; None: it never began."""
    if sip_status == 408:
        return rang_too_long(408, retry_on_timeout=retry_on_timeout)
    if sip_status is None or not by_peer or 500 <= sip_status <= 599:
        return dialog_broken(sip_status)
    if sip_status in _BUSY:
        cause = HangupCause.USER_BUSY
    elif sip_status in _NOT_FOUND:
        cause = HangupCause.NOT_FOUND
    elif sip_status == 480:
        cause = HangupCause.NO_ANSWER
    else:
        cause = HangupCause.CALL_REJECTED
    return Verdict(cause, str(sip_status), HangupSource.CALLEE)


def dialog_broken(sip_status: int | None) -> Verdict:
    """Return the verdict on a dialog that cannot go on."""
    sip = _UNSPECIFIED if sip_status is None else str(sip_status)
    return Verdict(HangupCause.UNSPECIFIED, sip, HangupSource.UNKNOWN)
