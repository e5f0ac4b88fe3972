"""The parameters of `bridge` and `transfer` (contract 2.4), and the commands they become."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from offhook.base import limits
from offhook.call import commands as domain
from offhook.edge.http import fields, schemas
from offhook.edge.http.building import common, not_yet, refusal
from offhook.edge.http.problems import Refusal
from offhook.edge.http.recording import inline_recording

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules

_Country = Literal[
    "at", "au", "be", "bg", "br", "ch", "cl", "cn", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hu",
    "il", "in", "it", "jp", "lt", "mx", "my", "nl", "no", "nz", "ph", "pl", "pt", "ru", "se", "sg", "th",
    "tw", "uk", "us-old", "us", "ve", "za",
]  # fmt: skip
_Method = Literal["POST", "GET"]
_NOBODY = "+10000000"
"""Stands for the caller while a transfer has none of its own; never shown."""


class BridgeBody(schemas.CommandBody, schemas.RecordBody):
    """bridge."""

    call_control_id: str
    queue: str | None = None
    video_room_id: str | None = None
    video_room_context: str | None = None
    park_after_unbridge: Literal["self"] | None = None
    hold_after_unbridge: bool = False
    mute_dtmf: Literal["none", "both", "self", "opposite"] = "none"
    play_ringtone: bool = False
    ringtone: _Country = "us"
    prevent_double_bridge: bool = False


class TransferBody(schemas.CommandBody, schemas.RecordBody):
    """transfer."""

    to: fields.Callees
    from_: Annotated[fields.Caller | None, Field(alias="from")] = None
    from_display_name: fields.DisplayName = ""
    timeout_secs: Annotated[int, Field(ge=5, le=600)] = 30
    time_limit_secs: Annotated[int, Field(ge=30, le=14_400)] = 14_400
    early_media: bool = True
    audio_url: fields.WebUrl | None = None
    media_name: fields.MediaName | None = None
    media_encryption: Literal["disabled", "SRTP", "DTLS"] = "disabled"
    preferred_codecs: fields.CodecList = ""
    custom_headers: list[schemas.CustomHeader] = Field(
        default_factory=list, max_length=limits.HEADERS_PER_COMMAND_MAX
    )
    sip_headers: list[schemas.SipHeader] = Field(
        default_factory=list, max_length=limits.HEADERS_PER_COMMAND_MAX
    )
    sip_auth_username: fields.SipCredential | None = None
    sip_auth_password: fields.SipCredential | None = None
    sip_transport_protocol: Literal["UDP", "TCP", "TLS"] = "UDP"
    sip_region: Literal["US", "Europe", "Canada", "Australia", "Middle East"] = "US"
    route_to_mobile: bool = False
    privacy: Literal["id", "none"] = "none"
    diversion: fields.E164 | None = None
    target_leg_client_state: fields.ClientState | None = None
    mute_dtmf: Literal["none", "both", "self", "opposite"] = "none"
    park_after_unbridge: Literal["self"] | None = None
    send_digits_on_answer: fields.Digits = ""
    sound_modifications: schemas.SoundModifications | None = None
    answering_machine_detection: Literal[
        "premium",
        "premium_ios_call_screening_detection",
        "detect",
        "detect_beep",
        "detect_words",
        "greeting_end",
        "disabled",
    ] = "disabled"
    answering_machine_detection_config: dict[str, Any] = Field(default_factory=dict)
    webhook_url: fields.WebUrl | None = None
    webhook_url_method: _Method = "POST"
    webhook_urls: fields.WebUrls = Field(default_factory=dict)
    webhook_urls_method: _Method = "POST"
    webhook_retries_policies: dict[str, schemas.RetriesPolicy] = Field(default_factory=dict)

    def as_dial(self) -> schemas.Dial:
        """Return the call that it makes, as it would be asked for by itself."""
        asked = self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
        own = {"early_media", "target_leg_client_state", "mute_dtmf", "park_after_unbridge", "command_id"}
        for name in own | {"client_state"}:
            asked.pop(name, None)
        asked["to"] = list(self.to) if len(self.to) > 1 else self.to[0]
        # Only whether it is on matters to a server that has none.
        if asked.pop("answering_machine_detection", "disabled") != "disabled":
            asked["answering_machine_detection"] = "detect"
        return schemas.Dial.model_validate({"from": _NOBODY, "connection_id": "", **asked})


def bridge(body: BridgeBody, rules: "Rules") -> domain.Bridge:
    """Return the command that bridges two calls."""
    for name in ("queue", "video_room_id", "video_room_context"):
        if getattr(body, name) is not None and not rules.ignore_unsupported:
            raise Refusal(422, not_yet(name, "give the `call_control_id` of a call"))
    after = domain.AfterBridge.HOLD if body.hold_after_unbridge else _after(body.park_after_unbridge)
    options = domain.BridgeOptions(
        other=body.call_control_id,
        after=after,
        mute_dtmf=domain.MuteDtmf(body.mute_dtmf),
        prevent_double=body.prevent_double_bridge,
    )
    return domain.Bridge(**common(body), bridge=options, recording=inline_recording(body))


def transferred(body: TransferBody, plan: domain.Dial) -> domain.Transfer:
    """Return the command of a transfer, whose call is `plan`."""
    muted = domain.MuteDtmf(body.mute_dtmf).seen_from_opposite()
    options = domain.BridgeOptions(other="", mute_dtmf=muted, transfers=True, early_media=body.early_media)
    plan = replace(plan, caller=body.from_ or "", client_state=body.target_leg_client_state, bridge=options)
    return domain.Transfer(**common(body), plan=plan, after=_after(body.park_after_unbridge))


def bridge_of_dial(body: schemas.Dial) -> domain.BridgeOptions | None:
    """Return the bridge that a call is to get when it is answered."""
    for name in ("bridge_intent", "bridge_on_answer", "park_after_unbridge"):
        if getattr(body, name) and not body.link_to:
            raise refusal("10004", f"The parameter `link_to` is required with `{name}`.", "/link_to")
    if not body.bridge_on_answer or body.link_to is None:
        return None
    after = _after(body.park_after_unbridge)
    return domain.BridgeOptions(other=body.link_to, after=after, prevent_double=body.prevent_double_bridge)


def after_bridge_of_dial(body: schemas.Dial) -> domain.AfterBridge:
    """Return what becomes of a dialled call behind a bridge."""
    return _after(body.park_after_unbridge)


def _after(park: str | None) -> domain.AfterBridge:
    return domain.AfterBridge.END if park is None else domain.AfterBridge.PARK
