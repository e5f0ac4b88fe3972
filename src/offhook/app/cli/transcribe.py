"""`offhook transcribe`: try a speech engine without a call."""

from pathlib import Path
from typing import Annotated

import typer

from offhook.app.cli.output import people, print_json, problems
from offhook.app.cli.serve import ConfigOption


def transcribe(
    *,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A wav or mp3 file of any kind; - reads standard input.")
    ],
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="E",
            help="An installed engine (local, ...) or a name of the API (Deepgram, ...), served as the "
            "settings say. [default: speech.default_engine]",
        ),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="L", help="What is spoken, as an app would say it.")
    ] = "en",
    channel: Annotated[
        int | None,
        typer.Option("--channel", metavar="N", min=1, max=8, help="Only this channel. [default: each]"),
    ] = None,
    partials: Annotated[bool, typer.Option("--partials", help="Show words before they are final.")] = False,
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> int:
    """Write down what is said in a file, with times.

    Each channel has a recogniser of its own. It is as fast as the engine; engines of the network
    hear it as a call would, in real time. Needs no server.
    """
    from offhook.app.file_transcript import Told, transcribe_file
    from offhook.app.settings import load_settings

    def tell(told: Told) -> None:
        if json:
            print_json(told.as_json())
        else:
            mark = "" if told.is_final else "~ "
            people.print(f"{told.place()} {mark}{told.text}", soft_wrap=True, markup=False)

    result = transcribe_file(
        load_settings(config=config, flags={}),
        None if file == "-" else Path(file),
        engine=engine,
        language=language,
        only_channel=channel,
        partials=partials,
        tell=tell,
    )
    if json:
        print_json({"event": "result", **result.as_json()})
    else:
        problems.print(result.as_text(), soft_wrap=True, markup=False)
    return 1 if result.failure else 0
