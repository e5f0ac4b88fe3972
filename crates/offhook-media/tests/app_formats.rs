//! What an application says is heard in whatever format it says it: by tone, by time and by count.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]

mod common;

use std::f64::consts::TAU;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use offhook_codec::{ByteOrder, Encoder, Format, L16_RATES_HZ, Mp3, OPUS_RATES_HZ, rms_dbfs};
use offhook_media::limits::{APP_KEPT_BYTES_MAX, ERROR_FRAMES_PER_SECOND_MAX};
use offhook_media::{AppFormat, AppHeard, Codec, LegParams, StreamParams, TapStats};
use proptest::prelude::*;
use serde_json::{Value, json};

const TONE_HZ: f64 = 440.0;
const FILES: [&[u8]; 9] = [
    include_bytes!("../../../tests/data/mp3/tone-44100-stereo.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-48000-mono-vbr.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-32000-mono.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-24000-mono.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-22050-stereo-vbr.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-16000-mono.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-11025-mono.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-8000-mono.mp3"),
    include_bytes!("../../../tests/data/mp3/tone-24000-bare.mp3"),
];

fn formats() -> Vec<Format> {
    let mut formats = vec![Codec::Pcmu.into(), Codec::Pcma.into(), Format::G722];
    formats.extend(OPUS_RATES_HZ.map(|sample_rate_hz| Format::Opus { sample_rate_hz }));
    for byte_order in [ByteOrder::Little, ByteOrder::Big] {
        formats.extend(L16_RATES_HZ.map(|sample_rate_hz| Format::L16 { sample_rate_hz, byte_order }));
    }
    formats.extend(Some(Format::AmrWb { octet_align: true }).filter(|format| format.transcodable()));
    formats
}

fn stream(app_format: AppFormat) -> StreamParams {
    StreamParams { rx: false, tx: false, app_format: Some(app_format), ..stream_params() }
}

fn talking(app_format: impl Into<AppFormat>) -> Bench {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream(app_format.into()));
    bench
}

impl Bench {
    fn app(&mut self, frame: &Value) {
        let now = self.now();
        self.leg.receive_stream_text(now, STREAM, &frame.to_string(), &mut self.record);
        self.run_to(self.record.now_ms);
    }

    fn say(&mut self, audio: &[u8]) {
        self.app(&json!({"event": "media", "media": {"payload": STANDARD.encode(audio)}}));
    }

    fn mark(&mut self, name: &str) {
        self.app(&json!({"event": "mark", "mark": {"name": name}}));
    }

    fn clear(&mut self) {
        self.app(&json!({"event": "clear"}));
    }

    fn heard(&self) -> Vec<i16> {
        let payloads = self.record.rtp().into_iter().flat_map(|packet| packet.payload);
        payloads.map(|byte| Codec::Pcmu.decode_sample(byte)).collect()
    }

    fn marks(&self) -> Vec<String> {
        let name = |frame: &&Value| frame["mark"]["name"].as_str().unwrap().to_owned();
        self.record.events_named("mark").iter().map(name).collect()
    }

    fn errors(&self) -> Vec<(u64, String)> {
        let parts = |frame: &&Value| {
            let payload = &frame["payload"];
            (payload["code"].as_u64().unwrap(), payload["detail"].as_str().unwrap().to_owned())
        };
        self.record.events_named("error").iter().map(parts).collect()
    }

    fn counted(&self) -> TapStats {
        self.leg.stats().taps[0].1
    }
}

/// Payloads of a tone, 20 ms each.
fn payloads(format: Format, count: usize) -> Vec<Vec<u8>> {
    let step = TAU * TONE_HZ / f64::from(format.sample_rate_hz());
    let mut encoder = Encoder::new(format).unwrap();
    let length = format.samples(20);
    let pcm: Vec<i16> = (0..count * length).map(|n| (8000.0 * (step * n as f64).sin()) as i16).collect();
    let encode = |frame: &[i16]| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).unwrap();
        payload
    };
    pcm.chunks(length).map(encode).collect()
}

/// Level of the tone in dB against full scale, and of all else against it.
fn tone_dbfs(pcm: &[i16]) -> (f64, f64) {
    let step = TAU * TONE_HZ / 8000.0;
    let (mut sine, mut cosine, mut power) = (0.0, 0.0, 0.0);
    for (at, &sample) in pcm.iter().enumerate() {
        let x = f64::from(sample) / 32_768.0;
        sine += x * (step * at as f64).sin();
        cosine += x * (step * at as f64).cos();
        power += x * x;
    }
    let n = pcm.len() as f64;
    let tone = 2.0 * (sine * sine + cosine * cosine) / n / n;
    (10.0 * tone.log10(), 10.0 * ((power / n - tone).max(1e-12) / tone).log10())
}

#[test]
fn every_format_is_heard_as_the_tone_it_is_at_its_level_and_for_its_time() {
    for format in formats() {
        let mut bench = talking(format);
        for payload in payloads(format, 100) {
            bench.say(&payload);
        }
        bench.mark("end");
        assert_eq!(bench.counted().queued_ms, 1980);
        bench.run_to(4000);
        let heard = bench.heard();
        assert!((16_000..=16_000 + 320).contains(&heard.len()), "{format:?}: {}", heard.len());
        let (level, rest) = tone_dbfs(&heard[4000..12_000]);
        let said = 20.0 * (8000.0_f64 / 32_768.0).log10() - 3.01;
        let allowed =
            if matches!(format, Format::Opus { .. } | Format::AmrWb { .. }) { -10.0 } else { -25.0 };
        assert!((level - said).abs() < 1.0 && rest < allowed, "{format:?}: {level:.2} dB, rest {rest:.1} dB");
        assert_eq!(bench.marks(), ["end"], "{format:?}");
        let stats = bench.counted();
        assert!((2000..2010).contains(&stats.played_ms), "{format:?}: {}", stats.played_ms);
        assert_eq!((stats.queued_ms, stats.underruns, stats.app_undecodable), (0, 0, 0), "{format:?}");
        assert!(bench.errors().is_empty());
    }
}

#[test]
fn payloads_said_in_real_time_are_heard_without_a_seam() {
    for format in formats() {
        let mut bench = talking(format);
        for (n, payload) in (0..).zip(payloads(format, 50)) {
            bench.run_to(n * 20);
            bench.say(&payload);
        }
        bench.mark("end");
        bench.run_to(2000);
        let at: Vec<_> = bench.record.rtp().iter().map(|packet| packet.ms).collect();
        assert!(at.windows(2).skip(1).all(|pair| pair[1] == pair[0] + 20), "{format:?}: {at:?}");
        assert!((50..=52).contains(&at.len()) && at[0] <= 20, "{format:?}: {at:?}");
        assert!(bench.counted().underruns <= 1, "{format:?}");
        assert_eq!(bench.marks(), ["end"]);
    }
}

#[test]
fn bytes_may_be_cut_anywhere() {
    for format in formats() {
        if format.payload_bytes(20).is_none() {
            continue;
        }
        let audio = payloads(format, 25).concat();
        let heard = |pieces: &[&[u8]]| {
            let mut bench = talking(format);
            for piece in pieces {
                bench.say(piece);
            }
            bench.run_to(2000);
            bench.heard()
        };
        let cut: Vec<&[u8]> = audio.chunks(37).collect();
        assert_eq!(heard(&cut), heard(&[&audio]), "{format:?}");
    }
}

#[test]
fn half_a_minute_in_one_message_is_heard_whole() {
    for format in formats().into_iter().filter(|format| format.payload_bytes(20).is_some()) {
        let second = payloads(format, 50).concat();
        let mut bench = talking(format);
        bench.say(&second.repeat(30));
        bench.say(&[&second.repeat(30)[..], &second[..second.len() / 50]].concat());
        assert_eq!(bench.errors()[0].0, 100_004, "{format:?}");
        bench.run_to(32_000);
        let played_ms = bench.counted().played_ms;
        assert!((30_000..30_010).contains(&played_ms), "{format:?}: {played_ms}");
    }
}

#[test]
fn what_is_no_payload_is_refused_and_what_does_not_decode_keeps_the_time() {
    let opus = Format::Opus { sample_rate_hz: 16_000 };
    let mut bench = talking(opus);
    bench.say(&[0x0b, 0x3f]);
    bench.say(&[0x0b]);
    assert!(bench.errors().iter().all(|(code, detail)| *code == 100_004 && detail.contains("Opus")));
    assert_eq!(bench.errors().len(), 2);
    // Three frames of 20 ms whose lengths do not add up.
    bench.say(&[0x0b, 0x83, 0xff, 0xff, 0xff]);
    bench.mark("end");
    bench.run_to(1000);
    let stats = bench.counted();
    assert_eq!((stats.app_undecodable, stats.app_frames_refused), (1, 2));
    assert!((60..=70).contains(&stats.played_ms), "{stats:?}");
    assert_eq!(bench.marks(), ["end"]);
    let mut bench = talking(Format::AmrWb { octet_align: true });
    bench.say(&[0xf0]);
    assert!(bench.errors()[0].1.contains("AMR-WB"), "{:?}", bench.errors());
}

#[test]
fn an_mp3_file_is_heard_as_it_is() {
    for file in FILES {
        let (mut mp3, mut pcm) = (Mp3::new(file).unwrap(), Vec::new());
        let (rate_hz, samples) = (mp3.sample_rate_hz(), mp3.samples_left());
        while mp3.decode(&mut pcm) {}
        let mut bench = talking(AppFormat::Mp3);
        bench.run_to(7);
        bench.say(file);
        bench.mark("end");
        bench.run_to(2000);
        let heard = bench.heard();
        let (level, rest) = tone_dbfs(&heard[800..7200]);
        let said = f64::from(rms_dbfs(&pcm[pcm.len() / 10..pcm.len() * 9 / 10]));
        assert!((level - said).abs() < 1.0 && rest < -25.0, "{rate_hz}: {level:.2}, {said:.2}, {rest:.1}");
        let length_ms = samples * 1000 / u64::from(rate_hz);
        let played_ms = bench.counted().played_ms;
        assert!((length_ms..=length_ms + 7).contains(&played_ms), "{rate_hz}: {played_ms} of {length_ms}");
        let at: Vec<_> = bench.record.rtp().iter().map(|packet| packet.ms).collect();
        assert_eq!(at, (7..7 + played_ms).step_by(20).collect::<Vec<_>>(), "{rate_hz}: no hole, no delay");
        assert_eq!(bench.marks(), ["end"]);
    }
}

#[test]
fn mp3_files_follow_one_another_and_their_marks_with_them() {
    let mut bench = talking(AppFormat::Mp3);
    let mut back = Vec::new();
    for ms in 0..9000 {
        bench.run_to(ms);
        if (ms == 0 || ms % 1000 == 950) && ms < 7000 {
            let n = usize::try_from(ms.div_ceil(1000)).unwrap();
            bench.say(FILES[n]);
            bench.mark(&n.to_string());
        }
        back.resize(bench.marks().len(), ms);
    }
    assert!(bench.errors().is_empty(), "{:?}", bench.errors());
    assert_eq!(bench.marks(), (0..8).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    for (end_ms, back) in (1000..).step_by(1000).zip(&back) {
        assert!(end_ms - 20 <= *back && *back <= end_ms + 70, "{back} for the end at {end_ms}");
    }
    let at: Vec<_> = bench.record.rtp().iter().map(|packet| packet.ms).collect();
    assert!(at.windows(2).all(|pair| pair[1] == pair[0] + 20), "no hole between the files");
}

#[test]
fn more_than_one_mp3_file_in_a_second_is_refused() {
    let mut bench = talking(AppFormat::Mp3);
    bench.say(FILES[3]);
    bench.run_to(500);
    bench.say(FILES[4]);
    assert_eq!(bench.errors().iter().map(|error| error.0).collect::<Vec<_>>(), [100_005]);
    // What was refused does not count, and a file a little early is the network's doing.
    bench.run_to(910);
    bench.say(FILES[3]);
    // But not twice in a row.
    bench.run_to(1820);
    bench.say(FILES[3]);
    assert_eq!(bench.errors().len(), 2);
    bench.run_to(1900);
    bench.say(FILES[3]);
    assert_eq!(bench.errors().len(), 2);
    bench.run_to(5000);
    assert!((3000..3020).contains(&bench.counted().played_ms));
}

#[test]
fn raw_audio_in_mp3_mode_is_answered_by_what_to_do() {
    let mut bench = talking(AppFormat::Mp3);
    for n in 0..20 {
        bench.run_to(n * 20);
        bench.say(&[0xff; 160]);
    }
    let errors = bench.errors();
    assert_eq!(errors.len(), usize::try_from(ERROR_FRAMES_PER_SECOND_MAX).unwrap());
    for (code, detail) in errors {
        assert_eq!(code, 100_004);
        assert!(detail.contains("stream_bidirectional_mode"), "{detail}");
    }
    assert_eq!(bench.counted().app_frames_refused, 20);
    // A file is heard all the same.
    bench.say(FILES[0]);
    bench.run_to(2000);
    assert!(bench.counted().played_ms >= 1000);
}

#[test]
fn clear_ends_an_mp3_file_and_returns_its_marks() {
    let mut bench = talking(AppFormat::Mp3);
    bench.say(FILES[0]);
    bench.mark("one");
    bench.run_to(300);
    assert!(bench.marks().is_empty());
    bench.clear();
    assert_eq!(bench.marks(), ["one"]);
    bench.run_to(1000);
    assert_eq!(bench.record.rtp().last().unwrap().ms, 300);
    let stats = bench.counted();
    assert!((675..=680).contains(&stats.discarded_ms), "{stats:?}");
    assert_eq!(stats.queued_ms, 0);
    bench.say(FILES[3]);
    bench.run_to(3000);
    assert_eq!(bench.counted().underruns, 0);
    assert!((1320..=1330).contains(&bench.counted().played_ms), "{:?}", bench.counted());
}

#[test]
fn a_minute_of_mp3_waits_and_no_more() {
    // Twenty seconds in a file.
    let long = FILES[8].repeat(20);
    let mut bench = talking(AppFormat::Mp3);
    for n in 0..4 {
        bench.run_to(n * 1000);
        bench.say(&long);
    }
    // 21.12 s each: three are more than a minute, but not with what has been played.
    let codes: Vec<_> = bench.errors().iter().map(|error| error.0).collect();
    assert_eq!(codes, [100_005, 100_005]);
    assert!(bench.counted().overflow_ms >= 42_000);
    assert!(bench.counted().queued_ms <= 60_000);
    let bytes = i64::try_from(APP_KEPT_BYTES_MAX).unwrap();
    assert_eq!(bytes, 2_400_000);
}

#[test]
fn whole_payloads_that_wait_are_bounded_in_bytes() {
    let mut bench = talking(Format::Opus { sample_rate_hz: 48_000 });
    // Padding makes a packet of any size (RFC 6716 3.2.5); this one is 2.5 ms and 100,000 bytes.
    let mut padded = vec![0x83, 0x41];
    padded.extend(vec![0xff; 393]);
    padded.push(0);
    padded.resize(100_000, 0);
    for _ in 0..60 {
        bench.say(&padded);
    }
    let codes: Vec<_> = bench.errors().iter().map(|error| error.0).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == 100_005), "{codes:?}");
}

#[test]
fn binary_messages_are_audio_where_that_was_agreed_on() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { binary_media: true, ..stream(pcmu().into()) });
    let now = bench.now();
    bench.leg.receive_stream_binary(now, STREAM, vec![0x80; 320], &mut bench.record);
    bench.run_to(100);
    assert_eq!(bench.record.rtp().len(), 2);
    assert!(bench.errors().is_empty());
    let mut bench = talking(pcmu());
    let now = bench.now();
    bench.leg.receive_stream_binary(now, STREAM, vec![0x80; 320], &mut bench.record);
    assert_eq!(bench.errors()[0].0, 100_003);
}

#[test]
fn what_nobody_is_to_hear_is_counted_as_discarded() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(StreamParams { app_heard: AppHeard::OtherOnly, ..stream(pcmu().into()) });
    bench.say(&[0x80; 1600]);
    bench.mark("end");
    bench.run_to(1000);
    assert!(bench.record.rtp().is_empty());
    assert_eq!(bench.marks(), ["end"]);
    let stats = bench.counted();
    assert_eq!((stats.discarded_ms, stats.played_ms, stats.queued_ms), (200, 0, 0));
}

#[test]
fn what_waits_is_heard_to_its_end_when_the_leg_changes_its_codec() {
    for app_format in [AppFormat::Mp3, pcmu().into(), l16(22_050).into()] {
        let mut bench = talking(app_format);
        match app_format {
            AppFormat::Mp3 => bench.say(FILES[0]),
            AppFormat::Raw(format) => bench.say(&payloads(format, 50).concat()),
        }
        bench.mark("end");
        bench.run_to(490);
        let params = LegParams { format: Format::G722, payload_type: 9, ..leg_params() };
        bench.leg.connect(bench.now(), params).unwrap();
        bench.run_to(2000);
        let stats = bench.counted();
        assert!((1000..=1015).contains(&stats.played_ms), "{app_format:?}: {}", stats.played_ms);
        assert_eq!((stats.queued_ms, stats.discarded_ms), (0, 0));
        assert_eq!(bench.marks(), ["end"], "{app_format:?}");
        let last = bench.record.rtp().last().unwrap().ms;
        assert!((970..=1030).contains(&last), "{app_format:?}: {last}");
    }
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
        5 => (1..40_usize).prop_map(Act::Say),
        2 => Just(Act::Mark),
        1 => Just(Act::Clear),
        4 => (0..400_u64).prop_map(Act::Wait),
        1 => (400..3000_u64).prop_map(Act::Wait),
    ]
}

/// A queue that plays in real time what it is given, and nothing else: when each mark is due, in ms.
#[derive(Default)]
struct Law {
    said: u64,
    /// When all that was said so far has been heard.
    end: u64,
    due: Vec<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_law_holds_in_every_format(which in any::<usize>(), acts in prop::collection::vec(act(), 1..25)) {
        let formats = formats();
        // One more for mp3: a file instead of payloads, if a second has passed.
        let format = formats.get(which % (formats.len() + 1)).copied();
        let mut bench = talking(format.map_or(AppFormat::Mp3, AppFormat::Raw));
        let mut said = format.map(|format| payloads(format, 1000).into_iter()).into_iter().flatten();
        let (mut law, mut ms, mut file_ms) = (Law::default(), 0, None);
        let mut back = Vec::new();
        for act in acts.into_iter().chain([Act::Mark, Act::Wait(30_000)]) {
            let end_ms = law.end.max(ms);
            match act {
                Act::Say(count) if format.is_some() => {
                    for payload in said.by_ref().take(count) {
                        bench.say(&payload);
                        law.said += 20;
                        law.end = law.end.max(ms) + 20;
                    }
                }
                Act::Say(count) if file_ms.is_none_or(|last| ms >= last + 1000) => {
                    bench.say(FILES[count % 8]);
                    file_ms = Some(ms);
                    law.said += 1000;
                    law.end = end_ms + 1000;
                }
                Act::Say(_) => {}
                Act::Mark => {
                    law.due.push(end_ms);
                    bench.mark(&(law.due.len() - 1).to_string());
                }
                Act::Clear => {
                    bench.clear();
                    prop_assert_eq!(bench.marks().len(), law.due.len(), "every mark has come back");
                    law.end = ms;
                    for due in &mut law.due {
                        *due = (*due).min(ms);
                    }
                }
                Act::Wait(time) => {
                    for _ in 0..time {
                        ms += 1;
                        bench.run_to(ms);
                        back.resize(bench.marks().len(), ms);
                    }
                }
            }
            back.resize(bench.marks().len(), ms);
        }
        let names: Vec<_> = (0..law.due.len()).map(|n| n.to_string()).collect();
        prop_assert_eq!(bench.marks(), names, "every mark, in order");
        for (due, back) in law.due.iter().zip(&back) {
            // A packet early, since it is sent before it is heard; each stall may cost one packet of
            // resampled audio, and its last one goes behind it.
            prop_assert!(back + 21 >= *due && *back <= due + 90, "mark due at {due} came at {back}: {format:?}");
        }
        let stats = bench.counted();
        prop_assert_eq!((stats.queued_ms, stats.overflow_ms, stats.app_frames_refused), (0, 0, 0));
        let accounted = stats.played_ms + stats.discarded_ms;
        let tails = 7 * (1 + bench.record.rtp().iter().filter(|packet| packet.marker).count() as u64);
        prop_assert!(accounted + 2 >= law.said && accounted <= law.said + tails, "{accounted} of {}", law.said);
        for pair in bench.record.rtp().windows(2) {
            prop_assert!(pair[1].ms >= pair[0].ms + 20, "never faster than real time");
        }
    }
}
