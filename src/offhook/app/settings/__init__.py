"""Settings: defaults < `offhook.toml` < environment < command line.

`sections`, `engines` and `clouds` are the documentation of every option. Does not know what the settings are for.
"""

from offhook.app.settings.clouds import AzureSettings, GoogleSettings
from offhook.app.settings.engines import SpeechSettings, VendorSettings
from offhook.app.settings.load import load_settings
from offhook.app.settings.model import DEFAULT_APPLICATION_ID, ENVIRONMENT, Settings
from offhook.app.settings.sections import (
    DialogflowSettings,
    RecordingSettings,
    RouteSettings,
    TrunkSettings,
    VoiceSettings,
)
from offhook.app.settings.template import default_toml

__all__ = [
    "DEFAULT_APPLICATION_ID",
    "ENVIRONMENT",
    "AzureSettings",
    "DialogflowSettings",
    "GoogleSettings",
    "RecordingSettings",
    "RouteSettings",
    "Settings",
    "SpeechSettings",
    "TrunkSettings",
    "VendorSettings",
    "VoiceSettings",
    "default_toml",
    "load_settings",
]
