"""Conversations with Google's services, spoken over a real gRPC connection."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from offhook.base import limits
from offhook.edge.dialogflow.protocol import (
    Agent,
    Answered,
    Connected,
    Ended,
    Failed,
    Interrupted,
    ReplyAudio,
    Sentiment,
    SessionConfig,
    SessionEvent,
)
from offhook.edge.dialogflow.service import DialogflowService
from tests.fakes.google_dialogflow import (
    PROJECT,
    Act,
    GoogleServer,
    Turn,
    google_server,
    hold,
    service_account,
    wav,
)
from tests.fakes.tones import tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ACCOUNT = service_account()
SPEECH = tone(440, 400)
PAUSE = bytes(16 * 600)


async def resolve(host: str, port: int) -> list[tuple[str, int]]:
    return [(host, port)]


@dataclass
class Conversation:
    google: GoogleServer
    service: DialogflowService
    session: Any = None
    events: list[SessionEvent] = field(default_factory=list)

    def said(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def push(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 1600):
            self.session.push(pcm[at : at + 1600])

    async def until(self, condition: Callable[["Conversation"], bool], timeout_s: float = 10) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def conversation(
    act: Act, *, agent: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[Conversation]:
    async with google_server(act) as google:
        service = DialogflowService(resolve, endpoint=google.url)
        talk = Conversation(google, service)
        talk.session = await service.open(
            Agent(**({"service_account": ACCOUNT} | (agent or {}))),
            SessionConfig(**({"session_id": "s-1", "sample_rate_hz": 8000, "language": "en-US"} | config)),
            talk.events.append,
        )
        try:
            yield talk
        finally:
            await service.close(talk.session)
            assert service.numbers()["sessions_open"] == 0


async def greet(turn: Turn) -> None:
    """Be an agent that answers every utterance by a tone of half a second."""
    if not await turn.utterance():
        return
    await turn.recognised("he", final=False)
    await turn.recognised("hello", final=True)
    await turn.end_of_utterance()
    if turn.api == "es":
        await turn.answer_es("hello", "Hi!", wav(tone(1000, 500)))
    else:
        await turn.answer_cx("hello", "Hi!", wav(tone(1000, 500)))


CX = {"api": "cx", "conversation_profile_id": "profile-1", "location": "europe-west3"}


@pytest.mark.parametrize("agent", [{}, CX], ids=["es", "cx"])
async def test_every_utterance_is_heard_whole_and_answered(agent: dict[str, Any]) -> None:
    async with conversation(greet, agent=agent) as talk:
        await talk.until(lambda talk: bool(talk.said(Connected)))
        for count in (1, 2):
            talk.push(SPEECH + PAUSE)
            await talk.until(lambda talk, count=count: len(talk.said(ReplyAudio)) == count)
            talk.session.reply_ended()
        answers = talk.said(Answered)
        assert [(each.transcript, each.messages, each.is_final) for each in answers] == [
            ("hello", (("Hi!",),), True)
        ] * 2
        assert (answers[0].confidence, answers[0].intent) == (
            (1.0, "greeting") if not agent else (0.75, "order")
        )
        assert talk.said(ReplyAudio)[0].pcm == tone(1000, 500)
        assert SPEECH in talk.google.turns[0].audio
        assert SPEECH in talk.google.turns[1].audio
        assert all(turn.half_closed for turn in talk.google.turns[:2])
        named = (
            f"projects/{PROJECT}/agent/sessions/s-1"
            if not agent
            else f"projects/{PROJECT}/locations/europe-west3/agents/agent-1/sessions/s-1"
        )
        assert set(talk.google.sessions()) == {named}
        if agent:
            assert talk.google.profiles_asked == [
                f"projects/{PROJECT}/locations/europe-west3/conversationProfiles/profile-1"
            ]
        await talk.until(lambda talk: talk.service.numbers()["turns_total"] == 2)
        assert talk.service.numbers()["turns_failed_total"] == 0


async def test_requests_carry_a_token_signed_by_the_account_and_ask_for_playable_audio() -> None:
    async with conversation(greet, analyze_sentiment=True, sample_rate_hz=16_000) as talk:
        talk.push(tone(440, 400, 16_000) + bytes(32 * 600))
        await talk.until(lambda talk: bool(talk.said(Answered)))
        turn = talk.google.turns[0]
        kind, token = turn.metadata["authorization"].split(" ")
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert kind == "Bearer"
        assert claims["iss"] == claims["sub"] == ACCOUNT["client_email"]
        assert "https://www.googleapis.com/auth/cloud-platform" in claims["scope"]
        audio = turn.first.query_input.audio_config
        assert (audio.audio_encoding.name, audio.sample_rate_hertz, audio.language_code) == (
            "AUDIO_ENCODING_LINEAR_16",
            16_000,
            "en-US",
        )
        assert audio.single_utterance
        out = turn.first.output_audio_config
        assert (out.audio_encoding.name, out.sample_rate_hertz) == ("OUTPUT_AUDIO_ENCODING_LINEAR_16", 16_000)
        assert list(turn.first.output_audio_config_mask.paths) == ["audio_encoding", "sample_rate_hertz"]
        assert talk.said(Answered)[0].sentiment == Sentiment(0.5, 2.0)


async def test_a_reply_that_may_not_be_interrupted_is_not_listened_over() -> None:
    async with conversation(greet) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: bool(talk.said(ReplyAudio)))
        talk.push(tone(700, 300) + PAUSE)
        await asyncio.sleep(0.2)
        assert len(talk.google.turns) == 1
        # What was said last, just before its end, is still heard.
        talk.push(SPEECH[:3200])
        talk.session.reply_ended()
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: len(talk.said(Answered)) == 2)
        heard = bytes(talk.google.turns[1].audio)
        assert SPEECH in heard
        assert heard.index(SPEECH[:3200]) <= limits.DIALOGFLOW_PREROLL_MS * 16


async def test_the_conversation_goes_on_although_nobody_says_that_the_reply_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_REPLY_GRACE_S", 0.1)
    async with conversation(greet) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: len(talk.google.turns) == 2)


async def test_words_stop_a_cx_reply_that_lets_them() -> None:
    async def act(turn: Turn) -> None:
        if not await turn.utterance():
            return
        await turn.recognised("wait", final=False)
        await turn.recognised("wait a moment", final=True)
        await turn.end_of_utterance()
        await turn.answer_cx("wait", "A long story.", wav(tone(500, 10_000)), interruptible=True)

    async with conversation(act, agent=CX) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: len(talk.google.turns) == 2)
        config = talk.google.turns[1].first.query_input.audio.config.barge_in_config
        assert 8 < config.total_duration.total_seconds() <= 10
        assert talk.said(Interrupted) == []
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: len(talk.said(ReplyAudio)) == 2)
        kinds = [type(event) for event in talk.events]
        assert kinds.count(Interrupted) == 1
        assert kinds.index(Interrupted) < len(kinds) - 1 - kinds[::-1].index(Answered)


@pytest.mark.parametrize(("barge_in", "interrupted"), [("always", 1), ("never", 0), ("agent", 0)])
async def test_the_operator_may_decide_about_barge_in(barge_in: str, interrupted: int) -> None:
    async with conversation(greet, barge_in=barge_in) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: bool(talk.said(ReplyAudio)))
        talk.push(SPEECH + PAUSE)
        if not interrupted:
            talk.session.reply_ended()
            talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: len(talk.said(Answered)) == 2)
        assert len(talk.said(Interrupted)) == interrupted


async def test_a_cx_agent_may_answer_in_parts() -> None:
    async def act(turn: Turn) -> None:
        if not await turn.utterance():
            return
        await turn.end_of_utterance()
        assert turn.first.enable_partial_response
        await turn.answer_cx("hello", "Let me look.", wav(tone(500, 100)), partial=True)
        await turn.answer_cx("hello", "Found.", wav(tone(600, 100)))

    async with conversation(act, agent=CX, partial_replies=True) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: len(talk.said(ReplyAudio)) == 2)
        assert [(each.is_final, each.messages[0][0]) for each in talk.said(Answered)] == [
            (False, "Let me look."),
            (True, "Found."),
        ]


async def test_an_agent_greets_first_when_told_to() -> None:
    async def act(turn: Turn) -> None:
        event = turn.first.query_input.event
        if event.name:
            while await turn.hear():
                pass
            assert not turn.audio
            await turn.answer_es("", "Welcome.", wav(tone(1000, 100)))
        else:
            await hold()

    async with conversation(act, welcome_event="WELCOME") as talk:
        await talk.until(lambda talk: bool(talk.said(ReplyAudio)))
        assert talk.said(Answered)[0].messages == (("Welcome.",),)
        assert talk.google.turns[0].first.query_input.event.name == "WELCOME"


async def test_the_agent_may_end_the_conversation_after_its_last_words() -> None:
    async def act(turn: Turn) -> None:
        await turn.utterance()
        await turn.end_of_utterance()
        await turn.answer_cx("bye", "Goodbye.", wav(tone(500, 300)), ends=True)

    async with conversation(act, agent=CX) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: bool(talk.said(ReplyAudio)))
        await asyncio.sleep(0.1)
        assert talk.said(Ended) == []
        talk.session.reply_ended()
        await talk.until(lambda talk: bool(talk.said(Ended)))
        assert len(talk.google.turns) == 1


async def test_a_minute_of_silence_only_opens_a_new_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_TURN_AUDIO_MS", 2000)
    async with conversation(greet) as talk:
        talk.push(bytes(16 * 1900) + SPEECH[:1600])
        await talk.until(lambda talk: len(talk.google.turns) == 2)
        talk.push(SPEECH[1600:] + PAUSE)
        await talk.until(lambda talk: bool(talk.said(Answered)))
        # Whoever began to speak at that moment is heard whole.
        assert SPEECH in talk.google.turns[1].audio
        assert not talk.google.turns[0].half_closed
        assert talk.said(Failed) == []
        assert talk.service.numbers()["turns_without_speech_total"] == 1


async def test_speech_that_reaches_the_limit_is_still_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_TURN_AUDIO_MS", 500)

    async def act(turn: Turn) -> None:
        await turn.hear()
        await turn.recognised("a very long", final=False)
        while await turn.hear():
            pass
        await turn.answer_es("a very long story", "I see.")

    async with conversation(act) as talk:
        for _ in range(7):
            talk.push(SPEECH[:1600])
            await asyncio.sleep(0.02)
        await talk.until(lambda talk: bool(talk.said(Answered)))
        assert talk.google.turns[0].half_closed
        assert len(talk.google.turns[0].audio) == 500 * 16


async def test_googles_own_limit_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_RETRY_S", ())
    monkeypatch.setattr(limits, "DIALOGFLOW_LIMIT_LOST_AFTER_MS", limits.DIALOGFLOW_LIMIT_AFTER_MS)

    async def act(turn: Turn) -> None:
        while len(turn.audio) < 1100 * 16:
            await turn.hear()
        await turn.fail(grpc.StatusCode.OUT_OF_RANGE, "Exceeded maximum allowed stream duration")

    async with conversation(act) as talk:
        for count in (2, 3):
            talk.push(bytes(16 * 1200))
            await talk.until(lambda talk, count=count: len(talk.google.turns) == count)
        assert talk.said(Failed) == []


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND"])
async def test_what_will_never_work_fails_at_once_with_googles_reason(status: str) -> None:
    async def act(turn: Turn) -> None:
        await turn.fail(grpc.StatusCode[status], "because of the agent")

    async with conversation(act) as talk:
        await talk.until(lambda talk: bool(talk.said(Failed)))
        assert talk.said(Failed) == [Failed("connection_failed", f"{status}: because of the agent")]
        assert len(talk.google.turns) == 1


async def test_an_agent_that_is_away_for_a_moment_is_asked_again() -> None:
    async def act(turn: Turn) -> None:
        if len(talk.google.turns) <= 2:
            await turn.fail(grpc.StatusCode.UNAVAILABLE, "try again")
        await greet(turn)

    async with conversation(act) as talk:
        talk.push(SPEECH)
        await talk.until(lambda talk: len(talk.google.turns) == 3)
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: bool(talk.said(Answered)))
        assert talk.said(Failed) == []
        assert talk.service.numbers()["turns_failed_total"] == 2


async def test_an_agent_that_stays_away_fails_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_RETRY_S", (0.01, 0.01))
    answered = False

    async def act(turn: Turn) -> None:
        nonlocal answered
        if answered:
            await turn.fail(grpc.StatusCode.UNAVAILABLE, "gone")
        await greet(turn)
        answered = True

    async with conversation(act) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: bool(talk.said(ReplyAudio)))
        talk.session.reply_ended()
        await talk.until(lambda talk: bool(talk.said(Failed)))
        assert talk.said(Failed) == [Failed("connection_lost", "UNAVAILABLE: gone")]
        assert len(talk.google.turns) == 4


async def test_an_agent_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_RETRY_S", ())
    monkeypatch.setattr(limits, "DIALOGFLOW_ANSWER_TIMEOUT_S", 0.2)

    async def act(turn: Turn) -> None:
        await turn.utterance()
        await turn.end_of_utterance()
        await hold()

    async with conversation(act) as talk:
        talk.push(SPEECH + PAUSE)
        await talk.until(lambda talk: bool(talk.said(Failed)))
        (failed,) = talk.said(Failed)
        assert failed.detail == "DEADLINE_EXCEEDED: the agent did not answer in time"


async def test_an_agent_that_hangs_up_on_us_is_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_RETRY_S", (0.01,))

    async def act(turn: Turn) -> None:
        """End the stream at once, in good order and without an answer."""

    async with conversation(act) as talk:
        await talk.until(lambda talk: bool(talk.said(Failed)))
        assert "without an answer" in talk.said(Failed)[0].detail
        assert len(talk.google.turns) == 2


async def test_an_agent_that_answers_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_RETRY_S", ())

    async def act(turn: Turn) -> None:
        while True:
            await turn.answer_cx("a", "b", partial=True)

    async with conversation(act, agent=CX) as talk:
        await talk.until(lambda talk: bool(talk.said(Failed)))
        assert "without end" in talk.said(Failed)[0].detail
        assert len(talk.said(Answered)) == limits.DIALOGFLOW_ANSWERS_PER_TURN_MAX


async def test_audio_that_nobody_takes_is_bounded_and_counted() -> None:
    async def act(turn: Turn) -> None:
        await turn.fail(grpc.StatusCode.UNAVAILABLE, "busy")

    async with conversation(act) as talk:
        await talk.until(lambda talk: bool(talk.google.turns))
        talk.push(bytes(16 * 30_000))
        assert talk.session._queued_bytes <= limits.DIALOGFLOW_QUEUED_MS * 16
        assert talk.service.numbers()["audio_dropped_ms_total"] >= 19_000


async def test_a_server_that_is_not_there_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_CONNECT_TIMEOUT_S", 0.5)
    events: list[SessionEvent] = []
    service = DialogflowService(resolve, endpoint="http://127.0.0.1:9")
    session = await service.open(
        Agent(service_account=ACCOUNT),
        SessionConfig(session_id="s", sample_rate_hz=8000, language="en"),
        events.append,
    )
    async with asyncio.timeout(30):
        while not events:
            await asyncio.sleep(0.01)
    assert events == [Failed("connection_failed", "Dialogflow could not be reached in time")]
    await service.close(session)


@pytest.mark.parametrize(
    "account", [{}, {"foo": "bar"}, ACCOUNT | {"private_key": "no key"}, ACCOUNT | {"project_id": "a/b"}]
)
async def test_an_account_that_is_none_is_told_without_its_secrets(account: dict[str, Any]) -> None:
    async with conversation(greet, agent={"service_account": account}) as talk:
        await talk.until(lambda talk: bool(talk.said(Failed)))
        (failed,) = talk.said(Failed)
        assert failed.reason == "dialogflow_not_configured"
        assert "service account" in failed.detail
        assert "no key" not in failed.detail


async def test_closing_cancels_the_turn_under_way() -> None:
    ended = asyncio.Event()

    async def act(turn: Turn) -> None:
        try:
            await hold()
        finally:
            ended.set()

    async with conversation(act) as talk:
        await talk.until(lambda talk: bool(talk.google.turns))
        await talk.service.close(talk.session)
        async with asyncio.timeout(30):
            await ended.wait()
        assert [type(event) for event in talk.events] == [Connected]
