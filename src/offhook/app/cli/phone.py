"""`offhook phone`: a phone that can be called."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from offhook.app.cli.loop import run_until_stopped
from offhook.app.cli.output import people, print_json
from offhook.base.errors import ConfigError
from offhook.edge.sip import Listen
from offhook.kit.answering import AnsweringPhone, AnswerPlan
from offhook.kit.audio import read_wav
from offhook.kit.phone import CODECS, PhoneEvent
from offhook.proto.sdp import is_codec


def phone(
    *,
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="ADDRESS", help="Where it can be called: udp:HOST:PORT, or tcp."),
    ] = "udp:127.0.0.1:5070",
    play: Annotated[
        Path | None, typer.Option("--play", metavar="F.wav", help="Say this: 16-bit PCM, 8 to 48 kHz.")
    ] = None,
    ring: Annotated[
        float, typer.Option("--ring", metavar="S", min=0, max=600, help="Ring so long before anything else.")
    ] = 0.0,
    refuse: Annotated[
        int | None,
        typer.Option("--refuse", metavar="STATUS", min=300, max=699, help="Refuse with this SIP status."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="S", min=0.1, help="Hang up so many seconds after the answer."),
    ] = None,
    calls: Annotated[
        int | None, typer.Option("--calls", metavar="N", min=1, help="End after so many calls.")
    ] = None,
    codec: Annotated[
        str, typer.Option("--codec", metavar="LIST", help="Codecs it speaks, best first.")
    ] = ",".join(CODECS),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object an event.")] = False,
) -> int:
    """Be a phone that answers every call, for trying what calls out.

    Runs until Ctrl-C, or until --calls calls are over.
    """
    names = tuple(name.strip().upper() for name in codec.split(",") if name.strip())
    unknown = [name for name in names if not is_codec(name)]
    if unknown or not names:
        raise ConfigError(f"The phone does not speak {', '.join(unknown) or 'nothing'}.")
    plan = AnswerPlan(
        ring_s=ring,
        refuse=refuse,
        play=None if play is None else read_wav(play),
        duration_s=duration,
        codecs=names,
    )
    return run_until_stopped(_answer(plan, Listen.parse(listen), calls, json))


async def _answer(plan: AnswerPlan, listen: Listen, calls: int | None, json: bool) -> int:
    show = _show_json if json else _show
    async with AnsweringPhone(plan, listen, on_event=show) as answering:
        if json:
            print_json({"event": "listening", "uri": answering.uri})
        else:
            people.print(f"Waiting for calls to {answering.uri}", soft_wrap=True, markup=False)
        # Without a number of calls only Ctrl-C ends it.
        await answering.wait(calls if calls is not None else 10**12)
    return 0


def _show(event: PhoneEvent) -> None:
    fields = "  ".join(f"{name}={value}" for name, value in event.fields.items())
    people.print(f"[dim]{event.at_s:7.3f}s[/dim]  {event.kind:9} {escape(fields)}", soft_wrap=True)


def _show_json(event: PhoneEvent) -> None:
    print_json({"event": event.kind, "at_s": round(event.at_s, 3), **event.fields})
