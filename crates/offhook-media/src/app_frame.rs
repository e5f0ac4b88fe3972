//! Reads the frames of the application (contract 4.5).

use serde_json::Value;

use crate::frame::FrameError;
use crate::limits::{APP_FRAME_BYTES_MAX, MARK_NAME_BYTES_MAX};

/// What an application asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppFrame {
    /// Audio to be played, in base64.
    Media(String),
    /// Tell when all audio before has been played.
    Mark(String),
    /// Drop what is queued.
    Clear,
}

/// Read one text message. The error names what is wrong and never repeats it.
pub(crate) fn parse(text: &str) -> Result<AppFrame, FrameError> {
    if text.len() > APP_FRAME_BYTES_MAX {
        return Err(FrameError::Malformed("the frame is longer than 4 MiB"));
    }
    let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else {
        return Err(FrameError::Malformed("the frame is not a JSON object"));
    };
    match frame.get("event").and_then(Value::as_str) {
        Some("media") => match frame.get_mut("media").and_then(|media| media.get_mut("payload")) {
            Some(Value::String(payload)) if !payload.is_empty() => {
                Ok(AppFrame::Media(std::mem::take(payload)))
            }
            _ => Err(FrameError::Malformed("media.payload is missing or not a string")),
        },
        Some("mark") => match frame.get("mark").and_then(|mark| mark.get("name")).and_then(Value::as_str) {
            Some(name) if name.len() <= MARK_NAME_BYTES_MAX => Ok(AppFrame::Mark(name.to_owned())),
            Some(_) => Err(FrameError::Malformed("mark.name is longer than 1024 bytes")),
            None => Err(FrameError::Malformed("mark.name is missing or not a string")),
        },
        Some("clear") => Ok(AppFrame::Clear),
        Some(_) => Err(FrameError::Malformed("the event is unknown; media, mark and clear are known")),
        None => Err(FrameError::Malformed("event is missing or not a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_frames_are_read_and_extra_keys_are_ignored() {
        assert_eq!(parse(r#"{"event":"clear","stream_id":"x"}"#), Ok(AppFrame::Clear));
        assert_eq!(parse(r#"{"event":"mark","mark":{"name":"a"}}"#), Ok(AppFrame::Mark("a".to_owned())));
        assert_eq!(
            parse(r#"{"event":"media","media":{"payload":"AAAA"}}"#),
            Ok(AppFrame::Media("AAAA".to_owned()))
        );
    }

    #[test]
    fn what_is_wrong_is_malformed() {
        let long_name = format!(r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#, "n".repeat(1025));
        let long_frame = format!(r#"{{"event":"clear","x":"{}"}}"#, "n".repeat(APP_FRAME_BYTES_MAX));
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "nonsense",
            "[]",
            "\"media\"",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":"dance"}"#,
            r#"{"event":"media"}"#,
            r#"{"event":"media","media":{}}"#,
            r#"{"event":"media","media":{"payload":7}}"#,
            r#"{"event":"media","media":{"payload":""}}"#,
            r#"{"event":"mark"}"#,
            r#"{"event":"mark","mark":[]}"#,
            &long_name,
            &long_frame,
            &deep,
        ] {
            assert!(matches!(parse(text), Err(FrameError::Malformed(_))), "{}", &text[..text.len().min(60)]);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
