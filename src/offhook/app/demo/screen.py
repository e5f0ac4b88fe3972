"""What a person sees of the demo: lines as things happen, live meters on a terminal, a summary."""

from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from offhook.app.demo.checks import Verdict
from offhook.app.meter import level_text, meter

TRACKS = ("inbound", "outbound")
PLAIN_REPORT_MS = 1_000
"""Without a terminal a track tells its level this often, in milliseconds of audio."""


class Screen(Protocol):
    """Where the demo tells what happens. Times are seconds since the demo began."""

    def note(self, at_s: float, who: str, text: str) -> None:
        """Tell one thing that happened."""
        ...

    def event(self, at_s: float, event: dict[str, Any]) -> None:
        """Tell one event of the example app."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Silent:
    """Shows nothing: for `--json`."""

    def note(self, at_s: float, who: str, text: str) -> None:
        """Tell nothing."""

    def event(self, at_s: float, event: dict[str, Any]) -> None:
        """Tell nothing."""

    def close(self) -> None:
        """Leave the terminal as it is."""


class Lines:
    """Plain lines, readable in a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told_ms: dict[str, int] = {}

    def note(self, at_s: float, who: str, text: str) -> None:
        """Print one line; `text` may hold markup."""
        self._console.print(f"[dim]{at_s:6.2f}s[/dim]  {who:7} {text}", soft_wrap=True)

    def event(self, at_s: float, event: dict[str, Any]) -> None:
        """Print what is worth a line."""
        match event.get("event"):
            case "webhook":
                self.note(at_s, "webhook", _webhook(event))
            case "command":
                self.note(at_s, "app", _command(event))
            case "transcript":
                self.transcript(at_s, event)
            case "media":
                self.media(at_s, event)
            case "rtp":
                self.rtp(at_s, event)
            case _:
                pass

    def transcript(self, at_s: float, event: dict[str, Any]) -> None:
        """Print words: a partial as a guess, a final as heard."""
        words = escape(str(event["text"]))
        self.note(
            at_s,
            "words",
            f"[bold green]{words}[/bold green]" if event["final"] else f"[dim]{words} ...[/dim]",
        )

    def media(self, at_s: float, event: dict[str, Any]) -> None:
        """Print a track once a second."""
        track = str(event["track"])
        if event["ms"] - self._told_ms.get(track, 0) >= PLAIN_REPORT_MS:
            self._told_ms[track] = event["ms"]
            self.note(at_s, "stream", _track(track, event))

    def rtp(self, at_s: float, event: dict[str, Any]) -> None:
        """Print a fork once a second."""
        key = f"fork {event['direction']}"
        if event["packets"] * 20 - self._told_ms.get(key, 0) >= PLAIN_REPORT_MS:
            self._told_ms[key] = event["packets"] * 20
            self.note(at_s, "fork", f"{event['direction']}  {event['packets']:5} RTP packets")

    def close(self) -> None:
        """Nothing to restore."""


class LivePanel(Lines):
    """Lines that scroll, over meters that stay: for a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._tracks: dict[str, dict[str, Any]] = {}
        self._forks: dict[str, int] = {}
        self._partial = ""
        self._live = Live(console=console, refresh_per_second=12, transient=True, get_renderable=self._render)
        self._live.start()

    def transcript(self, at_s: float, event: dict[str, Any]) -> None:
        """Overwrite partials, keep finals."""
        if event["final"]:
            self._partial = ""
            super().transcript(at_s, event)
        else:
            self._partial = str(event["text"])

    def media(self, at_s: float, event: dict[str, Any]) -> None:
        """Move the meter."""
        self._tracks[str(event["track"])] = event

    def rtp(self, at_s: float, event: dict[str, Any]) -> None:
        """Move the counter."""
        self._forks[str(event["direction"])] = int(event["packets"])

    def close(self) -> None:
        """Take the meters away."""
        self._live.stop()

    def _render(self) -> Group:
        if not self._tracks and not self._forks:
            return Group()
        rows = [
            Text.from_markup(f"  stream {_track(track, self._tracks[track])}")
            for track in TRACKS
            if track in self._tracks
        ]
        forks = "   ".join(
            f"{direction} {count:5} RTP packets" for direction, count in sorted(self._forks.items())
        )
        rows.append(Text(f"  fork   {forks}"))
        rows.append(Text(f"  words  {self._partial}", style="yellow"))
        return Group(Text(""), *rows)


def summary_lines(verdicts: list[Verdict]) -> list[str]:
    """Return the verdicts, a line each, with markup."""
    width = max(len(verdict.name) for verdict in verdicts)
    return [
        ("[bold green]ok    [/bold green]" if verdict.held else "[bold red]FAILED[/bold red]")
        + f"  {escape(verdict.name):{width}}  {escape(verdict.detail)}"
        for verdict in verdicts
    ]


def _webhook(event: dict[str, Any]) -> str:
    if event.get("verified"):
        return f"[bold]{escape(str(event['type'])):20}[/bold] [green]signature verified[/green]"
    return f"[bold red]NOT VERIFIED[/bold red] {escape(str(event.get('reason', '')))}"


def _command(event: dict[str, Any]) -> str:
    if event.get("ok"):
        return f"{escape(str(event['name'])):20} accepted in {float(event.get('ms', 0)):.0f} ms"
    return f"[red]{escape(str(event['name']))} refused: {escape(str(event.get('reason', '')))}[/red]"


def _track(track: str, event: dict[str, Any]) -> str:
    level = event.get("level_dbfs")
    return f"{track:8} {event['frames']:5} frames {event['ms']:6} ms  [cyan]{meter(level)}[/cyan] {level_text(level)}"
