"""Google's published Dialogflow services, ES and CX, on a real gRPC port, doing what a test says.

Serves `Sessions.StreamingDetectIntent` of both APIs and `ConversationProfiles.GetConversationProfile`
with Google's own message types. A turn is a coroutine that reads requests and writes responses.
"""

import asyncio
import io
import math
import subprocess
import wave
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.cloud import dialogflow_v2 as es
from google.cloud import dialogflowcx_v3 as cx

PROJECT = "test-project"
CX_AGENT = f"projects/{PROJECT}/locations/europe-west3/agents/agent-1"


def service_account() -> dict[str, Any]:
    """Return a service account as Google hands them out; its key is made now and good for nothing."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "0123",
        "private_key": pem,
        "client_email": f"bot@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://127.0.0.1:9/never-asked",
    }


def wav(pcm: bytes, rate_hz: int = 8_000) -> bytes:
    """Return the WAV file that Google sends for LINEAR16."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(pcm)
    return file.getvalue()


def loud(pcm: bytes) -> bool:
    """Say whether a chunk of audio is more than noise."""
    samples = array("h", pcm)
    return bool(samples) and math.sqrt(sum(s * s for s in samples) / len(samples)) > 300


def certificate(folder: Path, host: str) -> grpc.ServerCredentials:
    """Return a certificate for `host`, good for the next days; `cert.pem` is its authority."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", f"/CN={host}"),
            *("-addext", f"subjectAltName=DNS:{host}"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    pair = ((folder / "key.pem").read_bytes(), (folder / "cert.pem").read_bytes())
    return grpc.ssl_server_credentials([pair])


@dataclass
class Turn:
    """One RPC, from the server's side."""

    api: str
    context: Any
    requests: Any
    first: Any = None
    audio: bytearray = field(default_factory=bytearray)
    half_closed: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    async def hear(self) -> bytes:
        """Return the next piece of audio; empty when the client has half-closed."""
        request = await self.context.read()
        if request == grpc.aio.EOF:
            await asyncio.sleep(0.02)  # a cancelled RPC reads as EOF, too, and ends this coroutine here
            self.half_closed = True
            return b""
        pcm = request.input_audio if self.api == "es" else request.query_input.audio.audio
        self.audio += pcm
        return bytes(pcm)

    async def utterance(self) -> bytes:
        """Hear until something was said and then was not any more for 300 ms; return it all."""
        said, quiet = bytearray(), 0
        while pcm := await self.hear():
            if loud(pcm):
                said += pcm
                quiet = 0
            elif said:
                quiet += len(pcm) * 500 // self.rate_hz
                if quiet >= 300:
                    break
        return bytes(said)

    @property
    def rate_hz(self) -> int:
        """Return the rate of the caller's audio."""
        query = self.first.query_input
        config = query.audio_config if self.api == "es" else query.audio.config
        return int(config.sample_rate_hertz)

    async def recognised(self, text: str, *, final: bool) -> None:
        """Send a transcript."""
        kind = (es if self.api == "es" else cx).StreamingRecognitionResult
        result = kind(message_type=kind.MessageType.TRANSCRIPT, transcript=text, is_final=final)
        await self._send(recognition_result=result)

    async def end_of_utterance(self) -> None:
        """Say that no more audio is wanted, then wait for the half close."""
        kind = (es if self.api == "es" else cx).StreamingRecognitionResult
        await self._send(recognition_result=kind(message_type=kind.MessageType.END_OF_SINGLE_UTTERANCE))
        while await self.hear():
            pass

    async def answer_es(
        self, text: str, reply: str, audio: bytes = b"", *, confidence: float = 1.0, ends: bool = False
    ) -> None:
        """Answer with an intent, its text and its audio, the latter in a response of its own."""
        result = es.QueryResult(
            query_text=text,
            language_code="en",
            intent_detection_confidence=confidence,
            intent=es.Intent(display_name="greeting", end_interaction=ends),
            fulfillment_text=reply,
            fulfillment_messages=[es.Intent.Message(text=es.Intent.Message.Text(text=[reply]))],
        )
        if self.first.query_params.sentiment_analysis_request_config.analyze_query_text_sentiment:
            result.sentiment_analysis_result = es.SentimentAnalysisResult(
                query_text_sentiment=es.Sentiment(score=0.5, magnitude=2.0)
            )
        await self._send(response_id="r", query_result=result)
        if audio:
            encoding = es.OutputAudioEncoding.OUTPUT_AUDIO_ENCODING_LINEAR_16
            await self._send(
                output_audio=audio, output_audio_config=es.OutputAudioConfig(audio_encoding=encoding)
            )

    async def answer_cx(
        self,
        text: str,
        reply: str,
        audio: bytes = b"",
        *,
        partial: bool = False,
        interruptible: bool = False,
        ends: bool = False,
    ) -> None:
        """Answer with an intent, its text and its audio."""
        message = cx.ResponseMessage
        spoken = message(text=message.Text(text=[reply], allow_playback_interruption=interruptible))
        messages = [spoken]
        if ends:
            messages.append(message(end_interaction=message.EndInteraction()))
        kinds = cx.DetectIntentResponse.ResponseType
        await self._send(
            detect_intent_response=cx.DetectIntentResponse(
                response_type=kinds.PARTIAL if partial else kinds.FINAL,
                query_result=cx.QueryResult(
                    transcript=text,
                    language_code="en",
                    response_messages=messages,
                    match=cx.Match(confidence=0.75, intent=cx.Intent(display_name="order")),
                ),
                output_audio=audio,
                output_audio_config=cx.OutputAudioConfig(
                    audio_encoding=cx.OutputAudioEncoding.OUTPUT_AUDIO_ENCODING_LINEAR_16
                ),
            )
        )

    async def fail(self, code: grpc.StatusCode, text: str) -> None:
        """End the RPC with an error."""
        await self.context.abort(code, text)

    async def _send(self, **fields: Any) -> None:
        kind = (es if self.api == "es" else cx).StreamingDetectIntentResponse
        await self.context.write(kind(**fields))


Act = Callable[[Turn], Awaitable[None]]


@dataclass
class GoogleServer:
    """What runs, and what it was asked."""

    url: str
    turns: list[Turn] = field(default_factory=list)
    profiles_asked: list[str] = field(default_factory=list)
    cx_agent: str = CX_AGENT

    def sessions(self) -> list[str]:
        """Return the session of each turn."""
        return [turn.first.session for turn in self.turns]


@asynccontextmanager
async def google_server(act: Act, credentials: Any = None) -> AsyncIterator[GoogleServer]:
    """Serve; every turn of either API is `act`."""
    told = GoogleServer("")

    def streaming(api: str) -> Any:
        kinds = es if api == "es" else cx

        async def handle(_: Any, context: Any) -> None:
            turn = Turn(api, context, None)
            turn.metadata = {key: str(value) for key, value in context.invocation_metadata()}
            turn.first = await context.read()
            told.turns.append(turn)
            await act(turn)

        return grpc.stream_stream_rpc_method_handler(
            handle,
            request_deserializer=kinds.StreamingDetectIntentRequest.deserialize,
            response_serializer=kinds.StreamingDetectIntentResponse.serialize,
        )

    async def get_profile(request: Any, context: Any) -> Any:
        del context
        told.profiles_asked.append(request.name)
        return es.ConversationProfile(
            name=request.name,
            automated_agent_config=es.AutomatedAgentConfig(agent=f"{told.cx_agent}/environments/-"),
        )

    profiles = grpc.unary_unary_rpc_method_handler(
        get_profile,
        request_deserializer=es.GetConversationProfileRequest.deserialize,
        response_serializer=es.ConversationProfile.serialize,
    )
    services = {
        "google.cloud.dialogflow.v2.Sessions": {"StreamingDetectIntent": streaming("es")},
        "google.cloud.dialogflow.cx.v3.Sessions": {"StreamingDetectIntent": streaming("cx")},
        "google.cloud.dialogflow.v2.ConversationProfiles": {"GetConversationProfile": profiles},
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
    )
    if credentials is None:
        port, scheme = server.add_insecure_port("127.0.0.1:0"), "http"
    else:
        port, scheme = server.add_secure_port("127.0.0.1:0", credentials), "https"
    await server.start()
    told.url = f"{scheme}://127.0.0.1:{port}"
    try:
        yield told
    finally:
        await server.stop(0.1)


async def hold() -> None:
    """Do nothing until the RPC is cancelled."""
    await asyncio.Event().wait()
