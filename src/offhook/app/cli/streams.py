"""`offhook streams`: what a running server's streams are doing, and why the last ones failed."""

import asyncio
import os
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import typer
from rich.markup import escape

from offhook.app.cli.output import people, print_json
from offhook.app.cli.serve import ConfigOption, DataDirOption
from offhook.app.keys import read_api_keys
from offhook.app.settings import load_settings
from offhook.base.errors import ConfigError

FETCH_TIMEOUT_S = 5.0
_COLOURS = {"begun": "green", "failed": "red", "stopped": "dim", "reconnecting": "yellow"}


def streams(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="The running Offhook. [default: TELNYX_BASE_URL, settings]"
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", metavar="KEY", help="[default: TELNYX_API_KEY, settings, data directory]"),
    ] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="ID", help="Only this call_control_id's streams.")
    ] = None,
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="live, ended, all, or one state such as failed.")
    ] = "all",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a stream.")] = False,
) -> int:
    """Show the streams of a running server.

    First those that live, then the last that ended, newest first, with the reason where one failed.
    """
    settings = load_settings(config=config, flags={"data_dir": data_dir})
    host, port = settings.http.address
    address = _address(url or os.environ.get("TELNYX_BASE_URL") or f"http://{_literal(host)}:{port}")
    key = api_key or os.environ.get("TELNYX_API_KEY")
    if not key:
        keys = settings.secrets or read_api_keys(settings.data_dir)
        if not keys:
            raise ConfigError("No API key was found: give --api-key, TELNYX_API_KEY or --data-dir.")
        key = keys[0]
    query = {"state": state, **({} if call is None else {"call_control_id": call})}
    found = asyncio.run(_fetch(address, key, query))
    for stream in found:
        if json:
            print_json(stream)
        else:
            _show(stream)
    if not found and not json:
        people.print("No streams.")
    return 0


async def _fetch(address: str, key: str, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the streams of all pages.

    Raises:
        ConfigError: nothing that speaks Offhook's API answered, or it refused.
    """
    found: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            number, pages = 1, 1
            while number <= pages:
                asked = query | {"page[number]": str(number), "page[size]": "250"}
                async with session.get(f"{address}/v2/offhook/streams", params=asked) as answer:
                    body = await answer.json()
                if answer.status != 200:
                    raise ConfigError(f"{address} refused: {body['errors'][0]['detail']}")
                found += body["data"]
                number, pages = number + 1, int(body["meta"]["total_pages"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, IndexError):
        raise ConfigError(f"No Offhook answered at {address}: is it running?") from None
    return found


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError("--url must look like http://127.0.0.1:8080.")
    return f"{parts.scheme}://{parts.netloc}"


def _literal(host: str) -> str:
    """Return an address to connect to for one that is listened at."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _show(stream: dict[str, Any]) -> None:
    state = stream["state"]
    colour = _COLOURS.get(state, "cyan")
    to_app, from_app = stream["to_app"], stream["from_app"]
    formats = f"to app {to_app['codec']}/{to_app['sample_rate']}"
    if from_app is not None:
        rate = from_app["sample_rate"]
        formats += f", from app {from_app['codec']}" + (f"/{rate}" if rate else "")
    where = stream["stream_url"] or stream["stream_type"]
    people.print(
        f"[{colour}]{state:12}[/{colour}] {escape(stream['stream_id'])}  {escape(where)}\n"
        f"             call {escape(stream['call_control_id'])}\n"
        f"             {stream['stream_track']}, {formats}, since {stream['started_at']}",
        soft_wrap=True,
    )
    if stream["failure_reason"] is not None:
        people.print(
            f"             {escape(stream['failure_reason'])}: {escape(stream['failure_detail'] or '')}",
            soft_wrap=True,
        )
    elif stream["stop_reason"] is not None:
        people.print(f"             reason {escape(stream['stop_reason'])}", soft_wrap=True)
    counters = {name: value for name, value in stream["counters"].items() if value}
    if counters:
        told = "  ".join(f"{name} {value}" for name, value in counters.items())
        people.print(f"             {escape(told)}", soft_wrap=True)
