"""Which SIP headers of a request an app gets to see, and in which field of a webhook."""

from collections.abc import Iterable

from offhook.call.values import Header

_SIP_HEADERS = {"user-to-user", "diversion"}

# The registered headers (RFC 3261 20 and its extensions) with the compact forms. They speak to SIP
# elements, and some carry credentials; an app is shown what else the caller put there.
_NAMES = """
a accept accept-contact accept-encoding accept-language alert-info allow allow-events b
answer-mode authentication-info authorization c call-id call-info contact content-disposition
content-encoding content-id content-language content-length content-type cseq d date diversion e
encryption error-info event expires f feature-caps flow-timer from geolocation
geolocation-error geolocation-routing hide history-info i identity identity-info in-reply-to
info-package j join k l m max-breadth max-forwards mime-version min-expires min-se n o
organization p p-access-network-info p-answer-state p-asserted-identity p-asserted-service
p-associated-uri p-called-party-id p-charge-info p-charging-function-addresses
p-charging-vector p-early-media p-media-authorization p-preferred-identity
p-preferred-service p-served-user p-user-database p-visited-network-id path permission-missing
policy-contact policy-id priority priority-share priv-answer-mode privacy proxy-authenticate
proxy-authorization proxy-require r rack reason reason-phrase record-route recv-info
refer-sub refer-to referred-by reject-contact remote-party-id replaces reply-to
request-disposition require response-key restoration-info retry-after route rseq s
security-client security-server security-verify server service-route session-expires
session-id sip-etag sip-if-match subject subscription-state supported suppress-if-match t
target-dialog timestamp to trigger-consent u unsupported user-agent user-to-user v via warning
www-authenticate x y
"""
_REGISTERED = frozenset(_NAMES.split())


def sip_headers(headers: Iterable[Header]) -> list[dict[str, str]]:
    """Return the User-to-User and Diversion headers as the `sip_headers` of a webhook."""
    return [_told(header) for header in headers if header.name.lower() in _SIP_HEADERS]


def custom_headers(headers: Iterable[Header]) -> list[dict[str, str]]:
    """Return the headers that no SIP document registers as the `custom_headers` of a webhook."""
    return [_told(header) for header in headers if header.name.lower() not in _REGISTERED]


def _told(header: Header) -> dict[str, str]:
    return {"name": header.name, "value": header.value}
