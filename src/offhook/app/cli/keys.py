"""`offhook keys`: what an app needs to know to talk to this installation."""

from pathlib import Path
from typing import Annotated

import typer

from offhook.app.cli.output import mask, people, print_json
from offhook.app.cli.serve import ConfigOption, DataDirOption
from offhook.app.keys import add_api_key, load_or_create_keys, prepare_data_dir
from offhook.app.settings import Settings, load_settings
from offhook.edge.webhook import SigningKeys, prepare_next_key, switch_key
from offhook.proto.webhook import public_key_text

app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
    help="Show the keys; make and renew them.",
)
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def show(
    ctx: typer.Context,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show the public key that verifies webhooks and how many API keys are accepted.

    Makes the keys if there are none yet. `offhook keys new` makes one more API key; `rotate` makes
    the next webhook key and `switch` lets it sign.
    """
    settings = load_settings(config=config, flags={"data_dir": data_dir})
    ctx.obj = settings
    if ctx.invoked_subcommand is not None:
        return
    keys = load_or_create_keys(settings.data_dir, api_keys=settings.secrets)
    origin = "settings" if settings.secrets else str(settings.data_dir / "api_keys")
    published = SigningKeys(settings.data_dir).published()
    if json:
        print_json(
            {
                **published,
                "public_key_file": str(settings.data_dir / "webhook_public_key.b64"),
                "api_keys": [mask(key) for key in keys.api_keys],
                "api_keys_from": origin,
                "new_api_key": keys.new_api_key,
            }
        )
        return
    people.print(f"TELNYX_PUBLIC_KEY={keys.public_key}", soft_wrap=True, markup=False)
    if (following := published.get("next_public_key")) is not None:
        people.print(f"After `offhook keys switch`: {following}", soft_wrap=True, markup=False)
    masked = ", ".join(mask(key) for key in keys.api_keys)
    people.print(f"API keys: {masked} (in {origin})", soft_wrap=True, markup=False)
    if keys.new_api_key is not None:
        people.print("The first API key was made now and is shown only once:", soft_wrap=True)
        people.print(f"TELNYX_API_KEY={keys.new_api_key}", soft_wrap=True, markup=False)


@app.command()
def new(ctx: typer.Context, json: JsonOption = False) -> None:
    """Make one more API key and print it.

    A server accepts it from its next start on.
    """
    settings: Settings = ctx.obj
    directory: Path = settings.data_dir
    prepare_data_dir(directory)
    key = add_api_key(directory)
    if json:
        print_json({"api_key": key})
        return
    people.print(f"TELNYX_API_KEY={key}", soft_wrap=True, markup=False)
    if settings.secrets:
        people.print("Note: the settings list the accepted keys (api_keys), so this one does not count yet.")


@app.command()
def rotate(ctx: typer.Context, json: JsonOption = False) -> None:
    """Make the next webhook key and print its public half; nothing is signed with it yet.

    Give it to every app beside the old one, then run `offhook keys switch`. Run again before that it
    shows the same key.
    """
    settings: Settings = ctx.obj
    load_or_create_keys(settings.data_dir, api_keys=settings.secrets)
    key = public_key_text(prepare_next_key(settings.data_dir))
    if json:
        print_json({"next_public_key": key})
        return
    people.print(key, soft_wrap=True, markup=False)
    people.print("Let apps accept this key too, then run `offhook keys switch`.", markup=False)


@app.command()
def switch(ctx: typer.Context, json: JsonOption = False) -> None:
    """Sign webhooks with the key of `offhook keys rotate` from now on.

    A running server follows within seconds.
    """
    settings: Settings = ctx.obj
    key = public_key_text(switch_key(settings.data_dir))
    if json:
        print_json({"public_key": key})
        return
    people.print(f"TELNYX_PUBLIC_KEY={key}", soft_wrap=True, markup=False)
