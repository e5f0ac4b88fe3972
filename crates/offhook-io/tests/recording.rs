//! Recordings on real sockets and in real files.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside the reach of allow-unwrap-in-tests"
)]

mod common;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{counter, engine, leg_params, rtp, until};
use offhook_io::{Engine, Event, What};
use offhook_media::RecordingParams;

fn params() -> RecordingParams {
    RecordingParams {
        rx: true,
        tx: true,
        dual: true,
        sample_rate_hz: 8000,
        max_ms: 0,
        silence_timeout_ms: 0,
        trim_silence: false,
    }
}

/// A folder of this test alone, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("offhook-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn closed(engine: &Engine, seen: &mut Vec<Event>, tap: u64) -> (String, String, u64, u64) {
    let is_it = |event: &Event| event.tap == tap && matches!(event.what, What::RecordingClosed { .. });
    until(engine, seen, is_it);
    match &seen.iter().find(|event| is_it(event)).unwrap().what {
        What::RecordingClosed { reason, detail, duration_ms, size_bytes, .. } => {
            (reason.clone(), detail.clone(), *duration_ms, *size_bytes)
        }
        _ => unreachable!(),
    }
}

/// What the header says of the audio's length, and what there is.
fn lengths(path: &Path) -> (u64, u64) {
    let file = std::fs::read(path).unwrap();
    assert_eq!((&file[..4], &file[8..16], &file[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    let told = u32::from_le_bytes(file[40..44].try_into().unwrap());
    assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()), told + 36);
    (u64::from(told), file.len() as u64 - 44)
}

#[test]
fn the_file_can_be_played_at_any_time_while_it_grows() {
    let engine = engine(25_300, 25_309, 1);
    let folder = Folder::new("grows");
    let path = folder.0.join("a.wav");
    let mut seen = Vec::new();
    let (port, _) = engine.open_leg(1, true).unwrap();
    engine.connect_leg(1, leg_params()).unwrap();
    engine.add_recording(1, 1, params(), path.clone()).unwrap();
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut longest = 0;
    for number in 0..125 {
        phone.send_to(&rtp(number), ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        if let Ok(file) = std::fs::read(&path)
            && file.len() > 44
        {
            let (told, there) = lengths(&path);
            assert!(told.abs_diff(there) <= 8000, "at most the block that is written just now");
            longest = longest.max(told);
        }
    }
    assert!(longest > 32 * 1000, "a second later it is there, not at the end: {longest}");
    assert_eq!(counter(&engine, "recordings_open"), 1);
    engine.remove_tap(1, 1, "command", None).unwrap();
    let (reason, detail, duration_ms, size_bytes) = closed(&engine, &mut seen, 1);
    assert_eq!((reason.as_str(), detail.as_str()), ("command", ""));
    let (told, there) = lengths(&path);
    assert_eq!((told, told + 44), (there, size_bytes));
    assert_eq!(told / 32, duration_ms);
    assert!(duration_ms >= 2500);
    assert_eq!((counter(&engine, "recordings_open"), counter(&engine, "taps_open")), (0, 0));
    assert_eq!(counter(&engine, "recorded_blocks_dropped_total"), 0);
}

#[test]
fn a_leg_ends_after_its_recordings() {
    let engine = engine(25_310, 25_319, 1);
    let folder = Folder::new("ends");
    let mut seen = Vec::new();
    engine.open_leg(1, true).unwrap();
    engine.connect_leg(1, leg_params()).unwrap();
    for tap in 1..=3 {
        engine.add_recording(1, tap, params(), folder.0.join(format!("{tap}.wav"))).unwrap();
    }
    engine.close_leg(1).unwrap();
    until(&engine, &mut seen, |event| matches!(event.what, What::LegClosed { .. }));
    let ends = |event: &&Event| matches!(&event.what, What::RecordingClosed { reason, .. } if reason == "call_ended");
    assert_eq!(seen.iter().filter(ends).count(), 3);
    assert!(matches!(seen.last().unwrap().what, What::LegClosed { .. }));
    assert_eq!(counter(&engine, "taps_open"), 0);
}

#[test]
fn a_file_that_cannot_be_made_ends_the_recording_and_nothing_else() {
    let engine = engine(25_320, 25_329, 1);
    let folder = Folder::new("fails");
    let mut seen = Vec::new();
    engine.open_leg(1, true).unwrap();
    engine.connect_leg(1, leg_params()).unwrap();
    std::fs::write(folder.0.join("there.wav"), b"mine").unwrap();
    for (tap, name) in [(1, "none/a.wav"), (2, "there.wav")] {
        engine.add_recording(1, tap, params(), folder.0.join(name)).unwrap();
        let (reason, detail, _, _) = closed(&engine, &mut seen, tap);
        assert_eq!(reason, "failed");
        assert!(!detail.is_empty());
    }
    assert_eq!(std::fs::read(folder.0.join("there.wav")).unwrap(), b"mine", "nothing is ever overwritten");
    engine.add_recording(1, 3, params(), folder.0.join("b.wav")).unwrap();
    engine.remove_tap(1, 3, "command", None).unwrap();
    assert_eq!(closed(&engine, &mut seen, 3).0, "command");
    assert_eq!(counter(&engine, "recordings_failed_total"), 2);
}

#[test]
fn a_fault_of_the_leg_leaves_a_file_that_can_be_played() {
    let engine = engine(25_330, 25_339, 1);
    let folder = Folder::new("fault");
    let path = folder.0.join("a.wav");
    let mut seen = Vec::new();
    engine.open_leg(1, true).unwrap();
    engine.connect_leg(1, leg_params()).unwrap();
    engine.add_recording(1, 1, params(), path.clone()).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    engine.inject_panic(1).unwrap();
    assert_eq!(closed(&engine, &mut seen, 1).0, "failed");
    engine.shutdown();
    let (told, there) = lengths(&path);
    assert_eq!(told, there);
    assert!(told > 0);
}
