"""Dialogflow ES: `google.cloud.dialogflow.v2.Sessions.StreamingDetectIntent`."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from google.cloud import dialogflow_v2 as google
from google.cloud.dialogflow_v2.services.sessions.transports import SessionsGrpcAsyncIOTransport

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


class EsApi:
    """The agent of the service account's project."""

    def __init__(self, channel: Any, agent: Agent, config: SessionConfig) -> None:
        self._client = google.SessionsAsyncClient(transport=SessionsGrpcAsyncIOTransport(channel=channel))
        self._session = names.es_session(agent, config.session_id)
        self._config = config

    async def prepare(self, metadata: Metadata) -> None:
        """There is nothing to find out."""

    def hello(self, *, playing_ms: int) -> google.StreamingDetectIntentRequest:
        """As `AgentApi.hello`."""
        config = google.InputAudioConfig(
            audio_encoding=google.AudioEncoding.AUDIO_ENCODING_LINEAR_16,
            sample_rate_hertz=self._config.sample_rate_hz,
            language_code=self._config.language,
            single_utterance=True,
        )
        return self._first(google.QueryInput(audio_config=config))

    def event(self, name: str) -> google.StreamingDetectIntentRequest:
        """As `AgentApi.event`."""
        event = google.EventInput(name=name, language_code=self._config.language)
        return self._first(google.QueryInput(event=event))

    def audio(self, pcm: bytes) -> google.StreamingDetectIntentRequest:
        """As `AgentApi.audio`."""
        return google.StreamingDetectIntentRequest(input_audio=pcm)

    async def stream(self, requests: AsyncIterator[Any], metadata: Metadata, timeout_s: float) -> Any:
        """As `AgentApi.stream`."""
        return await self._client.streaming_detect_intent(
            requests=requests, metadata=metadata, timeout=timeout_s
        )

    def read(self, response: google.StreamingDetectIntentResponse) -> Iterator[Item]:
        """As `AgentApi.read`."""
        if "recognition_result" in response:
            result = response.recognition_result
            if result.message_type == _RESULT.END_OF_SINGLE_UTTERANCE:
                yield UtteranceEnded()
            elif result.message_type == _RESULT.TRANSCRIPT:
                yield Heard(result.transcript, result.is_final)
        if "query_result" in response:
            yield _answered(response.query_result)
        if response.output_audio:
            config = response.output_audio_config
            yield ReplyAudio(
                *decode_reply(
                    response.output_audio,
                    encoding=encoding_of(config.audio_encoding),
                    sample_rate_hz=config.sample_rate_hertz or self._config.sample_rate_hz,
                )
            )

    def _first(self, query: google.QueryInput) -> google.StreamingDetectIntentRequest:
        request = google.StreamingDetectIntentRequest(
            session=self._session,
            query_input=query,
            output_audio_config=google.OutputAudioConfig(
                audio_encoding=google.OutputAudioEncoding.OUTPUT_AUDIO_ENCODING_LINEAR_16,
                sample_rate_hertz=self._config.sample_rate_hz,
            ),
            # Without the mask our format would replace the agent's voice, too.
            output_audio_config_mask={"paths": ["audio_encoding", "sample_rate_hertz"]},
        )
        if self._config.analyze_sentiment:
            request.query_params = google.QueryParameters(
                sentiment_analysis_request_config=google.SentimentAnalysisRequestConfig(
                    analyze_query_text_sentiment=True
                )
            )
        return request


def _answered(result: google.QueryResult) -> Answered:
    sentiment = None
    if "sentiment_analysis_result" in result:
        found = result.sentiment_analysis_result.query_text_sentiment
        sentiment = Sentiment(found.score, found.magnitude)
    return Answered(
        transcript=result.query_text,
        confidence=result.intent_detection_confidence,
        is_final=True,
        messages=_messages(result),
        intent=result.intent.display_name or None,
        language=result.language_code or None,
        sentiment=sentiment,
        ends=result.intent.end_interaction or result.intent.live_agent_handoff,
    )


def _messages(result: google.QueryResult) -> tuple[tuple[str, ...], ...]:
    """Return the texts that are for no platform of their own, or those that there are."""
    common = google.Intent.Message.Platform.PLATFORM_UNSPECIFIED
    found = [message for message in result.fulfillment_messages if message.text.text]
    texts = [message for message in found if message.platform == common] or found
    if texts:
        return tuple(tuple(message.text.text) for message in texts)
    return ((result.fulfillment_text,),) if result.fulfillment_text else ()
