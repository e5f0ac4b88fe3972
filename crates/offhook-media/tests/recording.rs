//! What a recording hears, and when.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::*;
use offhook_media::{Codec, Event, LegParams, RecordingParams, Refused, TapId};

const LOUD: i16 = 8000;

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

fn recording(params: RecordingParams) -> Bench {
    let mut bench = Bench::new(leg_params());
    bench.leg.add_recording(bench.now(), RECORDING, params).unwrap();
    bench
}

/// Packet `n` of a phone that says one loud value, or nothing.
fn say(bench: &mut Bench, n: u16, loud: bool) {
    let payload = [Codec::Pcmu.encode_sample(if loud { LOUD } else { 0 }); 160];
    let datagram = packet(n, u32::from(n) * 160, 7, 0, &payload);
    bench.receive(u64::from(n) * 20, &datagram);
}

fn close(bench: &mut Bench) {
    let now = bench.now();
    bench.leg.remove_tap(now, RECORDING, "command", &mut bench.record).unwrap();
}

/// The samples of the file, made sure to have no hole.
fn file(bench: &Bench, channels: usize) -> Vec<i16> {
    let mut all = Vec::new();
    for (tap, at, pcm) in &bench.record.recorded {
        assert_eq!((*tap, *at), (RECORDING, (all.len() / channels) as u64));
        all.extend(pcm);
    }
    all
}

fn channel(file: &[i16], which: usize) -> Vec<i16> {
    file.iter().skip(which).step_by(2).copied().collect()
}

fn is_loud(sample: i16) -> bool {
    sample.unsigned_abs() > 4000
}

/// Where the loud parts begin and end, in ms at 8000 Hz.
fn loud_parts(samples: &[i16]) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut at = 0;
    for run in samples.chunk_by(|left, right| is_loud(*left) == is_loud(*right)) {
        if is_loud(run[0]) {
            parts.push((at / 8, (at + run.len()) / 8));
        }
        at += run.len();
    }
    parts
}

fn ended(bench: &Bench) -> Vec<(String, u64, u64)> {
    let of = |event: &Event| match event {
        Event::RecordingEnded { tap, reason, frames, duration_ms } if *tap == RECORDING => {
            Some((reason.clone(), *frames, *duration_ms))
        }
        _ => None,
    };
    bench.record.events.iter().filter_map(of).collect()
}

#[test]
fn each_side_is_on_its_channel_at_its_time() {
    let mut bench = recording(params());
    for n in 0..50 {
        say(&mut bench, n, (10..20).contains(&n));
        if n == 30 {
            bench.play(&[LOUD; 1600], 8000);
        }
    }
    bench.run_to(1000);
    close(&mut bench);
    let file = file(&bench, 2);
    assert_eq!(file.len(), 2 * 8000);
    assert_eq!(loud_parts(&channel(&file, 0)), [(200, 400)], "rx");
    assert_eq!(loud_parts(&channel(&file, 1)), [(600, 800)], "tx");
    assert_eq!(ended(&bench), [("command".to_owned(), 8000, 1000)]);
    let closed = |event: &Event| matches!(event, Event::TapClosed { tap, .. } if *tap == RECORDING);
    assert!(closed(bench.record.events.last().unwrap()), "the end of the tap is the last thing");
}

#[test]
fn one_channel_is_the_sum_of_what_was_asked_for() {
    for (rx, tx, expected) in [
        (true, true, vec![(0, 100), (200, 300)]),
        (true, false, vec![(0, 100)]),
        (false, true, vec![(200, 300)]),
    ] {
        let mut bench = recording(RecordingParams { rx, tx, dual: false, ..params() });
        for n in 0..25 {
            say(&mut bench, n, n < 5);
            if n == 10 {
                bench.play(&[LOUD; 800], 8000);
            }
        }
        bench.run_to(500);
        close(&mut bench);
        assert_eq!(loud_parts(&file(&bench, 1)), expected, "rx {rx} tx {tx}");
    }
}

#[test]
fn both_voices_at_once_do_not_overflow() {
    let mut bench = recording(RecordingParams { dual: false, ..params() });
    bench.play(&[30_000; 800], 8000);
    let loud = [Codec::Pcmu.encode_sample(30_000); 160];
    for n in 0..5 {
        bench.receive(u64::from(n) * 20, &packet(n, u32::from(n) * 160, 7, 0, &loud));
    }
    bench.run_to(100);
    close(&mut bench);
    assert!(file(&bench, 1).iter().all(|&sample| sample == i16::MAX));
}

#[test]
fn what_nobody_said_is_silence_of_the_same_length() {
    let mut bench = recording(params());
    bench.run_to(5000);
    close(&mut bench);
    let file = file(&bench, 2);
    assert_eq!(file.len(), 2 * 8 * 5000);
    assert!(file.iter().all(|&sample| sample == 0));
}

#[test]
fn a_long_pause_of_the_phone_moves_nothing() {
    let mut bench = recording(params());
    for n in (0..10).chain(250..260) {
        say(&mut bench, n, true);
    }
    bench.run_to(6000);
    close(&mut bench);
    let parts = loud_parts(&channel(&file(&bench, 2), 0));
    assert_eq!((parts.len(), parts[0]), (2, (0, 200)));
    // After so long the track begins anew, with the time at which its packets come: 20 ms at most.
    assert!(parts[1].0.abs_diff(5000) <= 20 && parts[1].1 - parts[1].0 == 200, "{parts:?}");
}

#[test]
fn packets_out_of_order_are_put_in_order() {
    let mut bench = recording(params());
    for n in 0..50_u16 {
        let swapped = if n % 10 == 5 {
            n + 1
        } else if n % 10 == 6 {
            n - 1
        } else {
            n
        };
        let payload = [Codec::Pcmu.encode_sample(if swapped < 25 { LOUD } else { 0 }); 160];
        bench.receive(u64::from(n) * 20, &packet(swapped, u32::from(swapped) * 160, 7, 0, &payload));
    }
    bench.run_to(2000);
    close(&mut bench);
    let parts = loud_parts(&channel(&file(&bench, 2), 0));
    assert_eq!(parts, [(0, 500)]);
}

#[test]
fn a_pause_is_left_out_and_the_rest_joined() {
    let mut bench = recording(params());
    for n in 0..100 {
        if n == 20 {
            bench.leg.pause_recording(bench.at(400), RECORDING).unwrap();
            bench.leg.pause_recording(bench.at(400), RECORDING).unwrap();
        }
        if n == 70 {
            let now = bench.at(1400);
            bench.leg.resume_recording(now, RECORDING, &mut bench.record).unwrap();
            bench.leg.resume_recording(now, RECORDING, &mut bench.record).unwrap();
        }
        // It is loud until 380 ms, all through the pause, and from 1500 ms on.
        say(&mut bench, n, n < 19 || (20..70).contains(&n) || n >= 75);
    }
    bench.run_to(2000);
    close(&mut bench);
    let file = file(&bench, 2);
    assert_eq!(file.len(), 2 * 8 * 1000);
    assert_eq!(loud_parts(&channel(&file, 0)), [(0, 380), (500, 1000)]);
    assert_eq!(ended(&bench)[0].2, 1000);
}

#[test]
fn a_recording_that_ends_in_a_pause_ends_where_the_pause_began() {
    let mut bench = recording(params());
    bench.run_to(300);
    bench.leg.pause_recording(bench.now(), RECORDING).unwrap();
    bench.run_to(60_000);
    close(&mut bench);
    assert_eq!(file(&bench, 2).len(), 2 * 8 * 300);
}

#[test]
fn it_ends_by_itself_at_its_greatest_length_to_the_sample() {
    let mut bench = recording(RecordingParams { max_ms: 2510, ..params() });
    bench.run_to(10_000);
    assert_eq!(ended(&bench), [("max_length".to_owned(), 8 * 2510, 2510)]);
    assert_eq!(file(&bench, 2).len(), 2 * 8 * 2510);
    let now = bench.now();
    assert_eq!(bench.leg.remove_tap(now, RECORDING, "command", &mut bench.record), Err(Refused::NoSuchTap));
}

#[test]
fn silence_ends_it_only_after_something_was_heard() {
    let mut bench = recording(RecordingParams { silence_timeout_ms: 3000, ..params() });
    for n in 0..500 {
        say(&mut bench, n, (250..300).contains(&n));
    }
    bench.run_to(12_000);
    assert_eq!(ended(&bench), [("silence".to_owned(), 8 * 9000, 9000)]);
}

#[test]
fn silence_is_cut_off_at_both_ends_and_kept_between() {
    let mut bench = recording(RecordingParams { trim_silence: true, ..params() });
    for n in 0..500 {
        say(&mut bench, n, (100..150).contains(&n) || (200..250).contains(&n));
    }
    bench.run_to(10_000);
    close(&mut bench);
    let (_, frames, duration_ms) = ended(&bench)[0];
    assert_eq!((frames, duration_ms), (8 * 3200, 3200), "100 ms are left at each end");
    let kept = &file(&bench, 2)[..2 * 8 * 3200];
    assert_eq!(loud_parts(&channel(kept, 0)), [(100, 1100), (2100, 3100)]);
}

#[test]
fn trimming_a_recording_of_nothing_leaves_nothing() {
    let mut bench = recording(RecordingParams { trim_silence: true, ..params() });
    bench.run_to(3000);
    close(&mut bench);
    assert_eq!(ended(&bench), [("command".to_owned(), 0, 0)]);
    assert!(bench.record.recorded.is_empty());
}

#[test]
fn a_call_recorded_at_another_rate_keeps_its_times() {
    let wide = LegParams {
        format: offhook_media::Format::G722,
        payload_type: 9,
        inband_dtmf: offhook_media::InbandDtmf::Off,
        ..leg_params()
    };
    let mut bench = Bench::new(wide);
    bench.leg.add_recording(bench.now(), RECORDING, params()).unwrap();
    bench.run_to(1000);
    bench.play(&[LOUD; 8000], 8000);
    bench.run_to(4000);
    close(&mut bench);
    let parts = loud_parts(&channel(&file(&bench, 2), 1));
    assert_eq!(parts.len(), 1);
    // A constant goes through G.722 with an edge of a few ms.
    assert!(parts[0].0.abs_diff(1000) <= 5 && parts[0].1.abs_diff(2000) <= 5, "{parts:?}");
}

#[test]
fn the_end_of_the_call_is_the_end_of_the_recording() {
    let mut bench = recording(params());
    for n in 0..10 {
        say(&mut bench, n, true);
    }
    let now = bench.at(200);
    bench.leg.close(now, &mut bench.record);
    assert_eq!(ended(&bench), [("call_ended".to_owned(), 1600, 200)]);
    assert_eq!(loud_parts(&channel(&file(&bench, 2), 0)), [(0, 200)]);
}

#[test]
fn a_recording_before_the_call_is_connected_begins_with_it() {
    let mut bench = Bench::unconnected();
    bench.leg.add_recording(bench.start, RECORDING, params()).unwrap();
    assert_eq!(bench.leg.poll_timeout(), None);
    bench.run_to(3000);
    bench.leg.connect(bench.now(), leg_params()).unwrap();
    bench.run_to(5000);
    close(&mut bench);
    assert_eq!(file(&bench, 2).len(), 2 * 8 * 2000);
}

#[test]
fn what_comes_too_late_is_counted_and_moves_nothing() {
    let mut bench = recording(params());
    for n in 0..10 {
        say(&mut bench, n, true);
    }
    // Packets of the first seconds that were held up somewhere for three.
    bench.run_to(5000);
    for n in 10..20_u16 {
        let payload = [Codec::Pcmu.encode_sample(LOUD); 160];
        bench.receive(5000, &packet(n, u32::from(n) * 160, 7, 0, &payload));
    }
    bench.run_to(6000);
    let now = bench.now();
    let taps = bench.leg.stats().taps;
    close(&mut bench);
    assert_eq!(file(&bench, 2).len(), 2 * 8 * 6000, "{now:?} {taps:?}");
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    let mut bench = Bench::new(leg_params());
    let now = bench.now();
    for (wrong, name) in [
        (RecordingParams { rx: false, tx: false, ..params() }, "tracks"),
        (RecordingParams { sample_rate_hz: 11_025, ..params() }, "sample_rate_hz"),
        (RecordingParams { max_ms: 43_200_001, ..params() }, "max_ms"),
    ] {
        assert_eq!(bench.leg.add_recording(now, RECORDING, wrong), Err(Refused::OutOfRange(name)));
    }
    assert_eq!(bench.leg.pause_recording(now, TapId(99)), Err(Refused::NoSuchTap));
    assert_eq!(bench.leg.resume_recording(now, TapId(99), &mut bench.record), Err(Refused::NoSuchTap));
}
