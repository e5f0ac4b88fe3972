"""Sections of speech services that need more than a key."""

from typing import Annotated

from pydantic import Field, field_validator

from offhook.app.settings.engines import VendorSettings
from offhook.app.settings.sections import Section

Languages = Annotated[tuple[str, ...], Field(max_length=4)]
"""Azure takes at most four at the start of a call."""


class AzureSettings(VendorSettings):
    """Azure Speech. In `url`, {region} stands for the region that is asked for."""

    region: str = Field("", description='Region where the request names none, for example "westeurope".')
    keys: dict[str, str] = Field(
        default_factory=dict,
        repr=False,
        description="More keys, by the name that a request gives as api_key_ref.",
    )
    key_files: dict[str, str] = Field(default_factory=dict, description="Files that hold such keys, by name.")
    auto_languages: Languages = Field(
        ("en", "es", "fr", "de"), description='Languages that "auto" chooses from; at most 4.'
    )


class GoogleSettings(Section):
    """Google Speech-to-Text v2 (extra `google`)."""

    project: str = Field("", description="Project that pays. Empty: the service account's.")
    location: str = Field(
        "global", pattern=r"^[a-z0-9-]{1,40}$", description='Location, for example "eu"; models depend on it.'
    )
    credentials_file: str = Field(
        "", description="JSON file of a service account. Empty: Application Default Credentials."
    )
    model: str = Field(
        "long",
        pattern=r"^[a-z0-9_]{1,40}$",
        description='Model where the request names none of Google\'s, for example "telephony" or "chirp_3".',
    )
    auto_languages: Languages = Field(
        (), description='Languages that "auto" chooses from; the chirp models need none.'
    )
    endpoint: str = Field("", description="https://host:port to use instead of the location's.")
    ca_file: str = Field(
        "", description="PEM file of certificate authorities to trust instead of the public ones."
    )
    sessions_max: int = Field(
        100, ge=1, le=10_000, description="Tracks at a time; the service's own limit is usually near."
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("it must begin with https:// or http://")
        return value
