"""`offhook listen`: a WebSocket server to stream calls to."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from offhook.app.cli.loop import run_until_stopped
from offhook.app.cli.output import people, print_json
from offhook.app.meter import level_text, meter
from offhook.kit.stream_server import StreamServer, StreamSession
from offhook.proto.stream import DtmfFrame, ErrorFrame, MarkFrame, ServerFrame, StartFrame, StopFrame

REPORT_S = 1.0


def listen(
    port: Annotated[
        int, typer.Option("--port", metavar="P", min=0, max=65535, help="Port to listen at.")
    ] = 9001,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Address to listen at.")] = "127.0.0.1",
    echo: Annotated[
        bool, typer.Option("--echo", help="Send the caller's audio back; the stream must be in mode rtp.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DIR", help="Write one WAV file a track into this folder."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object an event.")] = False,
) -> int:
    """Take media streams and show what is in them.

    Runs until Ctrl-C. Give the printed URL to start_streaming as stream_url. Every second each track tells how much
    audio came and how loud it is.
    """
    view = _JsonView() if json else _PeopleView()
    return run_until_stopped(_listen(view, host, port, echo, record))


class _PeopleView:
    """Lines for a person."""

    def listening(self, url: str) -> None:
        people.print(f"Waiting for streams at {url}", soft_wrap=True, markup=False)

    def frame(self, session: StreamSession, frame: ServerFrame) -> None:
        match frame:
            case StartFrame():
                media = frame.media_format
                text = f"[green]start[/green]  {media.encoding} {media.sample_rate_hz} Hz"
            case DtmfFrame():
                text = f"digit  {escape(frame.digit)}"
            case MarkFrame():
                text = f"mark   {escape(frame.name)}"
            case ErrorFrame():
                text = f"[red]error[/red]  {frame.code} {escape(frame.detail)}"
            case StopFrame():
                text = f"stop   {escape(frame.reason or '')}"
            case _:
                return
        people.print(f"{_short(session)}  {text}", soft_wrap=True)

    def tracks(self, session: StreamSession) -> None:
        for track, got in session.tracks.items():
            people.print(
                f"{_short(session)}  {track:8}  {got.frames:6} frames  {got.audio_ms / 1_000:7.1f} s  "
                f"{meter(got.level_dbfs)} {level_text(got.level_dbfs)}"
                + (f"  {got.gaps} gaps" if got.gaps else ""),
                soft_wrap=True,
                markup=False,
            )

    def end(self, session: StreamSession) -> None:
        self.tracks(session)
        wrong = f"; {session.malformed_frames} malformed frames" if session.malformed_frames else ""
        people.print(f"{_short(session)}  closed{wrong}", soft_wrap=True, markup=False)


class _JsonView(_PeopleView):
    """JSON lines for a program."""

    def listening(self, url: str) -> None:
        print_json({"event": "listening", "url": url})

    def frame(self, session: StreamSession, frame: ServerFrame) -> None:
        told: dict[str, object] = {"stream_id": session.stream_id}
        match frame:
            case StartFrame():
                media = frame.media_format
                told |= {"event": "start", "call_control_id": frame.call_control_id}
                told |= {"encoding": media.encoding, "sample_rate_hz": media.sample_rate_hz}
                told |= {"custom_parameters": frame.custom_parameters, "client_state": frame.client_state}
            case DtmfFrame():
                told |= {"event": "dtmf", "digit": frame.digit, "occurred_at": frame.occurred_at}
            case MarkFrame():
                told |= {"event": "mark", "name": frame.name}
            case ErrorFrame():
                told |= {"event": "error", "code": frame.code, "title": frame.title, "detail": frame.detail}
            case StopFrame():
                told |= {"event": "stop", "reason": frame.reason}
            case _:
                return
        print_json(told)

    def tracks(self, session: StreamSession) -> None:
        for track, got in session.tracks.items():
            print_json(
                {
                    "event": "track",
                    "stream_id": session.stream_id,
                    "track": track,
                    "frames": got.frames,
                    "audio_ms": round(got.audio_ms),
                    "gaps": got.gaps,
                    "level_dbfs": None if got.level_dbfs is None else round(got.level_dbfs, 1),
                }
            )

    def end(self, session: StreamSession) -> None:
        self.tracks(session)
        print_json(
            {
                "event": "closed",
                "stream_id": session.stream_id,
                "malformed_frames": session.malformed_frames,
                "last_problem": session.last_problem,
            }
        )


async def _listen(view: _PeopleView, host: str, port: int, echo: bool, record: Path | None) -> int:
    server = StreamServer(view.frame, view.end, echo=echo, record=record)
    view.listening(await server.start(host, port))
    try:
        while True:
            await asyncio.sleep(REPORT_S)
            for session in tuple(server.sessions):
                view.tracks(session)
    finally:
        await server.close()


def _short(session: StreamSession) -> str:
    return escape(session.stream_id[:8]) or "........"
