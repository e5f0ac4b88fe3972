"""All settings in one value."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from offhook.app.settings.clouds import AzureSettings, GoogleSettings
from offhook.app.settings.engines import (
    SherpaSettings,
    SpeechSettings,
    VendorSettings,
    VoskSettings,
    WhisperSettings,
)
from offhook.app.settings.sections import (
    CompatSettings,
    DialogflowSettings,
    EgressSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MediaSettings,
    RecordingSettings,
    RouteSettings,
    SipSettings,
    StreamSettings,
    TrunkSettings,
    VoiceSettings,
    WebhookSettings,
)
from offhook.app.settings.values import is_loopback, is_network, items
from offhook.base import limits

DEFAULT_APPLICATION_ID = "1000000000000000001"

ENVIRONMENT = {
    "OFFHOOK_HTTP_LISTEN": ("http", "listen"),
    "OFFHOOK_API_KEYS": ("http", "api_keys"),
    "OFFHOOK_PUBLIC_URL": ("http", "public_url"),
    "OFFHOOK_SIP_LISTEN": ("sip", "listen"),
    "OFFHOOK_PUBLIC_ADDRESS": ("sip", "public_address"),
    "OFFHOOK_RTP_PORTS": ("media", "rtp_ports"),
    "OFFHOOK_WORKERS": ("media", "workers"),
    "OFFHOOK_DATA_DIR": ("data_dir",),
    "OFFHOOK_WEBHOOK_URL": ("webhooks", "url"),
    "OFFHOOK_WEBHOOK_FAILOVER_URL": ("webhooks", "failover_url"),
    "OFFHOOK_ALLOW_PRIVATE_EGRESS": ("egress", "allow_private"),
    "OFFHOOK_SPEECH_MODEL_DIR": ("speech", "model_dir"),
    "OFFHOOK_DEEPGRAM_API_KEY": ("deepgram", "api_key"),
    "OFFHOOK_ASSEMBLYAI_API_KEY": ("assemblyai", "api_key"),
    "OFFHOOK_OPENAI_API_KEY": ("openai", "api_key"),
    "OFFHOOK_AZURE_API_KEY": ("azure", "api_key"),
    "OFFHOOK_LOG_LEVEL": ("log", "level"),
    "OFFHOOK_LOG_FORMAT": ("log", "format"),
}
"""Environment variable -> place in the model. The names are fixed; users rely on them."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    data_dir: Path = Field(Path(".offhook"), description="SQLite file and keys; created with mode 0700.")
    drain_timeout_s: float = Field(
        30, ge=0, le=86_400, description="How long SIGTERM lets running calls go on before they are hung up."
    )
    routes: tuple[RouteSettings, ...] = Field(
        (), max_length=limits.ROUTES_MAX, description="Which application takes which calls."
    )
    http: HttpSettings = Field(default_factory=HttpSettings)
    sip: SipSettings = Field(default_factory=SipSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    recordings: RecordingSettings = Field(default_factory=RecordingSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    speech: SpeechSettings = Field(default_factory=SpeechSettings)
    deepgram: VendorSettings = Field(default_factory=VendorSettings)
    assemblyai: VendorSettings = Field(default_factory=VendorSettings)
    openai: VendorSettings = Field(default_factory=VendorSettings)
    azure: AzureSettings = Field(default_factory=AzureSettings)
    google: GoogleSettings = Field(default_factory=GoogleSettings)
    sherpa: SherpaSettings = Field(default_factory=SherpaSettings)
    whisper: WhisperSettings = Field(default_factory=WhisperSettings)
    vosk: VoskSettings = Field(default_factory=VoskSettings)
    voice: VoiceSettings = Field(default_factory=VoiceSettings)
    dialogflow: DialogflowSettings = Field(default_factory=DialogflowSettings)
    egress: EgressSettings = Field(default_factory=EgressSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    compat: CompatSettings = Field(default_factory=CompatSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    trunks: tuple[TrunkSettings, ...] = Field((), max_length=100, description="Where calls to numbers go.")

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        trunks = {trunk.name for trunk in self.trunks}
        for source in (source for route in self.routes for source in route.sources):
            if not is_network(source) and source not in trunks:
                raise ValueError(
                    f"routes.sources: {source!r} is no address, no network and no name in [[trunks]]"
                )
        return self

    @property
    def allow_private_egress(self) -> bool:
        """Return the effective value of `egress.allow_private`."""
        if self.egress.allow_private != "auto":
            return self.egress.allow_private
        host = self.http.address.host
        return host == "localhost" or is_loopback(host)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that no output may show."""
        return tuple(items(self.http.api_keys))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load_settings` passes: it has merged all sources in our order."""
        return (init_settings,)
