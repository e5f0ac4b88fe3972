//! The frames of a stream, as an application sees them (contract 4.3 to 4.5).
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::*;
use offhook_media::{Codec, Event, FrameKind, LegParams, StreamParams};
use serde_json::json;

fn sequence_numbers(bench: &Bench) -> Vec<u64> {
    let numbers = bench.record.frames.iter().filter_map(|(_, frame)| frame["sequence_number"].as_str());
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn a_stream_tells_connected_start_media_stop_in_order() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    bench.voice(0);
    bench.voice(1);
    bench.leg.remove_tap(bench.at(30), STREAM, "command", &mut bench.record).unwrap();
    bench.voice(2);
    let frames: Vec<_> = bench.record.frames.iter().map(|(_, frame)| frame.clone()).collect();
    assert_eq!(frames[0], json!({"event": "connected", "version": "1.0.0"}));
    assert_eq!(
        frames[1],
        json!({"event": "start", "sequence_number": "1", "stream_id": "stream-1", "start": {"call_control_id": "c"}})
    );
    assert_eq!(frames[2]["media"]["track"], "inbound");
    assert_eq!(frames[3]["media"]["chunk"], "2");
    assert_eq!(frames[3]["media"]["timestamp"], "20");
    assert_eq!(
        frames[4],
        json!({"event": "stop", "sequence_number": "4", "stream_id": "stream-1",
               "stop": {"call_control_id": "c", "reason": "command"}})
    );
    assert_eq!(frames.len(), 5);
    assert_eq!(bench.record.frames[2].0, FrameKind::Media);
    let Some(Event::TapClosed { tap: STREAM, stats }) = bench.record.events.last() else { unreachable!() };
    assert_eq!((stats.rx_frames, stats.frames_sent), (2, 5));
}

#[test]
fn what_the_phone_sends_is_the_payload_untouched_and_at_once() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    for n in 0..100 {
        bench.voice(n);
        assert_eq!(
            bench.record.media_frames("inbound").len(),
            usize::from(n) + 1,
            "no delay for what is in order"
        );
    }
    for (n, frame) in bench.record.media_frames("inbound").iter().enumerate() {
        assert_eq!(frame.payload, [n.to_le_bytes()[0]; 160]);
    }
}

#[test]
fn audio_between_connected_and_start_is_kept_up_to_the_buffer() {
    let mut bench = Bench::new(leg_params());
    bench.leg.add_stream(bench.start, STREAM, StreamParams { buffer_ms: 100, ..stream_params() }).unwrap();
    bench.voice(0);
    assert!(bench.record.frames.is_empty(), "no socket yet");
    bench.leg.stream_connected(bench.at(10), STREAM, &mut bench.record).unwrap();
    for n in 1..8 {
        bench.voice(n);
    }
    assert_eq!(bench.record.frames.len(), 1);
    bench.leg.begin_stream(bench.now(), STREAM, &mut bench.record).unwrap();
    bench.voice(8);
    let frames = bench.record.media_frames("inbound");
    assert_eq!(frames.iter().map(|frame| frame.payload[0]).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
    assert_eq!(frames.iter().map(|frame| frame.chunk).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(frames[0].timestamp_ms, 50, "since connected, at 10 ms");
    assert_eq!(sequence_numbers(&bench), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bench.record.events_named("error").len(), 1, "the loss is told");
    assert_eq!(bench.leg.stats().taps[0].1.frames_dropped, 2);
}

#[test]
fn a_socket_that_is_full_loses_the_oldest_and_no_number() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { buffer_ms: 60, ..stream_params() });
    bench.voice(0);
    bench.leg.stream_writable(bench.at(1), STREAM, false, &mut bench.record);
    for n in 1..10 {
        bench.voice(n);
    }
    assert_eq!(bench.record.media_frames("inbound").len(), 1);
    bench.leg.stream_writable(bench.at(181), STREAM, true, &mut bench.record);
    bench.voice(10);
    let frames = bench.record.media_frames("inbound");
    assert_eq!(frames.iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(), [0, 140, 160, 180, 200]);
    assert_eq!(frames.iter().map(|frame| frame.chunk).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(sequence_numbers(&bench), [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.record.events_named("error")[0]["payload"]["code"], 100_002);
}

#[test]
fn losses_are_filled_so_that_time_stays_true() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    for n in [0, 1, 4, 5, 6, 7, 8] {
        bench.voice(n);
    }
    let frames = bench.record.media_frames("inbound");
    assert_eq!(
        frames.iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(),
        [0, 20, 40, 60, 80, 100, 120, 140, 160]
    );
    assert_eq!(frames[2].payload, [0xff; 160]);
    assert_eq!(bench.leg.stats().taps[0].1.filled_ms, 40);
}

#[test]
fn losses_are_a_jump_when_filling_is_off() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { fill_gaps: false, ..stream_params() });
    for n in [0, 1, 4, 5, 6, 7] {
        bench.voice(n);
    }
    let frames = bench.record.media_frames("inbound");
    assert_eq!(frames.iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(), [0, 20, 80, 100, 120, 140]);
    assert_eq!(frames.iter().map(|frame| frame.chunk).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn frames_have_the_length_asked_for_and_the_codec_asked_for() {
    let mut bench = Bench::new(LegParams { ptime_ms: 30, ..leg_params() });
    let pcma = Codec::Pcma.into();
    bench.add_stream(StreamParams { format: pcma, frame_ms: 40, tx: false, ..stream_params() });
    for n in 0..4_u16 {
        bench.receive(u64::from(n) * 30, &packet(n, u32::from(n) * 240, 1, 0, &[0xff; 240]));
    }
    bench.leg.close(bench.now(), &mut bench.record);
    let frames = bench.record.media_frames("inbound");
    assert_eq!(
        frames.iter().map(|frame| (frame.timestamp_ms, frame.payload.len())).collect::<Vec<_>>(),
        [(0, 320), (40, 320), (80, 320)]
    );
    assert!(frames[0].payload.iter().all(|&byte| byte == 0xd5));
    assert_eq!(bench.record.events_named("stop")[0]["stop"]["reason"], "call_ended");
}

#[test]
fn both_tracks_share_one_clock_and_one_count_of_frames() {
    let mut bench = Bench::new(leg_params());
    bench.run_to(500);
    bench.add_stream(stream_params());
    bench.run_to(600);
    bench.play(&[1000; 320], 8000);
    bench.receive(600, &packet(1, 99, 1, 0, &[1; 160]));
    bench.run_to(620);
    bench.receive(620, &packet(2, 259, 1, 0, &[2; 160]));
    let times =
        |track| bench.record.media_frames(track).iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>();
    assert_eq!(times("inbound"), [100, 120]);
    assert_eq!(times("outbound"), [100, 120]);
    assert_eq!(sequence_numbers(&bench), [1, 2, 3, 4, 5]);
}

#[test]
fn a_mark_comes_back_at_once_and_clear_is_accepted() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    let now = bench.now();
    let mark = r#"{"event":"mark","stream_id":"stream-1","mark":{"name":"end of greeting"}}"#;
    bench.leg.receive_stream_text(now, STREAM, mark, &mut bench.record);
    bench.leg.receive_stream_text(now, STREAM, r#"{"event":"clear"}"#, &mut bench.record);
    assert_eq!(
        bench.record.frames.last().unwrap().1,
        json!({"event": "mark", "stream_id": "stream-1", "sequence_number": "2", "mark": {"name": "end of greeting"}})
    );
    assert_eq!(bench.leg.stats().taps[0].1.app_frames, 2);
}

#[test]
fn wrong_frames_are_answered_by_errors_but_not_for_ever() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    let now = bench.now();
    bench.leg.receive_stream_text(
        now,
        STREAM,
        r#"{"event":"media","media":{"payload":"AAAA"}}"#,
        &mut bench.record,
    );
    bench.leg.receive_stream_text(now, STREAM, r#"{"event":"media"}"#, &mut bench.record);
    bench.leg.receive_stream_binary(now, STREAM, vec![7; 160], &mut bench.record);
    let codes: Vec<_> =
        bench.record.events_named("error").iter().map(|frame| frame["payload"]["code"].clone()).collect();
    assert_eq!(codes, [100_004, 100_003, 100_003]);
    let detail = bench.record.events_named("error")[0]["payload"]["detail"].as_str().unwrap();
    assert!(detail.contains("stream_bidirectional_mode"), "{detail}");
    for _ in 0..1000 {
        bench.leg.receive_stream_text(now, STREAM, "rubbish", &mut bench.record);
    }
    assert_eq!(bench.record.events_named("error").len(), 10);
    assert_eq!(bench.leg.stats().taps[0].1.app_frames_refused, 1003);
    bench.leg.receive_stream_text(bench.at(1000), STREAM, "rubbish", &mut bench.record);
    assert_eq!(bench.record.events_named("error").len(), 11);
    assert_eq!(sequence_numbers(&bench), [1], "errors have no number");
}

#[test]
fn a_socket_that_takes_the_place_of_a_lost_one_begins_anew_with_what_was_kept() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    for n in 0..3 {
        bench.voice(n);
    }
    bench.leg.stream_lost(bench.at(60), STREAM);
    for n in 3..6 {
        bench.voice(n);
    }
    bench.receive(110, &packet(6, 900, 7, 101, &[1, 0x8a, 0, 160]));
    let before = bench.record.frames.len();
    assert_eq!(before, 2 + 3, "nothing goes out without a socket");
    bench.leg.stream_connected(bench.at(120), STREAM, &mut bench.record).unwrap();
    bench.voice(7);
    let frames: Vec<_> = bench.record.frames[before..].iter().map(|(_, frame)| frame.clone()).collect();
    let events: Vec<_> = frames.iter().map(|frame| frame["event"].as_str().unwrap()).collect();
    assert_eq!(events[..6], ["connected", "start", "media", "media", "media", "dtmf"]);
    assert_eq!(
        frames[1],
        json!({"event": "start", "sequence_number": "1", "stream_id": "stream-1",
               "start": {"call_control_id": "c", "reconnect": 1}})
    );
    assert_eq!(sequence_numbers(&bench)[4..9], [1, 2, 3, 4, 5]);
    let media = bench.record.media_frames("inbound");
    assert_eq!(media[3..6].iter().map(|frame| frame.chunk).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(media[3..6].iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(), [0, 20, 40]);
    assert_eq!(media[3..6].iter().map(|frame| frame.payload[0]).collect::<Vec<_>>(), [3, 4, 5]);
    let stats = bench.leg.stats().taps[0].1;
    assert_eq!((stats.reconnects, stats.frames_dropped), (1, 0));
}

#[test]
fn a_gap_longer_than_the_buffer_costs_its_oldest_audio_and_says_so() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { buffer_ms: 60, ..stream_params() });
    bench.voice(0);
    bench.leg.stream_lost(bench.at(20), STREAM);
    for n in 1..8 {
        bench.voice(n);
    }
    bench.leg.stream_connected(bench.at(160), STREAM, &mut bench.record).unwrap();
    bench.voice(8);
    let frames = &bench.record.media_frames("inbound")[1..];
    assert_eq!(frames.iter().map(|frame| frame.payload[0]).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(
        frames.iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(),
        [80, 100, 120, 140],
        "the first tells how much is missing"
    );
    let errors = bench.record.events_named("error");
    assert_eq!((errors.len(), &errors[0]["payload"]["code"]), (1, &json!(100_002)));
    assert_eq!(bench.leg.stats().taps[0].1.frames_dropped, 4);
}

#[test]
fn a_socket_lost_before_the_start_waits_for_the_owner_as_the_first_did() {
    for begun_meanwhile in [false, true] {
        let mut bench = Bench::new(leg_params());
        bench.leg.add_stream(bench.start, STREAM, stream_params()).unwrap();
        bench.leg.stream_connected(bench.start, STREAM, &mut bench.record).unwrap();
        bench.leg.stream_lost(bench.at(10), STREAM);
        if begun_meanwhile {
            bench.leg.begin_stream(bench.at(15), STREAM, &mut bench.record).unwrap();
        }
        bench.leg.stream_connected(bench.at(20), STREAM, &mut bench.record).unwrap();
        assert_eq!(bench.record.events_named("start").len(), usize::from(begun_meanwhile));
        let again = bench.leg.begin_stream(bench.at(30), STREAM, &mut bench.record);
        assert_eq!(again.is_ok(), !begun_meanwhile);
        assert_eq!(bench.record.events_named("start")[0]["start"]["reconnect"], 1);
    }
}

#[test]
fn what_the_app_has_said_plays_on_without_it_and_its_marks_come_back_on_the_next_socket() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { app_format: Some(pcmu().into()), ..stream_params() });
    // 180 ms of 0x80.
    let said = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, "gICA".repeat(480));
    for text in [said.as_str(), r#"{"event":"mark","mark":{"name":"end"}}"#] {
        bench.leg.receive_stream_text(bench.now(), STREAM, text, &mut bench.record);
    }
    bench.leg.receive_stream_text(bench.now(), STREAM, &said, &mut bench.record);
    let later = r#"{"event":"mark","mark":{"name":"later"}}"#;
    bench.leg.receive_stream_text(bench.now(), STREAM, later, &mut bench.record);
    bench.run_to(100);
    bench.leg.stream_lost(bench.now(), STREAM);
    bench.run_to(300);
    assert_eq!(bench.record.events_named("mark").len(), 0);
    bench.leg.stream_connected(bench.now(), STREAM, &mut bench.record).unwrap();
    let names = |bench: &Bench| -> Vec<_> {
        bench.record.events_named("mark").iter().map(|frame| frame["mark"]["name"].clone()).collect()
    };
    assert_eq!(names(&bench), ["end"]);
    bench.run_to(500);
    assert_eq!(names(&bench), ["end", "later"]);
    assert_eq!(bench.leg.stats().taps[0].1.played_ms, 360);
}

#[test]
fn a_stream_that_ends_without_a_socket_counts_what_it_had_kept() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    bench.leg.stream_lost(bench.start, STREAM);
    for n in 0..5 {
        bench.voice(n);
    }
    bench.leg.remove_tap(bench.now(), STREAM, "command", &mut bench.record).unwrap();
    let Some(Event::TapClosed { tap: STREAM, stats }) = bench.record.events.last() else { unreachable!() };
    assert_eq!(stats.frames_dropped, 5);
    assert_eq!(bench.record.events_named("stop").len(), 0);
}

#[test]
fn a_key_pressed_before_the_start_comes_after_it() {
    let mut bench = Bench::new(leg_params());
    bench.leg.add_stream(bench.start, STREAM, stream_params()).unwrap();
    bench.leg.stream_connected(bench.start, STREAM, &mut bench.record).unwrap();
    bench.receive(10, &packet(1, 100, 7, 101, &[1, 0x8a, 0, 160]));
    bench.leg.begin_stream(bench.at(20), STREAM, &mut bench.record).unwrap();
    let events: Vec<_> =
        bench.record.frames.iter().map(|(_, frame)| frame["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["connected", "start", "dtmf"]);
}

#[test]
fn a_stream_that_was_never_begun_says_no_stop() {
    let mut bench = Bench::new(leg_params());
    bench.leg.add_stream(bench.start, STREAM, stream_params()).unwrap();
    bench.leg.stream_connected(bench.start, STREAM, &mut bench.record).unwrap();
    bench.leg.close(bench.at(10), &mut bench.record);
    assert_eq!(bench.record.frames.len(), 1);
    assert!(matches!(bench.record.events[..], [Event::TapClosed { tap: STREAM, .. }]));
}
