"""`offhook serve`: run the server."""

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Configuration file. [default: offhook.toml, if there is one]"
    ),
]
HttpListenOption = Annotated[
    str | None,
    typer.Option("--http-listen", metavar="HOST:PORT", help="Address of the API. [default: 127.0.0.1:8080]"),
]
SipListenOption = Annotated[
    str | None,
    typer.Option(
        "--sip-listen",
        metavar="LIST",
        help="Where phones and trunks reach the server, as udp:HOST:PORT,tcp:HOST:PORT. "
        "[default: udp:0.0.0.0:5060,tcp:0.0.0.0:5060]",
    ),
]
PublicAddressOption = Annotated[
    str | None,
    typer.Option(
        "--public-address",
        metavar="IP",
        help="Address written into SIP and SDP, for a server behind NAT. [default: found by route]",
    ),
]
RtpPortsOption = Annotated[
    str | None,
    typer.Option("--rtp-ports", metavar="LOW-HIGH", help="UDP ports for audio. [default: 20000-20999]"),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Keys and undelivered webhooks. [default: ./.offhook]"),
]
WebhookUrlOption = Annotated[
    str | None,
    typer.Option("--webhook-url", metavar="URL", help="Your app: gets the webhooks of every incoming call."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Media threads. [default: one a core]")
]
LogLevelOption = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error. [default: info]"),
]
LogFormatOption = Annotated[
    str | None,
    typer.Option(
        "--log-format", metavar="FORMAT", help="text, json or auto: text on a terminal. [default: auto]"
    ),
]


def serve(
    *,
    config: ConfigOption = None,
    http_listen: HttpListenOption = None,
    sip_listen: SipListenOption = None,
    public_address: PublicAddressOption = None,
    rtp_ports: RtpPortsOption = None,
    data_dir: DataDirOption = None,
    webhook_url: WebhookUrlOption = None,
    workers: WorkersOption = None,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
) -> int:
    """Run the server: take calls, answer the API, send webhooks.

    Prints one line on standard output when it can take calls, "offhook ready api=... sip=...
    public_key=..."; logs go to standard error. The first start makes the keys and prints the API
    key. Every setting can also be given in the environment (OFFHOOK_HTTP_LISTEN, ...) or in
    offhook.toml. Ctrl-C or SIGTERM lets running calls end; a second one ends at once.
    """
    from offhook.app.server import run
    from offhook.app.settings import load_settings

    flags = flag_values(
        http_listen=http_listen,
        sip_listen=sip_listen,
        public_address=public_address,
        rtp_ports=rtp_ports,
        data_dir=data_dir,
        webhook_url=webhook_url,
        workers=workers,
        log_level=log_level,
        log_format=log_format,
    )
    return run(load_settings(config=config, flags=flags))


def flag_values(
    *,
    http_listen: str | None,
    sip_listen: str | None,
    public_address: str | None,
    rtp_ports: str | None,
    data_dir: Path | None,
    webhook_url: str | None,
    workers: int | None,
    log_level: str | None,
    log_format: str | None,
) -> dict[str, Any]:
    """Return the flags at their places in the settings; those not given stay None."""
    return {
        "data_dir": data_dir,
        "http": {"listen": http_listen},
        "sip": {"listen": sip_listen, "public_address": public_address},
        "media": {"rtp_ports": rtp_ports, "workers": workers},
        "webhooks": {"url": webhook_url},
        "log": {"level": log_level, "format": log_format},
    }
