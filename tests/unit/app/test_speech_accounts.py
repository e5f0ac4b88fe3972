"""Keys and accounts of speech services: where they come from, and that they are never shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from offhook.app.cli.check import shown_settings
from offhook.app.settings import AzureSettings, GoogleSettings, Settings
from offhook.app.speech import azure_options, google_options
from offhook.base.errors import ConfigError

pytestmark = pytest.mark.unit


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_azure_knows_all_keys_that_requests_may_name(tmp_path: Path) -> None:
    settings = AzureSettings(
        api_key_file=write(tmp_path / "main", "k1\n"),
        keys={"second": "k2"},
        key_files={"third": write(tmp_path / "third", " k3 ")},
        region="westeurope",
    )
    options = azure_options(settings)
    assert options["api_key"] == "k1"
    assert options["keys"] == {"second": "k2", "third": "k3"}
    assert options["region"] == "westeurope"
    assert options["auto_languages"] == ("en", "es", "fr", "de")


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"azure\.key_files is wrong: .*gone cannot be read"):
        azure_options(AzureSettings(key_files={"a": str(tmp_path / "gone")}))


def test_google_takes_project_and_account_from_the_file(tmp_path: Path) -> None:
    account = {"project_id": "p1", "private_key": "x"}
    file = write(tmp_path / "account.json", account)
    options = google_options(GoogleSettings(credentials_file=file, location="eu"))
    assert (options["project"], options["service_account"]) == ("p1", account)
    assert google_options(GoogleSettings(credentials_file=file, project="p2"))["project"] == "p2"


def test_google_without_a_file_uses_what_the_machine_has() -> None:
    options = google_options(GoogleSettings(project="p1"))
    assert options["service_account"] is None
    assert options["location"] == "global"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '"text"'])
def test_a_file_that_is_no_account_is_named_and_never_quoted(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match=r"google\.credentials_file is wrong: .* is no service account"):
        google_options(GoogleSettings(credentials_file=write(tmp_path / "a", content)))


def test_no_key_is_ever_shown() -> None:
    azure = AzureSettings(api_key="first-secret-key", keys={"second": "other-secret-key"})
    settings = Settings(azure=azure)
    assert "secret-key" not in json.dumps(shown_settings(settings))
    assert "secret-key" not in repr(settings)
    assert "second" in json.dumps(shown_settings(settings))
