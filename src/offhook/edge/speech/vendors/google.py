"""The engine of Google Speech-to-Text: gRPC streams, and who we are there.

Everything of Google's is imported when the engine is looked at, beside the event loop: a server that
does not use it has none of its threads.
"""

import asyncio
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offhook.base import limits
from offhook.edge.speech.protocol import SpeechConfig, SpeechNotInstalled
from offhook.edge.speech.vendors.dialect import Connection, ConnectionLost, ConnectionRefused, Dial, Wire
from offhook.edge.speech.vendors.engine import VendorEngine
from offhook.edge.speech.vendors.google_dialect import INFO, STATUS, GoogleDial, GoogleDialect, Mark

_LIBRARIES = ("grpc", "google.auth", "google.cloud.speech_v2.types.cloud_speech")
_METHOD = "/google.cloud.speech.v2.Speech/StreamingRecognize"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_BROKEN = 1006


def _prepare() -> None:
    """Import Google's libraries, which takes a second.

    Raises:
        SpeechNotInstalled: they are not installed.
    """
    # gRPC would look at every fork of this process, and complain about some.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        for name in _LIBRARIES:
            importlib.import_module(name)
    except ImportError:
        raise SpeechNotInstalled(
            'the google engine is not installed: pip install "offhook[google]"'
        ) from None


class GoogleEngine(VendorEngine):
    """Google Speech-to-Text, once its libraries are there."""

    def __init__(self) -> None:
        project = "a project: set google.project"
        super().__init__(
            INFO, GoogleDialect, transport=GoogleTransport(), options_needed={"project": project}
        )

    def check(self, config: SpeechConfig) -> None:
        """As `VendorEngine.check`; the first time it may take a second, unless `ensure_available` was asked."""
        _prepare()
        super().check(config)

    async def ensure_available(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable when the libraries or a project are missing. Google is not asked."""
        await asyncio.to_thread(_prepare)
        await super().ensure_available(options)


class GoogleCredentials:
    """The `authorization` header of a service account, or of Application Default Credentials.

    A service account signs its tokens here and asks nobody (https://google.aip.dev/auth/4111).
    """

    def __init__(self, service_account: Mapping[str, Any] | None) -> None:
        self._service_account = service_account
        self._credentials: Any = None
        self._lock = asyncio.Lock()

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the header of one stream.

        Raises:
            ConnectionRefused: there are no usable credentials.
        """
        async with self._lock:
            # Default credentials may ask a metadata server, and with a blocking library.
            token = await asyncio.to_thread(self._token)
        return (("authorization", f"Bearer {token}"),)

    def _token(self) -> str:
        import google.auth
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.requests import Request

        try:
            if self._credentials is None:
                self._credentials = self._made(google.auth)
            if not self._credentials.valid:
                self._credentials.refresh(Request())
        except TransportError:
            raise ConnectionRefused(0) from None
        except (GoogleAuthError, ValueError, TypeError, AttributeError):
            # The error's own text may quote the key.
            raise ConnectionRefused(401) from None
        return str(self._credentials.token)

    def _made(self, auth: Any) -> Any:
        from google.oauth2.service_account import Credentials

        if self._service_account is None:
            credentials = auth.default(scopes=_SCOPES)[0]
        else:
            info = {"token_uri": "https://oauth2.googleapis.com/token", **self._service_account}
            credentials = Credentials.from_service_account_info(info, scopes=_SCOPES)
        if isinstance(credentials, Credentials):
            return credentials.with_always_use_jwt_access(True)
        return credentials


class GoogleTransport:
    """Opens streams. Credentials are kept, because new ones would have to be asked for."""

    ACCOUNTS_MAX = 8

    def __init__(self) -> None:
        self._accounts: dict[str, GoogleCredentials] = {}

    async def __call__(self, dial: Dial) -> Connection:
        """Connect and begin the stream; whether it is wanted, Google says with the first response."""
        await asyncio.to_thread(_prepare)
        import grpc
        from google.cloud.speech_v2.types import cloud_speech

        options = dial.options if isinstance(dial, GoogleDial) else {}
        try:
            async with asyncio.timeout(limits.VENDOR_OPEN_TIMEOUT_S):
                metadata = await self._credentials(options).metadata()
                channel = _channel(grpc, dial.url, options.get("ca_file"))
                try:
                    await channel.channel_ready()
                except BaseException:
                    await channel.close()
                    raise
        except TimeoutError:
            raise ConnectionRefused(0) from None
        method = channel.stream_stream(
            _METHOD,
            request_serializer=cloud_speech.StreamingRecognizeRequest.pb().SerializeToString,
            response_deserializer=cloud_speech.StreamingRecognizeResponse.pb().FromString,
        )
        return GoogleStream(channel, method(metadata=(*dial.headers, *metadata)))

    def _credentials(self, options: Mapping[str, Any]) -> GoogleCredentials:
        account = options.get("service_account")
        name = "" if account is None else str(account.get("private_key_id", ""))
        if name not in self._accounts:
            if len(self._accounts) == self.ACCOUNTS_MAX:
                self._accounts.clear()
            self._accounts[name] = GoogleCredentials(account)
        return self._accounts[name]


class GoogleStream:
    """One open stream."""

    def __init__(self, channel: Any, call: Any) -> None:
        self._channel = channel
        self._call = call

    async def send(self, message: Wire) -> None:
        """As `Connection.send`; `Mark.END_OF_AUDIO` half-closes."""
        import grpc

        try:
            if message is Mark.END_OF_AUDIO:
                await self._call.done_writing()
            else:
                await self._call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError):
            raise await self._lost() from None
        except asyncio.CancelledError:
            raise _cancelled() from None

    async def receive(self) -> Wire:
        """As `Connection.receive`; the stream's good end is `Mark.END_OF_STREAM`."""
        import grpc

        try:
            message = await self._call.read()
        except (grpc.RpcError, asyncio.InvalidStateError):
            raise await self._lost() from None
        except asyncio.CancelledError:
            raise _cancelled() from None
        if message is not grpc.aio.EOF:
            return message
        lost = await self._lost()
        if lost.code == STATUS:
            return Mark.END_OF_STREAM
        raise lost

    async def close(self) -> None:
        """Cancel the stream."""
        self._call.cancel()
        try:
            async with asyncio.timeout(1):
                await self._channel.close()
        except TimeoutError:
            pass

    async def _lost(self) -> ConnectionLost:
        """Return how the stream ended; it has ended, so this does not wait long.

        A request that meets the end makes gRPC say INTERNAL whatever the service said; the next stream tells.
        """
        try:
            async with asyncio.timeout(1):
                status = await self._call.code()
        except (TimeoutError, asyncio.CancelledError):
            return ConnectionLost(_BROKEN)
        return ConnectionLost(STATUS + int(status.value[0]))


def _cancelled() -> BaseException:
    """Return what a cancelled call means: the service cancelled the stream, or somebody cancelled us."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return ConnectionLost(STATUS + 1)


def _channel(grpc: Any, url: str, ca_file: str | None) -> Any:
    scheme, _, target = url.partition("://")
    options = [
        ("grpc.max_receive_message_length", limits.VENDOR_MESSAGE_BYTES_MAX),
        ("grpc.use_local_subchannel_pool", 1),
        # Of music and noise Google may say nothing, so only this tells that nobody is there any more.
        ("grpc.keepalive_time_ms", round(limits.VENDOR_PING_S * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.VENDOR_PING_S * 1000)),
    ]
    if scheme == "http":
        return grpc.aio.insecure_channel(target, options=options)
    try:
        ca_pem = Path(ca_file).read_bytes() if ca_file else None
    except OSError:
        raise ConnectionRefused(0) from None
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca_pem), options=options)


ENGINE = GoogleEngine()
