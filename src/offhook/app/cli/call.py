"""`offhook call`: a phone call from the command line."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from offhook.app.cli.loop import signals_call
from offhook.app.cli.output import people, print_json, problems
from offhook.kit.audio import WavWriter, read_wav
from offhook.kit.call_plan import RECORD_RATES_HZ, WIDE_BAND_CODECS
from offhook.kit.phone import CODECS, CallPlan, CallResult, Phone, PhoneError, PhoneEvent, bind_address_for


def call(
    *,
    sip_uri: Annotated[str, typer.Argument(metavar="SIP_URI", help="Whom to call: sip:app@127.0.0.1:5060")],
    play: Annotated[
        Path | None, typer.Option("--play", metavar="F.wav", help="Say this: 16-bit PCM, 8 to 48 kHz.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="F.wav", help="Write what is heard into this file.")
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration", metavar="S", min=0.1, help="Hang up so many seconds after the answer at the latest."
        ),
    ] = None,
    dtmf: Annotated[
        str, typer.Option("--dtmf", metavar="12#", help="Press these keys, after the audio if there is any.")
    ] = "",
    codec: Annotated[
        str,
        typer.Option(
            "--codec",
            metavar="LIST",
            help="Codecs to offer, best first: PCMU, PCMA, G722, OPUS, AMR-WB, L16, L16/48000 ...",
        ),
    ] = ",".join(CODECS),
    caller: Annotated[
        str, typer.Option("--from", metavar="USER", help="Who calls: a number or a name.")
    ] = "phone",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object an event.")] = False,
) -> int:
    """Call somebody by SIP, as a telephone would.

    Stays until the audio and the keys are over and a second more, until the time is up, or until the
    other side hangs up; with neither audio nor keys nor a time, until the other side hangs up or
    Ctrl-C. SIP_URI may end in ;transport=tcp. Exit status 0 when the call was answered, else 1.
    """
    sound = None if play is None else read_wav(play)
    names = tuple(name.strip().upper() for name in codec.split(",") if name.strip())
    wide_band = any(name.partition("/")[0] in WIDE_BAND_CODECS for name in names)
    record_rate_hz = RECORD_RATES_HZ[wide_band]
    writer = None if record is None else WavWriter(record, sample_rate_hz=record_rate_hz)
    try:
        plan = CallPlan(
            uri=sip_uri,
            play=sound,
            digits=dtmf.upper(),
            codecs=names,
            record=None if writer is None else writer.write,
            record_rate_hz=record_rate_hz,
            duration_s=duration,
            caller=caller,
        )
        return asyncio.run(_call(plan, json))
    finally:
        if writer is not None:
            writer.close()


async def _call(plan: CallPlan, json: bool) -> int:
    stop = asyncio.Event()
    show = _show_json if json else _show
    try:
        async with Phone(bind_address=bind_address_for(plan.uri)) as phone:
            with signals_call(stop.set):
                result = await phone.call(plan, hang_up_when=stop, on_event=show)
    except PhoneError as error:
        problems.print(f"offhook: {error}", soft_wrap=True, markup=False)
        return 1
    _show_result(result, json)
    return 0 if result.outcome == "answered" else 1


def _show(event: PhoneEvent) -> None:
    fields = "  ".join(f"{name}={value}" for name, value in event.fields.items())
    people.print(f"[dim]{event.at_s:7.3f}s[/dim]  {event.kind:9} {escape(fields)}", soft_wrap=True)


def _show_json(event: PhoneEvent) -> None:
    print_json({"event": event.kind, "at_s": round(event.at_s, 3), **event.fields})


def _show_result(result: CallResult, json: bool) -> None:
    stats = result.stats
    figures = {
        "outcome": result.outcome,
        "status": result.status,
        "reason": result.reason,
        "ended_by": result.ended_by,
        "ring_s": round(result.ring_s, 3),
        "duration_s": round(result.duration_s, 3),
        "codec": result.codec,
        "digits": result.digits,
        "packets_sent": stats["packets_sent"] if stats else 0,
        "packets_received": stats["packets_received"] if stats else 0,
        "packets_lost": stats["packets_lost"] if stats else 0,
        "jitter_ms": round(stats["jitter_us"] / 1_000, 3) if stats else 0.0,
    }
    if json:
        print_json({"event": "result", **figures})
        return
    style = "green" if result.outcome == "answered" else "red"
    people.print(f"{result.outcome} ({result.status} {result.reason})", style=style, markup=False)
    if result.outcome == "answered":
        people.print(
            f"{result.duration_s:.1f} s of {result.codec}, ended by the {result.ended_by} side; "
            f"{figures['packets_sent']} packets sent, {figures['packets_received']} received, "
            f"{figures['packets_lost']} lost, jitter {figures['jitter_ms']:.1f} ms",
            soft_wrap=True,
            markup=False,
        )
