"""Dialogflow CX: `google.cloud.dialogflow.cx.v3.Sessions.StreamingDetectIntent`.

A connection names a conversation profile, not an agent, so the agent is looked up in the profile
first (`google.cloud.dialogflow.v2.ConversationProfiles`).
"""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

from google.cloud import dialogflow_v2
from google.cloud import dialogflowcx_v3 as google
from google.cloud.dialogflow_v2.services.conversation_profiles.transports import (
    ConversationProfilesGrpcAsyncIOTransport,
)
from google.cloud.dialogflowcx_v3.services.sessions.transports import SessionsGrpcAsyncIOTransport

from offhook.base import limits
from offhook.edge.dialogflow import names
from offhook.edge.dialogflow.api import Metadata
from offhook.edge.dialogflow.audio import decode_reply, encoding_of
from offhook.edge.dialogflow.protocol import (
    Agent,
    Answered,
    Heard,
    Item,
    ReplyAudio,
    Sentiment,
    SessionConfig,
    UtteranceEnded,
)

_RESULT = google.StreamingRecognitionResult.MessageType
_PARTIAL = google.DetectIntentResponse.ResponseType.PARTIAL
_SPOKEN = ("text", "output_audio_text", "play_audio")
"""Messages that become audio and say whether it may be interrupted."""


class CxApi:
    """The agent of the connection's conversation profile."""

    def __init__(self, channel: Any, agent: Agent, config: SessionConfig) -> None:
        self._client = google.SessionsAsyncClient(transport=SessionsGrpcAsyncIOTransport(channel=channel))
        self._channel = channel
        self._agent = agent
        self._config = config
        self._profile = names.profile_name(agent)
        self._session = ""

    async def prepare(self, metadata: Metadata) -> None:
        """Look up the agent."""
        agent_name = self._agent.conversation_profile_id or ""
        if self._profile is not None:
            profiles = dialogflow_v2.ConversationProfilesAsyncClient(
                transport=ConversationProfilesGrpcAsyncIOTransport(channel=self._channel)
            )
            profile = await profiles.get_conversation_profile(
                name=self._profile,
                metadata=metadata,
                timeout=limits.DIALOGFLOW_CONNECT_TIMEOUT_S,
                retry=None,
            )
            agent_name = profile.automated_agent_config.agent
        self._session = names.cx_session(self._agent, agent_name, self._config.session_id)

    def hello(self, *, playing_ms: int) -> google.StreamingDetectIntentRequest:
        """As `AgentApi.hello`."""
        config = google.InputAudioConfig(
            audio_encoding=google.AudioEncoding.AUDIO_ENCODING_LINEAR_16,
            sample_rate_hertz=self._config.sample_rate_hz,
            single_utterance=True,
        )
        if playing_ms:
            config.barge_in_config = google.BargeInConfig(total_duration=timedelta(milliseconds=playing_ms))
        return self._first(audio=google.AudioInput(config=config))

    def event(self, name: str) -> google.StreamingDetectIntentRequest:
        """As `AgentApi.event`."""
        return self._first(event=google.EventInput(event=name))

    def audio(self, pcm: bytes) -> google.StreamingDetectIntentRequest:
        """As `AgentApi.audio`."""
        return google.StreamingDetectIntentRequest(
            query_input=google.QueryInput(audio=google.AudioInput(audio=pcm))
        )

    async def stream(self, requests: AsyncIterator[Any], metadata: Metadata, timeout_s: float) -> Any:
        """As `AgentApi.stream`."""
        return await self._client.streaming_detect_intent(
            requests=requests, metadata=metadata, timeout=timeout_s
        )

    def read(self, response: google.StreamingDetectIntentResponse) -> Iterator[Item]:
        """As `AgentApi.read`."""
        if "recognition_result" in response:
            heard = response.recognition_result
            if heard.message_type == _RESULT.END_OF_SINGLE_UTTERANCE:
                yield UtteranceEnded()
            elif heard.message_type == _RESULT.TRANSCRIPT:
                yield Heard(heard.transcript, heard.is_final)
        if "detect_intent_response" not in response:
            return
        found = response.detect_intent_response
        yield _answered(found)
        if found.output_audio:
            flags = _flags(found.query_result)
            pcm, rate_hz = decode_reply(
                found.output_audio,
                encoding=encoding_of(found.output_audio_config.audio_encoding),
                sample_rate_hz=found.output_audio_config.sample_rate_hertz or self._config.sample_rate_hz,
            )
            partial = found.response_type == _PARTIAL
            yield ReplyAudio(
                pcm,
                rate_hz,
                interruptible=bool(flags) and all(flags) and not partial,
                cancellable=partial and found.allow_cancellation,
            )

    def _first(self, **query: Any) -> google.StreamingDetectIntentRequest:
        request = google.StreamingDetectIntentRequest(
            session=self._session,
            query_input=google.QueryInput(language_code=self._config.language, **query),
            output_audio_config=google.OutputAudioConfig(
                audio_encoding=google.OutputAudioEncoding.OUTPUT_AUDIO_ENCODING_LINEAR_16,
                sample_rate_hertz=self._config.sample_rate_hz,
            ),
            enable_partial_response=self._config.partial_replies,
        )
        if self._config.analyze_sentiment:
            request.query_params = google.QueryParameters(analyze_query_text_sentiment=True)
        return request


def _answered(found: google.DetectIntentResponse) -> Answered:
    result = found.query_result
    sentiment = None
    if "sentiment_analysis_result" in result:
        sentiment = Sentiment(
            result.sentiment_analysis_result.score, result.sentiment_analysis_result.magnitude
        )
    return Answered(
        transcript=result.transcript or result.text,
        confidence=result.match.confidence,
        is_final=found.response_type != _PARTIAL,
        messages=tuple(tuple(message.text.text) for message in result.response_messages if message.text.text),
        intent=result.match.intent.display_name or None,
        language=result.language_code or None,
        sentiment=sentiment,
        ends=any(
            "end_interaction" in message or "live_agent_handoff" in message
            for message in result.response_messages
        ),
    )


def _flags(result: google.QueryResult) -> list[bool]:
    """Return of each spoken message whether it may be interrupted.

    The audio of an answer is one piece, so one message that may not be interrupted protects all.
    """
    return [
        getattr(message, kind).allow_playback_interruption
        for message in result.response_messages
        for kind in _SPOKEN
        if kind in message
    ]
