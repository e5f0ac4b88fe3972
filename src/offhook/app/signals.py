"""What a leg signals inside its dialog beside the call itself: INFO and REFER."""

from offhook.call import effects as do
from offhook.call import facts
from offhook.edge.sip import SipServer
from offhook.proto import sip


def send_signal(
    server: SipServer, call: sip.CallHandle, effect: do.SendInfo | do.ReferCall | do.ForgetReferral
) -> None:
    """Carry out an effect.

    Raises:
        CallStateError: the call is over.
    """
    match effect:
        case do.SendInfo():
            server.info(call, effect.content_type, effect.body)
        case do.ForgetReferral():
            server.forget_referral(call)
        case do.ReferCall():
            credentials = sip.Credentials(effect.username, effect.password or "") if effect.username else None
            headers = tuple((header.name, header.value) for header in effect.headers)
            server.refer(call, effect.target, headers=headers, credentials=credentials)


def fact_of_info(event: sip.InfoReceived) -> facts.InfoReceived | facts.DigitReceived | None:
    """Return what an INFO of the far end means to the leg; None when it should be a key and is none."""
    if not sip.carries_key(event.content_type):
        return facts.InfoReceived(event.content_type, event.body.decode("utf-8", "replace"))
    key = sip.key_of_info(event.content_type, event.body)
    return None if key is None else facts.DigitReceived(key, by_info=True)
