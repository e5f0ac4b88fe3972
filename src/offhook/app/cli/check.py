"""`offhook check`: would it start, and with which settings."""

from typing import Annotated, Any

import typer

from offhook.app.cli.output import mask, people, print_json
from offhook.app.cli.serve import (
    ConfigOption,
    DataDirOption,
    HttpListenOption,
    LogFormatOption,
    LogLevelOption,
    PublicAddressOption,
    RtpPortsOption,
    SipListenOption,
    WebhookUrlOption,
    WorkersOption,
    flag_values,
)
from offhook.app.preflight import find_problems, find_warnings
from offhook.app.settings import Settings, load_settings
from offhook.base.urls import masked_url


def check(
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
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show the settings, and what would keep `serve` from working.

    Secrets are masked. Takes the options of `serve`. Nothing is started or changed. Exit status 2
    when something would fail.
    """
    settings = load_settings(
        config=config,
        flags=flag_values(
            http_listen=http_listen,
            sip_listen=sip_listen,
            public_address=public_address,
            rtp_ports=rtp_ports,
            data_dir=data_dir,
            webhook_url=webhook_url,
            workers=workers,
            log_level=log_level,
            log_format=log_format,
        ),
    )
    shown = shown_settings(settings)
    problems, warnings = find_problems(settings), find_warnings(settings)
    if json:
        print_json({"settings": shown, "problems": problems, "warnings": warnings})
    else:
        _print_for_people(shown, problems, warnings)
    return 2 if problems else 0


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Return all settings as they are in effect, without secrets."""
    shown: dict[str, Any] = settings.model_dump(mode="json")
    shown["http"]["api_keys"] = ", ".join(map(mask, settings.secrets))
    shown["egress"]["allow_private"] = settings.allow_private_egress
    for trunk in shown["trunks"]:
        trunk["password"] = mask(trunk["password"]) if trunk["password"] else ""
    for vendor in ("deepgram", "assemblyai", "openai", "azure"):
        key = shown[vendor]["api_key"]
        shown[vendor]["api_key"] = mask(key) if key else ""
    shown["azure"]["keys"] = {name: mask(key) for name, key in shown["azure"]["keys"].items()}
    for name in ("url", "failover_url"):
        if (url := shown["webhooks"][name]) is not None:
            shown["webhooks"][name] = masked_url(url)
    return shown


def _print_for_people(shown: dict[str, Any], problems: list[str], warnings: list[str]) -> None:
    for name, value in shown.items():
        if not isinstance(value, dict):
            people.print(f"{name} = {value}", soft_wrap=True, markup=False)
    for section, values in shown.items():
        if isinstance(values, dict):
            people.print(f"\n[{section}]", style="bold", markup=False)
            for name, value in values.items():
                people.print(f"{name} = {'' if value is None else value}", soft_wrap=True, markup=False)
    people.print()
    for warning in warnings:
        people.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)
    for problem in problems:
        people.print(f"problem: {problem}", style="red", soft_wrap=True, markup=False)
    if not problems:
        people.print("No problem was found.", style="green")
