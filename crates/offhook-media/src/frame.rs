//! Writes the frames of a stream (contract 4.3) into one buffer that is used again and again.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::params::Track;

const MEDIA_HEAD: &[u8] = b"{\"event\":\"media\",\"sequence_number\":\"";
const RX_TRACK: &[u8] = b"\",\"media\":{\"track\":\"inbound\",\"chunk\":\"";
const TX_TRACK: &[u8] = b"\",\"media\":{\"track\":\"outbound\",\"chunk\":\"";
const TIMESTAMP: &[u8] = b"\",\"timestamp\":\"";
const PAYLOAD: &[u8] = b"\",\"payload\":\"";

/// Why a frame of the application is answered by an error (contract 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// 100002.
    Unknown(&'static str),
    /// 100003.
    Malformed(&'static str),
    /// 100004.
    Invalid(&'static str),
    /// 100005.
    Limit(&'static str),
}

impl FrameError {
    const fn parts(self) -> (u32, &'static str, &'static str) {
        match self {
            Self::Unknown(detail) => (100_002, "unknown_error", detail),
            Self::Malformed(detail) => (100_003, "malformed_frame", detail),
            Self::Invalid(detail) => (100_004, "invalid_media", detail),
            Self::Limit(detail) => (100_005, "rate_limit_reached", detail),
        }
    }
}

/// Numbers and writes frames. Numbers begin at "1" with the start frame and have no gap.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    sequence_number: u64,
    /// From the end of the payload to the end of a media frame.
    media_tail: Vec<u8>,
    /// The stream id as a JSON string.
    stream_id: String,
    buffer: Vec<u8>,
    text: String,
}

/// Text as a JSON string, with its quotes.
pub(crate) fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

impl FrameWriter {
    pub(crate) fn new(stream_id: &str) -> Self {
        let stream_id = json_string(stream_id);
        Self {
            sequence_number: 0,
            media_tail: format!("\"}},\"stream_id\":{stream_id}}}").into_bytes(),
            stream_id,
            buffer: Vec::with_capacity(512),
            text: String::new(),
        }
    }

    /// The socket is a new one: numbers begin again.
    pub(crate) const fn restart(&mut self) {
        self.sequence_number = 0;
    }

    /// A media frame.
    pub(crate) fn media(&mut self, track: Track, chunk: u64, timestamp_ms: u64, payload: &[u8]) -> &[u8] {
        let number = self.next_number();
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(MEDIA_HEAD);
        write_decimal(out, number);
        out.extend_from_slice(match track {
            Track::Rx => RX_TRACK,
            Track::Tx => TX_TRACK,
        });
        write_decimal(out, chunk);
        out.extend_from_slice(TIMESTAMP);
        write_decimal(out, timestamp_ms);
        out.extend_from_slice(PAYLOAD);
        let start = out.len();
        out.resize(start + payload.len().div_ceil(3) * 4, 0);
        if let Some(room) = out.get_mut(start..) {
            // The room is exactly as long as padded base64 needs.
            let _ = STANDARD.encode_slice(payload, room);
        }
        out.extend_from_slice(&self.media_tail);
        out
    }

    /// The start frame; `start` is a JSON object.
    pub(crate) fn start(&mut self, start: &str) -> &[u8] {
        let number = self.next_number();
        let stream_id = &self.stream_id;
        put(
            &mut self.text,
            format_args!(
                r#"{{"event":"start","sequence_number":"{number}","start":{start},"stream_id":{stream_id}}}"#
            ),
        );
        self.text.as_bytes()
    }

    /// The stop frame; `stop` is a JSON object.
    pub(crate) fn stop(&mut self, stop: &str) -> &[u8] {
        let number = self.next_number();
        let stream_id = &self.stream_id;
        put(
            &mut self.text,
            format_args!(
                r#"{{"event":"stop","sequence_number":"{number}","stop":{stop},"stream_id":{stream_id}}}"#
            ),
        );
        self.text.as_bytes()
    }

    /// A key the far end has pressed.
    pub(crate) fn dtmf(&mut self, digit: char, occurred_at: &str) -> &[u8] {
        let number = self.next_number();
        let stream_id = &self.stream_id;
        put(
            &mut self.text,
            format_args!(
                r#"{{"event":"dtmf","stream_id":{stream_id},"occurred_at":"{occurred_at}","sequence_number":"{number}","dtmf":{{"digit":"{digit}"}}}}"#
            ),
        );
        self.text.as_bytes()
    }

    /// The echo of a mark.
    pub(crate) fn mark(&mut self, name: &str) -> &[u8] {
        let number = self.next_number();
        let stream_id = &self.stream_id;
        let name = json_string(name);
        put(
            &mut self.text,
            format_args!(
                r#"{{"event":"mark","stream_id":{stream_id},"sequence_number":"{number}","mark":{{"name":{name}}}}}"#
            ),
        );
        self.text.as_bytes()
    }

    /// An error frame: the only one without a number.
    pub(crate) fn error(&mut self, error: FrameError) -> &[u8] {
        let (code, title, detail) = error.parts();
        let stream_id = &self.stream_id;
        let detail = json_string(detail);
        put(
            &mut self.text,
            format_args!(
                r#"{{"event":"error","stream_id":{stream_id},"payload":{{"code":{code},"title":"{title}","detail":{detail}}}}}"#
            ),
        );
        self.text.as_bytes()
    }

    const fn next_number(&mut self) -> u64 {
        self.sequence_number = self.sequence_number.saturating_add(1);
        self.sequence_number
    }
}

fn put(text: &mut String, frame: std::fmt::Arguments<'_>) {
    text.clear();
    // Writing to a String cannot fail.
    let _ = text.write_fmt(frame);
}

fn write_decimal(out: &mut Vec<u8>, number: u64) {
    // Three numbers a frame: pairs of digits halve what they cost.
    let mut pairs = [[b'0'; 2]; 10];
    let mut used = 0;
    let mut rest = number;
    for pair in pairs.iter_mut().rev() {
        *pair = two_digits(rest % 100);
        rest /= 100;
        used += 2;
        if rest == 0 {
            break;
        }
    }
    let digits = pairs.as_flattened();
    let start = digits.len().saturating_sub(used);
    let start = if digits.get(start) == Some(&b'0') { start + 1 } else { start };
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[expect(clippy::cast_possible_truncation, reason = "below 100")]
const fn two_digits(number: u64) -> [u8; 2] {
    let number = number as u8;
    [b'0' + number / 10, b'0' + number % 10]
}

/// `stop` with the reason added, and the cause of the call's end if there is one, unless it has them.
pub(crate) fn with_reason(stop: &str, reason: &str, hangup_cause: Option<&str>) -> String {
    let mut object = match serde_json::from_str(stop) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.entry("reason").or_insert_with(|| Value::from(reason));
    if let Some(cause) = hangup_cause {
        object.entry("hangup_cause").or_insert_with(|| Value::from(cause));
    }
    Value::Object(object).to_string()
}

/// `start` with the number of this reconnect added.
pub(crate) fn with_reconnect(start: &str, count: u64) -> String {
    match serde_json::from_str(start) {
        Ok(Value::Object(mut object)) => {
            object.insert("reconnect".to_owned(), Value::from(count));
            Value::Object(object).to_string()
        }
        _ => start.to_owned(),
    }
}

/// Whether the text is one JSON object.
pub(crate) fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(frame: &[u8]) -> String {
        String::from_utf8(frame.to_vec()).unwrap()
    }

    #[test]
    fn frames_look_as_the_contract_shows_them() {
        let mut writer = FrameWriter::new("a-1");
        assert_eq!(
            text(writer.start(r#"{"from":"x"}"#)),
            r#"{"event":"start","sequence_number":"1","start":{"from":"x"},"stream_id":"a-1"}"#
        );
        assert_eq!(
            text(writer.media(Track::Rx, 2, 5, &[0xff; 4])),
            r#"{"event":"media","sequence_number":"2","media":{"track":"inbound","chunk":"2","timestamp":"5","payload":"/////w=="},"stream_id":"a-1"}"#
        );
        assert_eq!(
            text(writer.media(Track::Tx, 10, 12_345, b"abc")),
            r#"{"event":"media","sequence_number":"3","media":{"track":"outbound","chunk":"10","timestamp":"12345","payload":"YWJj"},"stream_id":"a-1"}"#
        );
        assert_eq!(
            text(writer.dtmf('#', "2026-11-23T08:00:00.000000Z")),
            r##"{"event":"dtmf","stream_id":"a-1","occurred_at":"2026-11-23T08:00:00.000000Z","sequence_number":"4","dtmf":{"digit":"#"}}"##
        );
        assert_eq!(
            text(writer.mark("a \"quote\"")),
            r#"{"event":"mark","stream_id":"a-1","sequence_number":"5","mark":{"name":"a \"quote\""}}"#
        );
        assert_eq!(
            text(writer.error(FrameError::Malformed("no"))),
            r#"{"event":"error","stream_id":"a-1","payload":{"code":100003,"title":"malformed_frame","detail":"no"}}"#
        );
        assert_eq!(
            text(writer.stop(&with_reason("{}", "call_ended", None))),
            r#"{"event":"stop","sequence_number":"6","stop":{"reason":"call_ended"},"stream_id":"a-1"}"#
        );
    }

    #[test]
    fn a_reason_that_is_there_is_kept() {
        assert_eq!(with_reason(r#"{"reason":"mine"}"#, "yours", None), r#"{"reason":"mine"}"#);
        assert_eq!(with_reason("not json", "r", None), r#"{"reason":"r"}"#);
    }

    #[test]
    fn the_cause_of_a_hangup_stands_beside_the_reason() {
        let stop = with_reason(r#"{"user_id":"u"}"#, "call_ended", Some("user_busy"));
        let stop: serde_json::Value = serde_json::from_str(&stop).unwrap();
        assert_eq!(
            stop,
            serde_json::json!({"user_id": "u", "reason": "call_ended", "hangup_cause": "user_busy"})
        );
    }

    #[test]
    fn numbers_begin_again_on_a_new_socket() {
        let mut writer = FrameWriter::new("s");
        writer.start("{}");
        writer.media(Track::Rx, 1, 0, b"x");
        writer.restart();
        assert!(text(writer.start("{}")).contains(r#""sequence_number":"1""#));
    }

    proptest! {
        #[test]
        fn every_media_frame_is_json_with_the_payload_in_it(
            stream_id: String, chunk: u64, timestamp: u64, payload: Vec<u8>
        ) {
            let mut writer = FrameWriter::new(&stream_id);
            let frame: Value = serde_json::from_slice(writer.media(Track::Rx, chunk, timestamp, &payload)).unwrap();
            prop_assert_eq!(frame["stream_id"].as_str(), Some(&stream_id[..]));
            prop_assert_eq!(frame["media"]["chunk"].as_str(), Some(&chunk.to_string()[..]));
            prop_assert_eq!(frame["media"]["timestamp"].as_str(), Some(&timestamp.to_string()[..]));
            let encoded = frame["media"]["payload"].as_str().unwrap();
            prop_assert_eq!(STANDARD.decode(encoded).unwrap(), payload);
        }

        #[test]
        fn numbers_are_written_as_people_write_them(number in prop_oneof![0_u64..1000, any::<u64>()]) {
            let mut out = Vec::new();
            write_decimal(&mut out, number);
            prop_assert_eq!(text(&out), number.to_string());
        }

        #[test]
        fn a_mark_of_any_name_is_json(name: String) {
            let mut writer = FrameWriter::new("s");
            let frame: Value = serde_json::from_slice(writer.mark(&name)).unwrap();
            prop_assert_eq!(frame["mark"]["name"].as_str(), Some(&name[..]));
        }
    }
}
