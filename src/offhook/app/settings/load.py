"""Reading the settings: defaults < `offhook.toml` < environment < command line."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from offhook.app.settings.model import ENVIRONMENT, Settings
from offhook.base.errors import ConfigError


def load_settings(
    *,
    config: Path | None = None,
    environment: dict[str, str] | None = None,
    flags: dict[str, Any] | None = None,
) -> Settings:
    """Read all sources and check them as a whole.

    Args:
        config: the TOML file; None: `OFFHOOK_CONFIG`, else `offhook.toml` where it exists.
        environment: defaults to the process's.
        flags: nested values of the command line; None values are left out.

    Raises:
        ConfigError: one sentence that names the setting.
    """
    env = dict(os.environ) if environment is None else environment
    values = _read_toml(config, env)
    for name, path in ENVIRONMENT.items():
        if env.get(name):
            _put(values, path, env[name])
    _merge(values, flags or {})
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read_toml(config: Path | None, env: dict[str, str]) -> dict[str, Any]:
    named = config or (Path(env["OFFHOOK_CONFIG"]) if env.get("OFFHOOK_CONFIG") else None)
    path = named or Path("offhook.toml")
    if named is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"The configuration file {path} cannot be read: {reason}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The configuration file {path} is not valid TOML: {error}.") from None


def _put(values: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"[{path[0]}] must be a section of the configuration file.")
    values[path[-1]] = value


def _merge(values: dict[str, Any], flags: dict[str, Any]) -> None:
    for name, value in flags.items():
        if isinstance(value, dict):
            _merge(values.setdefault(name, {}), value)
        elif value is not None:
            values[name] = value


def _explain(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    if not path:
        return f"A setting is wrong: {first['msg'].removeprefix('Value error, ')}."
    env = next((name for name, place in ENVIRONMENT.items() if place == path[: len(place)]), None)
    name = ".".join(path[:2]) + (f" ({env})" if env else "")
    if first["type"] == "extra_forbidden":
        return f"There is no setting {name}: see offhook.default.toml for all of them."
    return f"The setting {name} is wrong: {first['msg'].removeprefix('Value error, ')}."
