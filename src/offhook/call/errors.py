"""Refusals of commands, with Telnyx's error codes (contract 1.2)."""

from dataclasses import dataclass

from offhook.base.errors import OffhookError

TITLES = {
    "10003": "Invalid URL",
    "10004": "Missing required parameter",
    "10005": "Resource not found",
    "10007": "Internal server error",
    "10008": "Request timeout",
    "10009": "Authentication failed",
    "10011": "Too many requests",
    "10015": "Bad Request",
    "10016": "Phone number must be in +E164 format",
    "10023": "Invalid JSON",
    "10025": "String length out of range",
    "10026": "Invalid parameter type",
    "10027": "Unprocessable Entity",
    "10028": "Character encoding error",
    "10030": "Method not allowed",
    "10032": "Invalid enumerated value",
    "10033": "Value outside of range",
    "10038": "Feature not permitted",
    "90000": "Invalid value for format",
    "90001": "Invalid value for channels",
    "90002": "Invalid value for timeout",
    "90007": "Invalid value for terminating_digit",
    "90008": "Invalid value for valid_digits",
    "90009": "Invalid value for loop",
    "90010": "Invalid value for payload",
    "90012": "Invalid value for voice",
    "90014": "Invalid value for digits",
    "90015": "Invalid Call Control ID",
    "90016": "Invalid value for stop",
    "90017": "Invalid value for client_state",
    "90018": "Call has already ended",
    "90022": "Invalid value for minimum_digits",
    "90023": "Invalid value for maximum_digits",
    "90024": "Invalid value for maximum_tries",
    "90025": "Invalid value for timeout_millis",
    "90026": "Invalid value for inter_digit_timeout_millis",
    "90027": "Invalid value for duration_millis",
    "90031": "Call is not currently forked",
    "90034": "Call has not been answered yet",
    "90045": "Media Streaming is used.",
    "90046": "Media Streaming Failed.",
    "90048": "Media Streaming is not used.",
    "90054": "Call Transcription is already in progress",
    "90055": "Call transcription can not be stopped",
    "90056": "Invalid value for initial_timeout_millis",
    "90057": "Invalid call control event type for webhook_urls",
    "90059": "Invalid value for recording_track",
    "90102": "Command is invalid",
    "100001": "Invalid Dialogflow API",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of an error answer. `pointer` names the field, `detail` never repeats a secret."""

    code: str
    detail: str
    pointer: str | None = None

    @property
    def title(self) -> str:
        """Return Telnyx's title of the code."""
        return TITLES[self.code]


class CommandError(OffhookError):
    """A command is refused with HTTP 422 and nothing has changed."""

    def __init__(self, code: str, detail: str, pointer: str | None = None) -> None:
        super().__init__(f"{code} {TITLES[code]}: {detail}")
        self.problem = Problem(code, detail, pointer)
