//! What an application says is heard by the playout law.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use offhook_media::{Codec, Event, Format, LegParams, Port, StreamParams, TapStats};
use proptest::prelude::*;
use serde_json::json;

/// Two-way stream in PCMU; nothing else is sent to the application.
fn talking(format: Format) -> Bench {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { rx: false, app_format: Some(format.into()), ..stream_params() });
    bench
}

impl Bench {
    fn app(&mut self, text: &str) {
        let now = self.now();
        self.leg.receive_stream_text(now, STREAM, text, &mut self.record);
        // As the owner does: what is due at once goes out at once.
        self.run_to(self.record.now_ms);
    }

    fn say(&mut self, audio: &[u8]) {
        let payload = STANDARD.encode(audio);
        self.app(&json!({"event": "media", "media": {"payload": payload}}).to_string());
    }

    fn mark(&mut self, name: &str) {
        self.app(&json!({"event": "mark", "mark": {"name": name}}).to_string());
    }

    fn clear(&mut self) {
        self.app(r#"{"event":"clear"}"#);
    }

    fn heard(&self) -> Vec<u8> {
        self.record.rtp().into_iter().flat_map(|packet| packet.payload).collect()
    }

    fn heard_at(&self) -> Vec<u64> {
        self.record.rtp().iter().map(|packet| packet.ms).collect()
    }

    fn marks(&self) -> Vec<String> {
        let name = |frame: &&serde_json::Value| frame["mark"]["name"].as_str().unwrap().to_owned();
        self.record.events_named("mark").iter().map(name).collect()
    }

    fn errors(&self) -> Vec<u64> {
        self.record
            .events_named("error")
            .iter()
            .map(|frame| frame["payload"]["code"].as_u64().unwrap())
            .collect()
    }

    fn counted(&self) -> TapStats {
        self.leg.stats().taps[0].1
    }
}

/// Audio in which each sample tells its place, as far as G.711 can.
fn numbered(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|n| 0x80 | u8::try_from(n % 113).unwrap()).collect()
}

#[test]
fn audio_is_played_at_once_and_in_real_time() {
    let mut bench = talking(pcmu());
    bench.run_to(1003);
    bench.say(&numbered(0, 800));
    bench.run_to(2000);
    assert_eq!(bench.heard(), numbered(0, 800));
    assert_eq!(bench.heard_at(), [1003, 1023, 1043, 1063, 1083]);
    let stats = bench.counted();
    assert_eq!((stats.played_ms, stats.queued_ms, stats.underruns), (100, 0, 0));
}

#[test]
fn the_outbound_track_and_the_tx_fork_hold_what_was_heard() {
    let mut bench = talking(pcmu());
    bench.add_fork();
    bench.say(&numbered(0, 480));
    bench.run_to(100);
    let outbound: Vec<u8> =
        bench.record.media_frames("outbound").into_iter().flat_map(|frame| frame.payload).collect();
    assert_eq!(outbound, numbered(0, 480));
    let sent: Vec<_> = bench.record.sent.iter().map(|sent| sent.3.clone()).collect();
    let forked: Vec<_> = bench.record.forked.iter().map(|(_, datagram)| datagram.clone()).collect();
    assert_eq!(forked, sent);
}

#[test]
fn pieces_of_any_size_are_joined_and_the_rest_is_padded_after_60_ms() {
    let mut bench = talking(pcmu());
    let mut at = 0;
    for length in [1, 39, 130, 160, 7, 400, 30] {
        bench.say(&numbered(at, length));
        at += length;
    }
    bench.run_to(79);
    assert_eq!(bench.heard(), numbered(0, 640), "the rest waits for more");
    bench.run_to(200);
    assert_eq!(bench.heard_at(), [0, 20, 40, 60, 80]);
    let mut expected = numbered(0, at);
    expected.resize(800, 0xff);
    assert_eq!(bench.heard(), expected);
}

#[test]
fn less_than_a_packet_alone_is_sent_after_60_ms() {
    let mut bench = talking(pcmu());
    bench.say(&numbered(0, 10));
    bench.mark("end");
    bench.run_to(59);
    assert!(bench.heard().is_empty() && bench.marks().is_empty());
    bench.run_to(60);
    assert_eq!(bench.heard()[..10], numbered(0, 10));
    assert_eq!(bench.marks(), ["end"]);
}

#[test]
fn a_burst_waits_and_is_played_in_real_time() {
    let mut bench = talking(pcmu());
    bench.say(&numbered(0, 8 * 30_000));
    bench.say(&numbered(0, 8 * 29_000));
    assert_eq!(bench.counted().queued_ms, 58_980);
    bench.run_to(58_981);
    let sent = bench.record.rtp();
    assert_eq!(sent.len(), 2950);
    assert!(sent.iter().zip((0..).step_by(20)).all(|(packet, ms)| packet.ms == ms));
    assert_eq!(bench.counted().queued_ms, 0);
}

#[test]
fn more_than_a_minute_is_refused_and_the_newest_is_dropped() {
    let mut bench = talking(pcmu());
    bench.say(&vec![0x80; 8 * 30_000]);
    bench.say(&vec![0x90; 8 * 30_000]);
    bench.say(&[0xa0; 321]);
    bench.say(&[0xb0; 160]);
    assert_eq!(bench.errors(), [100_005]);
    assert_eq!(bench.counted().overflow_ms, 40);
    assert_eq!(bench.counted().app_frames_refused, 1);
    bench.run_to(70_000);
    let heard = bench.heard();
    assert_eq!(heard.len(), 8 * 60_020);
    assert!(!heard.contains(&0xa0));
    assert_eq!(heard[8 * 60_000..], [0xb0; 160], "what came after there was room again");
}

#[test]
fn what_cannot_be_audio_is_answered_by_its_code() {
    let mut bench = talking(pcmu());
    bench.app(r#"{"event":"media","media":{"payload":"no base64!"}}"#);
    bench.say(&vec![0xff; 8 * 30_000 + 1]);
    bench.app(r#"{"event":"media","media":{}}"#);
    bench.app(r#"{"event":"sing"}"#);
    bench.app(r#"{"event":"#);
    assert_eq!(bench.errors(), [100_004, 100_004, 100_003, 100_003, 100_003]);
    assert!(bench.heard().is_empty());
    let titles: Vec<_> =
        bench.record.events_named("error").iter().map(|e| e["payload"]["title"].clone()).collect();
    assert_eq!(titles[1..3], ["invalid_media", "malformed_frame"]);
}

#[test]
fn a_stall_is_silence_and_no_latency() {
    let mut bench = talking(pcmu());
    for n in 0..100_u64 {
        // Twenty milliseconds each; at 1 s the application stalls for 300 ms.
        bench.run_to(n * 20 + if n >= 50 { 300 } else { 0 });
        bench.say(&numbered(0, 160));
    }
    bench.run_to(3000);
    let at = bench.heard_at();
    assert_eq!(at.len(), 100);
    assert_eq!((at[49], at[50], at[99]), (980, 1300, 2280));
    let stats = bench.counted();
    assert_eq!((stats.underruns, stats.inserted_silence_ms, stats.app_lateness_ms), (1, 300, 300));
    let sent = bench.record.rtp();
    assert_eq!(sent[50].timestamp.wrapping_sub(sent[49].timestamp), 320 * 8, "a jump of the timestamp");
    assert!(sent[50].marker);
}

#[test]
fn jitter_of_the_application_is_absorbed_once() {
    let mut bench = talking(pcmu());
    for n in 0..200_u64 {
        bench.run_to(n * 20 + (n * 7 % 15));
        bench.say(&numbered(0, 160));
    }
    bench.run_to(5000);
    assert_eq!(bench.heard().len(), 200 * 160);
    let last = bench.heard_at()[199];
    assert!(last <= 199 * 20 + 14, "{last}");
    assert!(bench.counted().inserted_silence_ms <= 14);
}

#[test]
fn a_pause_between_sentences_is_no_underrun() {
    let mut bench = talking(pcmu());
    bench.say(&numbered(0, 160));
    bench.mark("sentence");
    bench.run_to(300);
    bench.say(&numbered(0, 160));
    bench.run_to(2000);
    bench.say(&numbered(0, 160));
    bench.run_to(3000);
    assert_eq!((bench.counted().underruns, bench.counted().inserted_silence_ms), (0, 0));
}

#[test]
fn clear_is_silence_at_once_and_returns_the_marks() {
    let mut bench = talking(pcmu());
    bench.say(&numbered(0, 8 * 1000));
    bench.mark("one");
    bench.say(&numbered(0, 8 * 1000));
    bench.mark("two");
    bench.run_to(110);
    assert!(bench.marks().is_empty());
    bench.clear();
    assert_eq!(bench.marks(), ["one", "two"]);
    assert_eq!(bench.counted().discarded_ms, 1880);
    bench.run_to(500);
    assert_eq!(bench.heard_at(), [0, 20, 40, 60, 80, 100]);
    bench.say(&numbered(0, 160));
    bench.run_to(600);
    assert_eq!(bench.heard_at()[6..], [500], "the next words come at once");
    assert_eq!(bench.counted().underruns, 0);
}

#[test]
fn marks_come_back_with_the_last_sample_before_them() {
    let mut bench = talking(pcmu());
    bench.mark("nothing queued");
    assert_eq!(bench.marks(), ["nothing queued"]);
    bench.say(&numbered(0, 8 * 60));
    bench.mark("60");
    bench.say(&numbered(0, 8 * 50));
    bench.mark("110");
    bench.mark("110 again");
    bench.say(&numbered(0, 8 * 90));
    let mut seen = Vec::new();
    for ms in 0..300 {
        bench.run_to(ms);
        seen.resize(bench.marks().len(), ms);
    }
    assert_eq!(bench.marks()[1..], ["60", "110", "110 again"]);
    assert_eq!(seen[1..], [40, 100, 100]);
}

#[test]
fn too_many_marks_are_refused_and_none_of_the_others_is_lost() {
    let mut bench = talking(pcmu());
    bench.say(&numbered(0, 320));
    for n in 0..1001 {
        bench.mark(&n.to_string());
    }
    assert_eq!(bench.errors(), [100_005]);
    bench.run_to(100);
    assert_eq!(bench.marks(), (0..1000).map(|n: i32| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_is_said_before_the_start_frame_is_heard_and_its_marks_come_after() {
    let mut bench = Bench::new(leg_params());
    let params = StreamParams { app_format: Some(pcmu().into()), ..stream_params() };
    bench.leg.add_stream(bench.start, STREAM, params).unwrap();
    bench.leg.stream_connected(bench.start, STREAM, &mut bench.record).unwrap();
    bench.say(&numbered(0, 160));
    bench.mark("hello");
    bench.run_to(50);
    assert_eq!(bench.heard(), numbered(0, 160));
    assert!(bench.marks().is_empty());
    bench.leg.begin_stream(bench.now(), STREAM, &mut bench.record).unwrap();
    let events: Vec<_> =
        bench.record.frames.iter().map(|(_, frame)| frame["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["connected", "start", "media", "mark"]);
}

#[test]
fn played_audio_and_the_application_are_mixed_without_wrapping() {
    let mut bench = talking(l16(8000));
    bench.play(&[1000; 320], 8000);
    bench.run_to(0);
    bench.say(&bytes(&[500; 160]));
    bench.play(&[30_000; 160], 8000);
    bench.say(&bytes(&[30_000; 160]));
    bench.run_to(200);
    let levels: Vec<_> =
        bench.record.rtp().iter().map(|packet| Codec::Pcmu.decode_sample(packet.payload[80])).collect();
    assert_eq!(levels.len(), 3);
    assert!((levels[0] - 1000).abs() < 40 && (levels[1] - 1500).abs() < 60, "{levels:?}");
    assert_eq!(levels[2], 32_124, "saturated");
    let expected = [(1, None), (1, Some((40, true))), (2, None), (2, Some((20, true)))];
    assert_eq!(bench.plays(), expected);
}

fn bytes(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[test]
fn l16_cut_anywhere_is_joined() {
    let pcm: Vec<i16> = (0..480).map(|n| n * 60 - 14_000).collect();
    let audio = bytes(&pcm);
    let mut bench = talking(l16(8000));
    for piece in [&audio[..1], &audio[1..4], &audio[4..333], &audio[333..334], &audio[334..]] {
        bench.say(piece);
    }
    bench.run_to(200);
    let mut expected = Vec::new();
    Codec::Pcmu.encode(&pcm, &mut expected);
    assert_eq!(bench.heard(), expected);
}

#[test]
fn wide_audio_is_heard_to_its_end_at_its_level() {
    for rate in [16_000_u32, 22_050, 24_000, 48_000] {
        let pcm: Vec<i16> =
            (0..i32::try_from(rate).unwrap()).map(|n| tone(n, 440.0, f64::from(rate))).collect();
        let mut bench = talking(l16(rate));
        for piece in bytes(&pcm).chunks(999) {
            bench.say(piece);
        }
        bench.mark("end");
        bench.run_to(2000);
        let heard: Vec<i16> = bench.heard().iter().map(|&byte| Codec::Pcmu.decode_sample(byte)).collect();
        let level = |pcm: &[i16]| offhook_codec::rms_dbfs(pcm);
        assert!((level(&heard[800..7200]) - level(&pcm)).abs() < 0.2, "{rate} Hz");
        assert_eq!(bench.marks(), ["end"]);
        let played_ms = bench.counted().played_ms;
        assert!((1002..=1004).contains(&played_ms), "with the delay of the filter: {played_ms}");
        assert_eq!(heard.len(), 8160);
    }
}

#[test]
fn the_end_of_resampled_audio_follows_at_once_and_its_mark_with_it() {
    let mut bench = talking(l16(16_000));
    for n in 0..10_u64 {
        // Just in time.
        bench.run_to((n * 20).saturating_sub(1));
        bench.say(&bytes(&[8000; 320]));
    }
    bench.mark("end");
    let mut back = 0;
    for ms in 180..400 {
        bench.run_to(ms);
        if !bench.marks().is_empty() && back == 0 {
            back = ms;
        }
    }
    assert_eq!(bench.heard_at(), (0..=200).step_by(20).collect::<Vec<_>>());
    assert_eq!(back, 200);
    assert_eq!(bench.counted().underruns, 0);
}

#[test]
fn jitter_of_wide_audio_costs_one_packet_and_no_more() {
    let mut bench = talking(l16(16_000));
    for n in 0..200_u64 {
        bench.run_to(n * 20 + (n * 7 % 15));
        bench.say(&bytes(&[8000; 320]));
    }
    bench.run_to(5000);
    let last = *bench.heard_at().last().unwrap();
    assert!(last <= 199 * 20 + 14 + 40, "{last}");
    assert!(bench.counted().underruns <= 2, "{:?}", bench.counted());
    assert!(bench.counted().inserted_silence_ms <= 40, "{:?}", bench.counted());
}

#[expect(clippy::cast_possible_truncation, reason = "a test signal")]
fn tone(n: i32, hz: f64, rate: f64) -> i16 {
    (8000.0 * (std::f64::consts::TAU * hz * f64::from(n) / rate).sin()) as i16
}

#[test]
fn silence_when_idle_fills_a_stall_with_packets() {
    let mut bench = Bench::new(LegParams { silence_when_idle: true, ..leg_params() });
    bench.add_stream(StreamParams {
        rx: false,
        tx: false,
        app_format: Some(pcmu().into()),
        ..stream_params()
    });
    bench.run_to(105);
    bench.say(&numbered(0, 320));
    bench.run_to(190);
    let sent = bench.record.rtp();
    assert_eq!(sent.len(), 10);
    assert_eq!(sent[6].payload, numbered(0, 160), "at most one ptime later");
    assert_eq!(sent[6].ms, 120);
    assert_eq!(sent[8].payload, [0xff; 160]);
    assert!(sent[1..].iter().all(|packet| !packet.marker));
}

#[test]
fn the_end_of_a_stream_ends_its_voice() {
    let mut bench = talking(pcmu());
    bench.say(&numbered(0, 8 * 1000));
    bench.run_to(100);
    bench.leg.remove_tap(bench.now(), STREAM, "command", &mut bench.record).unwrap();
    bench.run_to(1000);
    assert_eq!(bench.heard_at(), [0, 20, 40, 60, 80, 100]);
    let Some(Event::TapClosed { stats, .. }) = bench.record.events.last() else { panic!("no end") };
    assert_eq!((stats.played_ms, stats.queued_ms, stats.discarded_ms), (120, 0, 880));
}

#[test]
fn an_application_may_talk_before_the_far_end_can_hear() {
    let mut bench = Bench::unconnected();
    bench.add_stream(StreamParams { app_format: Some(pcmu().into()), ..stream_params() });
    bench.say(&numbered(0, 200));
    bench.run_to(500);
    assert_eq!(bench.leg.poll_timeout(), None, "nobody is woken for nothing");
    let now = bench.now();
    bench.leg.connect(now, leg_params()).unwrap();
    bench.run_to(1000);
    assert_eq!(bench.heard()[..200], numbered(0, 200));
}

/// What an application may do, at random.
#[derive(Clone, Debug)]
enum Act {
    Say(usize),
    Mark,
    Clear,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..2000_usize).prop_map(Act::Say),
        1 => (2000..60_000_usize).prop_map(Act::Say),
        2 => Just(Act::Mark),
        1 => Just(Act::Clear),
        3 => (0..60_u64).prop_map(Act::Wait),
        1 => (60..3000_u64).prop_map(Act::Wait),
    ]
}

/// Counts what was heard of the application, packet by packet; silence is what nobody said.
#[derive(Default)]
struct Ear {
    packets: usize,
    samples: usize,
}

impl Ear {
    fn samples(&mut self, bench: &Bench) -> usize {
        for (_, port, _, datagram) in &bench.record.sent[self.packets..] {
            if *port == Port::Rtp {
                self.samples += datagram[12..].iter().filter(|&&byte| byte != 0xff).count();
            }
        }
        self.packets = bench.record.sent.len();
        self.samples
    }
}

/// The law by itself, to compare with: what must be heard, and when at the latest.
#[derive(Default)]
struct Law {
    /// Each accepted sample that was not cleared.
    said: Vec<u8>,
    /// Number of samples said, and the moment by which they must have been sent.
    deadlines: Vec<(usize, u64)>,
    /// Names of marks and the number of samples that lie before each.
    marks: Vec<(String, usize)>,
}

proptest! {
    #[test]
    fn whatever_the_application_does_the_law_holds(acts in prop::collection::vec(act(), 1..60), ptime in 1..4_u32) {
        let ptime_ms = ptime * 10;
        let mut bench = Bench::new(LegParams { ptime_ms, ..leg_params() });
        bench.add_stream(StreamParams { rx: false, tx: false, app_format: Some(pcmu().into()), ..stream_params() });
        let (mut law, mut ear) = (Law::default(), Ear::default());
        let mut ms = 0;
        let mut place = 0;
        // Once all is said, time enough to be heard.
        for act in acts.into_iter().chain([Act::Wait(200_000)]) {
            match act {
                Act::Wait(time) => {
                    for _ in 0..time.min(200) {
                        ms += 1;
                        bench.run_to(ms);
                        check_marks(&bench, &mut ear, &law)?;
                    }
                    ms += time.saturating_sub(200);
                    bench.run_to(ms);
                }
                Act::Say(count) => {
                    let audio = numbered(place, count);
                    let full = bench.counted().overflow_ms;
                    let queued_ms = bench.counted().queued_ms;
                    bench.say(&audio);
                    if bench.counted().overflow_ms == full && bench.counted().app_frames_refused == 0 {
                        place += count;
                        law.said.extend(audio);
                        // Behind what waits, in real time, one packet to begin, one short of a packet.
                        let own_ms = (count as u64).div_ceil(8);
                        let slack_ms = u64::from(ptime_ms) * 2 + 60 + 1;
                        // What is short of a packet waits as long as more of it comes.
                        let sent = ear.samples(&bench);
                        let short = |at: usize| at > sent && at - sent < ptime_ms as usize * 8;
                        for (at, by) in law.deadlines.iter_mut().filter(|(at, _)| short(*at)) {
                            *by = (*by).max(ms + slack_ms + (*at - sent) as u64 / 8);
                        }
                        law.deadlines.push((law.said.len(), ms + queued_ms + own_ms + slack_ms));
                    } else {
                        // Only what is too much is refused.
                        prop_assert!(queued_ms + (count as u64) / 8 >= 59_999);
                        return Ok(());
                    }
                }
                Act::Mark => {
                    let name = law.marks.len().to_string();
                    bench.mark(&name);
                    law.marks.push((name, law.said.len()));
                }
                Act::Clear => {
                    bench.clear();
                    prop_assert_eq!(bench.marks().len(), law.marks.len(), "every mark has come back");
                    let played = ear.samples(&bench);
                    prop_assert_eq!(bench.counted().played_ms, played as u64 / 8);
                    law.said.truncate(played);
                    law.deadlines.retain(|(count, _)| *count <= played);
                    for mark in &mut law.marks {
                        mark.1 = mark.1.min(played);
                    }
                }
            }
            check_marks(&bench, &mut ear, &law)?;
        }
        // Exactly once and in order; in between is only silence, which nobody said.
        let heard: Vec<u8> = bench.heard().into_iter().filter(|&byte| byte != 0xff).collect();
        prop_assert_eq!(&heard, &law.said);
        // Latency never grows: nothing is sent later than what lay before it asks for.
        let mut sent = 0;
        let mut deadlines = law.deadlines.iter().peekable();
        for packet in bench.record.rtp() {
            sent += packet.payload.iter().filter(|&&byte| byte != 0xff).count();
            while let Some((_, by)) = deadlines.next_if(|(count, _)| *count <= sent) {
                prop_assert!(packet.ms <= *by, "sent at {} ms, due by {by} ms", packet.ms);
            }
        }
        // Real time: never faster than the ptime.
        for pair in bench.record.rtp().windows(2) {
            prop_assert!(pair[1].ms >= pair[0].ms + u64::from(ptime_ms));
        }
        prop_assert_eq!(bench.marks().len(), law.marks.len());
    }
}

/// Marks come in order, and never before what they mark.
fn check_marks(bench: &Bench, ear: &mut Ear, law: &Law) -> Result<(), TestCaseError> {
    let sent = ear.samples(bench);
    let marks = bench.marks();
    for (name, (expected, before)) in marks.iter().zip(&law.marks) {
        prop_assert_eq!(name, expected);
        prop_assert!(*before <= sent, "mark {} came after {} of {} samples", name, sent, before);
    }
    // And never late: what is not back has something before it that was not sent.
    if let Some((name, before)) = law.marks.get(marks.len()) {
        prop_assert!(*before > sent, "mark {} is late", name);
    }
    Ok(())
}
