"""The `offhook` command: its list of commands, and what every command has in common."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from offhook import __version__
from offhook.app.cli.call import call
from offhook.app.cli.check import check
from offhook.app.cli.demo import demo
from offhook.app.cli.keys import app as keys
from offhook.app.cli.listen import listen
from offhook.app.cli.phone import phone
from offhook.app.cli.serve import serve
from offhook.app.cli.speak import speak
from offhook.app.cli.streams import streams
from offhook.app.cli.transcribe import transcribe
from offhook.app.cli.webhooks import webhooks
from offhook.base.errors import ConfigError

INTERRUPTED = 130


class OffhookGroup(TyperGroup):
    """Turns what a command returns or raises into an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a `ConfigError` is one sentence and status 2, Ctrl-C is status 130."""
        try:
            status = super().invoke(ctx)
        except ConfigError as error:
            typer.echo(f"offhook: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output has seen enough (`offhook listen | head`).
            raise typer.Exit(0) from None
        raise typer.Exit(status if isinstance(status, int) else 0)


app = typer.Typer(
    cls=OffhookGroup,
    name="offhook",
    help="A self-hosted voice-streaming server that speaks the Telnyx Call Control API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"offhook {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


app.command("serve")(serve)
app.command("demo")(demo)
app.command("call")(call)
app.command("phone")(phone)
app.command("listen")(listen)
app.command("webhooks")(webhooks)
app.command("streams")(streams)
app.command("speak")(speak)
app.command("transcribe")(transcribe)
app.add_typer(keys, name="keys")
app.command("check")(check)
