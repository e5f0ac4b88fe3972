"""Whatever can be said in a frame survives the wire, and nothing an app sends breaks the reader."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.proto.stream import (
    INVALID_MEDIA,
    MALFORMED_FRAME,
    AppClear,
    AppMark,
    AppMedia,
    ConnectedFrame,
    DtmfFrame,
    ErrorFrame,
    FrameError,
    MarkFrame,
    MediaFormat,
    MediaFrame,
    StartFrame,
    StopFrame,
    StreamTrack,
    format_app_frame,
    format_server_frame,
    parse_app_frame,
    parse_server_frame,
)

pytestmark = pytest.mark.property

texts = st.text(max_size=20)
counters = st.integers(0, 2**64 - 1)
payloads = st.binary(min_size=1, max_size=200)
tracks = st.sampled_from(StreamTrack)
formats = st.builds(
    MediaFormat,
    encoding=st.sampled_from(["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"]),
    sample_rate_hz=st.integers(1, 48_000),
    channels=st.just(1),
)

server_frames = st.one_of(
    st.builds(ConnectedFrame, auth_token=st.none() | texts),
    st.builds(
        StartFrame,
        sequence_number=counters,
        stream_id=texts,
        user_id=texts,
        call_control_id=texts,
        call_session_id=texts,
        caller=texts,
        callee=texts,
        media_format=formats,
        tags=st.lists(texts, max_size=3).map(tuple),
        client_state=st.none() | texts,
        custom_parameters=st.dictionaries(texts, texts, max_size=3),
        call_leg_id=st.none() | texts,
        connection_id=st.none() | texts,
        direction=st.none() | texts,
        tracks=st.none() | st.lists(tracks, max_size=2).map(tuple),
        reconnect=st.none() | st.integers(0, 9),
    ),
    st.builds(
        MediaFrame,
        sequence_number=counters,
        stream_id=texts,
        track=tracks,
        chunk=counters,
        timestamp_ms=counters,
        payload=payloads,
    ),
    st.builds(
        DtmfFrame,
        sequence_number=counters,
        stream_id=texts,
        occurred_at=texts,
        digit=st.sampled_from("0123456789*#ABCD"),
    ),
    st.builds(MarkFrame, sequence_number=counters, stream_id=texts, name=texts),
    st.builds(ErrorFrame, stream_id=texts, code=st.integers(), title=texts, detail=texts),
    st.builds(
        StopFrame,
        sequence_number=counters,
        stream_id=texts,
        user_id=texts,
        call_control_id=texts,
        reason=st.none() | texts,
    ),
)
app_frames = st.one_of(
    st.builds(AppMedia, payload=payloads), st.builds(AppMark, name=texts), st.just(AppClear())
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_PLACES = ["media", "payload", "mark", "name", "start", "stream_id", "sequence_number"]
near_misses = st.fixed_dictionaries(
    {"event": st.sampled_from(["media", "mark", "clear", "start", "connected", "dtmf", "error", "stop"])},
    optional={
        place: json_values | st.dictionaries(st.sampled_from(_PLACES), json_values, max_size=4)
        for place in _PLACES
    },
).map(json.dumps)


@given(server_frames)
def test_a_server_frame_survives_the_wire(frame: Any) -> None:
    text = format_server_frame(frame)
    assert parse_server_frame(text) == frame
    assert text.isascii()


@given(app_frames)
def test_an_app_frame_survives_the_wire(frame: Any) -> None:
    assert parse_app_frame(format_app_frame(frame)) == frame


@given(st.text() | json_values.map(json.dumps) | near_misses)
def test_whatever_arrives_is_a_frame_or_a_frame_error(text: str) -> None:
    for parse in (parse_app_frame, parse_server_frame):
        code = None
        try:
            parse(text)
        except FrameError as error:
            code = error.code
        assert code in (None, MALFORMED_FRAME, INVALID_MEDIA)


@given(app_frames, st.data())
def test_a_damaged_frame_never_breaks_the_reader(frame: Any, data: st.DataObject) -> None:
    text = format_app_frame(frame)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    try:
        again = parse_app_frame(damaged)
    except FrameError:
        return
    assert parse_app_frame(format_app_frame(again)) == again
