"""The parameters of `send_sip_info` and `refer` (contract 2.4), and the commands they become."""

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from offhook.base import limits
from offhook.call import commands as domain
from offhook.call.values import Header
from offhook.edge.http import fields
from offhook.edge.http.building import common
from offhook.edge.http.schemas import CommandBody, CustomHeader, SipHeader
from offhook.proto.sip import SipSyntaxError, SipUri

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules

_TOKEN = r"[A-Za-z0-9!%*_+`'~.-]+"
_MIME_TYPE = re.compile(
    rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|\"[^\"\\\x00-\x1f\x7f]*\"))*", re.ASCII
)


def _mime_type(text: str) -> str:
    if len(text) > limits.HEADER_CHARACTERS_MAX:
        raise fields.refuse(
            "10025", f"`content_type` is longer than {limits.HEADER_CHARACTERS_MAX} characters."
        )
    if not text.isascii() or not _MIME_TYPE.fullmatch(text):
        raise fields.refuse("10015", "`content_type` must be a MIME type like application/json.")
    return text


def _info_body(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise fields.refuse("10015", "`body` holds a character that is none.") from None
    if size > limits.SIP_INFO_BYTES_MAX:
        raise fields.refuse("10025", f"`body` is longer than {limits.SIP_INFO_BYTES_MAX} bytes.")
    return text


def _sip_address(text: str) -> str:
    try:
        uri = SipUri.parse(text)
    except SipSyntaxError:
        uri = None
    plain = text.isascii() and not any(c <= " " or c in '<>"\x7f' for c in text)
    if uri is None or not plain or len(text) > limits.URL_CHARACTERS_MAX:
        raise fields.refuse("10015", "`sip_address` must be a SIP URI like sip:user@host.")
    return text


class SendSipInfo(CommandBody):
    """send_sip_info."""

    content_type: Annotated[str, AfterValidator(_mime_type), Field(examples=["application/json"])]
    body: Annotated[str, AfterValidator(_info_body)]


class Refer(CommandBody):
    """refer."""

    sip_address: Annotated[str, AfterValidator(_sip_address), Field(examples=["sip:desk@pbx.example"])]
    sip_headers: list[SipHeader] = Field(default_factory=list, max_length=limits.HEADERS_PER_COMMAND_MAX)
    custom_headers: list[CustomHeader] = Field(
        default_factory=list, max_length=limits.HEADERS_PER_COMMAND_MAX
    )
    sip_auth_username: fields.SipCredential | None = None
    sip_auth_password: fields.SipCredential | None = None


def send_sip_info(body: SendSipInfo, rules: "Rules") -> domain.SendInfo:
    """Return the command that sends an INFO."""
    del rules
    return domain.SendInfo(**common(body), content_type=body.content_type, body=body.body.encode())


def refer(body: Refer, rules: "Rules") -> domain.Refer:
    """Return the command that refers the far end to somebody."""
    del rules
    headers: tuple[SipHeader | CustomHeader, ...] = (*body.sip_headers, *body.custom_headers)
    return domain.Refer(
        **common(body),
        target=body.sip_address,
        headers=tuple(Header(header.name, header.value) for header in headers),
        username=body.sip_auth_username,
        password=body.sip_auth_password,
    )
