"""`offhook webhooks`: receive webhooks, verify them, show them."""

import asyncio
import os
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
import typer
from rich.markup import escape

from offhook.app.cli.loop import run_until_stopped
from offhook.app.cli.output import people, print_json
from offhook.base.errors import ConfigError
from offhook.kit.webhook import WebhookInvalid, read_public_key
from offhook.kit.webhook_receiver import ReceivedWebhook, WebhookReceiver

FETCH_TIMEOUT_S = 5.0


def webhooks(
    port: Annotated[
        int, typer.Option("--port", metavar="P", min=0, max=65535, help="Port to listen at.")
    ] = 9000,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Address to listen at.")] = "127.0.0.1",
    public_key: Annotated[
        str | None,
        typer.Option("--public-key", metavar="KEY", help="Key that verifies. [default: TELNYX_PUBLIC_KEY]"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Ask this running Offhook for its key, e.g. http://127.0.0.1:8080"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a webhook.")] = False,
) -> int:
    """Receive webhooks, verify them and show them.

    Runs until Ctrl-C. Any path is accepted. Verified webhooks are answered 200, others 401; without a key everything
    is answered 200 and shown as not verified.
    """
    return run_until_stopped(_receive(host, port, public_key, url, json))


async def _receive(host: str, port: int, public_key: str | None, url: str | None, json: bool) -> int:
    if public_key or not url:
        key = public_key or os.environ.get("TELNYX_PUBLIC_KEY")
        keys = [key] if key else []
    else:
        keys = await fetch_public_keys(url)
    for key in keys:
        try:
            read_public_key(key)
        except WebhookInvalid as error:
            raise ConfigError(
                f"No webhook can be verified, because {error}: give the key of the ready line."
            ) from None
    receiver = WebhookReceiver(_show_json if json else _show, public_key=keys or None)
    bound = await receiver.start(host, port)
    address = f"http://{host}:{bound}/"
    if json:
        print_json({"event": "listening", "url": address})
    else:
        people.print(f"Waiting for webhooks at {address}", soft_wrap=True, markup=False)
    try:
        await asyncio.Event().wait()
    finally:
        await receiver.close()
    return 0


async def fetch_public_keys(url: str) -> list[str]:
    """Return the key that a running Offhook signs with, and its neighbours while keys rotate.

    Raises:
        ConfigError: nothing that speaks Offhook's API answered at `url`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError("--url must look like http://127.0.0.1:8080.")
    address = f"{parts.scheme}://{parts.netloc}/v2/offhook/public_key"
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address) as response:
            body = await response.json()
            told = body["data"]
            names = ("public_key", "next_public_key", "previous_public_key")
            return [str(told["public_key"]), *(str(told[name]) for name in names[1:] if name in told)]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
        raise ConfigError(f"No Offhook answered at {parts.scheme}://{parts.netloc}: is it running?") from None


def _show(received: ReceivedWebhook) -> None:
    clock = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    if received.problem is None:
        verdict = "[green]signature verified[/green]"
    else:
        verdict = f"[red]not verified: {escape(received.problem)}[/red]"
    again = f" attempt {received.attempt}" if received.attempt > 1 else ""
    people.print(
        f"{clock} [bold]{escape(received.event_type):22}[/bold] {verdict}{again}\n"
        f"             id {escape(received.id)}  call {escape(received.call_control_id)}",
        soft_wrap=True,
    )


def _show_json(received: ReceivedWebhook) -> None:
    print_json(
        {
            "event": "webhook",
            "event_type": received.event_type,
            "id": received.id,
            "call_control_id": received.call_control_id,
            "attempt": received.attempt,
            "verified": received.problem is None,
            "problem": received.problem,
            "payload": received.payload,
        }
    )
