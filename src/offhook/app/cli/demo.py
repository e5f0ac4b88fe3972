"""`offhook demo`: everything at once, checked."""

from pathlib import Path
from typing import Annotated, Any

import typer

from offhook.app.cli.loop import run_until_stopped
from offhook.app.cli.output import people, print_json, problems


def demo(
    app: Annotated[
        Path | None,
        typer.Option("--app", metavar="FILE", help="The application to call. [default: the example]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print only the summary, as JSON.")] = False,
) -> int:
    """Make one real call through everything and check it.

    Starts the server, the example application (written to the official telnyx SDK) and a phone on
    this machine, plays a recorded sentence into the call, shows webhooks, frames, packets and words
    as they come, and compares each copy of the audio
    with what the phone played. Exit status 0
    only if all of it holds. Takes under 40 seconds.
    """
    return run_until_stopped(_demo(app, json), stopped_status=130)


async def _demo(app: Path | None, json: bool) -> int:
    from offhook.app.demo.runner import DemoFailed, run_demo
    from offhook.app.demo.screen import Lines, LivePanel, Screen, Silent, summary_lines

    screen: Screen = Silent() if json else LivePanel(people) if people.is_terminal else Lines(people)
    try:
        outcome = await run_demo(screen, app=app)
    except DemoFailed as error:
        screen.close()
        for line in error.log_tail[-20:]:
            problems.print(f"  | {line}", soft_wrap=True, markup=False)
        problems.print(f"offhook: {error}", soft_wrap=True, markup=False)
        return 1
    finally:
        screen.close()
    if json:
        print_json(_summary(outcome))
    else:
        people.print()
        for line in summary_lines(outcome.verdicts):
            people.print(line, soft_wrap=True)
        said, heard = outcome.evidence.sentence, " ".join(outcome.evidence.finals)
        people.print(f"\nsaid:  {said}\nheard: {heard}", soft_wrap=True, markup=False)
        verdict = "Everything held" if outcome.succeeded else "Not everything held"
        style = "bold green" if outcome.succeeded else "bold red"
        people.print(f"\n{verdict}, in {outcome.evidence.duration_s:.1f} s.", style=style)
    return 0 if outcome.succeeded else 1


def _summary(outcome: Any) -> dict[str, Any]:
    evidence = outcome.evidence
    return {
        "ok": outcome.succeeded,
        "duration_s": round(evidence.duration_s, 1),
        "checks": [
            {"name": verdict.name, "ok": verdict.held, "detail": verdict.detail}
            for verdict in outcome.verdicts
        ],
        "said": evidence.sentence,
        "heard": " ".join(evidence.finals),
        "track_ms": evidence.track_ms,
        "webhooks": [webhook.get("type") for webhook in evidence.webhooks],
    }
