//! Every format of a leg with every format of a stream: each is heard by its tone, on time and whole.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]

mod common;

use std::f64::consts::TAU;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use offhook_codec::{Decoder, Encoder};
use offhook_media::{ByteOrder, Codec, Format, LegParams, OpusSettings, StreamParams, Track};
use proptest::prelude::*;

const PACKETS: usize = 40;
const AMPLITUDE: f64 = 8000.0;

fn big(sample_rate_hz: u32) -> Format {
    Format::L16 { sample_rate_hz, byte_order: ByteOrder::Big }
}

fn opus(sample_rate_hz: u32) -> Format {
    Format::Opus { sample_rate_hz }
}

/// What a leg may have on this system.
fn leg_formats() -> Vec<Format> {
    let formats = [
        Codec::Pcmu.into(),
        Codec::Pcma.into(),
        Format::G722,
        opus(48_000),
        opus(16_000),
        Format::AmrWb { octet_align: false },
        Format::AmrWb { octet_align: true },
        big(8000),
        big(22_050),
        big(48_000),
    ];
    formats.into_iter().filter(|format| format.transcodable()).collect()
}

/// What a stream may have on this system.
fn stream_formats() -> Vec<Format> {
    let formats = [
        Codec::Pcmu.into(),
        Codec::Pcma.into(),
        Format::G722,
        opus(8000),
        opus(16_000),
        Format::AmrWb { octet_align: true },
        l16(8000),
        l16(16_000),
        l16(22_050),
        l16(24_000),
        l16(48_000),
        big(16_000),
    ];
    formats.into_iter().filter(|format| format.transcodable()).collect()
}

fn is_lossy(format: Format) -> bool {
    matches!(format, Format::Opus { .. } | Format::AmrWb { .. })
}

fn leg(format: Format) -> LegParams {
    let clock_rate_hz = format.clock_rate_hz();
    LegParams { format, payload_type: 96, clock_rate_hz, dtmf_clock_rate_hz: clock_rate_hz, ..leg_params() }
}

fn tone(hz: f64, rate_hz: u32, count: usize) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate_hz);
    (0..count).map(|n| (AMPLITUDE * (step * n as f64).sin()).round() as i16).collect()
}

/// The payloads of so many packets of 20 ms of a tone.
fn payloads(format: Format, hz: f64, packets: usize) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(format).unwrap();
    let pcm = tone(hz, format.sample_rate_hz(), format.samples(20) * packets);
    let encode = |frame| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).unwrap();
        payload
    };
    pcm.chunks(format.samples(20)).map(encode).collect()
}

fn decoded<'a>(format: Format, payloads: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<i16> {
    let mut decoder = Decoder::new(format).unwrap();
    let mut pcm = Vec::new();
    for payload in payloads {
        decoder.decode(payload, &mut pcm).unwrap();
    }
    pcm
}

/// Level of a tone in dB against what was put in, all else in dB below it, and the same where frames
/// meet, in dB above all else.
fn measure(pcm: &[i16], hz: f64, rate_hz: u32) -> (f64, f64, f64) {
    let step = TAU * hz / f64::from(rate_hz);
    let waves: Vec<(f64, f64)> = (0..pcm.len()).map(|n| (step * n as f64).sin_cos()).collect();
    let sum = |of: &dyn Fn(usize) -> f64| (0..pcm.len()).map(of).sum::<f64>();
    let (ss, cc) = (sum(&|n| waves[n].0 * waves[n].0), sum(&|n| waves[n].1 * waves[n].1));
    let sc = sum(&|n| waves[n].0 * waves[n].1);
    let (xs, xc) = (sum(&|n| f64::from(pcm[n]) * waves[n].0), sum(&|n| f64::from(pcm[n]) * waves[n].1));
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / determinant, (xc * ss - xs * sc) / determinant);
    let rest = |n: usize| (f64::from(pcm[n]) - a * waves[n].0 - b * waves[n].1).powi(2);
    let frame = rate_hz as usize / 50;
    // The samples on both sides of each joint of two frames.
    let at_joint = |n: usize| n > 2 && (n % frame < 2 || n % frame >= frame - 2);
    let joints = (0..pcm.len()).filter(|&n| at_joint(n)).count() as f64;
    let power = sum(&rest) / pcm.len() as f64;
    let joint_power = sum(&|n| if at_joint(n) { rest(n) } else { 0.0 }) / joints;
    let db = |power: f64| 10.0 * power.max(1e-9).log10();
    let level = db((a * a + b * b) / (AMPLITUDE * AMPLITUDE));
    (level, db(f64::midpoint(a * a, b * b) / power.max(1.0)), db(joint_power.max(1.0) / power.max(1.0)))
}

/// Holds `pcm` to a tone, once it has settled.
fn check_tone(pcm: &[i16], format: Format, hz: f64, lossy: bool, what: &str) {
    let rate_hz = format.sample_rate_hz();
    let from = format.samples(200);
    let settled = &pcm[from..pcm.len() - format.samples(60)];
    let (level, snr, joints) = measure(settled, hz, rate_hz);
    let other = measure(settled, hz * 1.7, rate_hz).0;
    assert!(level.abs() < 1.0, "{what}: level {level:.2} dB");
    assert!(snr > if lossy { 12.0 } else { 28.0 }, "{what}: all else is only {snr:.1} dB below");
    assert!(other < -14.0, "{what}: {other:.1} dB of another tone");
    assert!(joints < 6.0, "{what}: frames do not join, {joints:.1} dB");
}

/// Let a tone come from the far end: packet `n` at 20 n ms, but for those that are `lost`.
fn hear(bench: &mut Bench, format: Format, hz: f64, lost: &[usize]) {
    let from = bench.record.now_ms;
    for (n, payload) in payloads(format, hz, PACKETS).iter().enumerate() {
        if !lost.contains(&n) {
            let timestamp = 77 + n as u32 * format.clock_ticks(20);
            let ms = from + n as u64 * 20;
            bench.receive(ms, &packet((ms / 20) as u16, timestamp, 7, 96, payload));
        }
    }
}

#[test]
fn what_the_phone_says_is_heard_in_every_format() {
    for from in leg_formats() {
        for to in stream_formats() {
            let what = format!("{from:?} to {to:?}");
            let mut bench = Bench::new(leg(from));
            bench.add_stream(StreamParams { format: to, tx: false, ..stream_params() });
            hear(&mut bench, from, 440.0, &[]);
            let frames = bench.record.media_frames("inbound");
            assert_eq!(frames.len(), PACKETS, "{what}");
            for (n, frame) in frames.iter().enumerate() {
                assert_eq!(frame.timestamp_ms, n as u64 * 20, "{what}");
                assert!(to.payload_bytes(20).is_none_or(|bytes| bytes == frame.payload.len()), "{what}");
            }
            let pcm = decoded(to, frames.iter().map(|frame| &frame.payload));
            assert_eq!(pcm.len(), to.samples(20) * PACKETS, "{what}: every sample of the time");
            check_tone(&pcm, to, 440.0, is_lossy(from) || is_lossy(to), &what);
            assert_eq!(bench.leg.stats().packets_undecodable, 0);
        }
    }
}

#[test]
fn what_is_played_is_sent_and_streamed_in_every_format() {
    for (n, format) in leg_formats().into_iter().enumerate() {
        let rate_hz = [8000, 16_000, 22_050, 24_000, 48_000][n % 5];
        let what = format!("{rate_hz} Hz to {format:?}");
        let mut bench = Bench::new(leg(format));
        bench.add_stream(StreamParams { format: l16(16_000), rx: false, ..stream_params() });
        bench.add_speech(Track::Tx, 16_000, 100);
        bench.play(&tone(700.0, rate_hz, rate_hz as usize), rate_hz);
        bench.run_to(2000);
        let sent = bench.record.rtp();
        assert!((50..=51).contains(&sent.len()), "{what}: {} packets", sent.len());
        for pair in sent.windows(2) {
            assert_eq!(pair[1].ms, pair[0].ms + 20, "{what}");
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), format.clock_ticks(20), "{what}");
            assert!(!pair[1].marker && pair[0].payload_type == 96, "{what}");
        }
        let lossy = is_lossy(format);
        let pcm = decoded(format, sent.iter().map(|packet| &packet.payload));
        check_tone(&pcm[..format.samples(960)], format, 700.0, lossy, &what);
        let frames = bench.record.media_frames("outbound");
        assert_eq!(frames.len(), sent.len(), "{what}");
        let pcm = decoded(l16(16_000), frames.iter().map(|frame| &frame.payload));
        check_tone(&pcm[..16 * 960], l16(16_000), 700.0, lossy, &what);
        let speech: Vec<i16> = bench.record.audio.iter().flat_map(|(_, _, pcm)| pcm.clone()).collect();
        check_tone(&speech[..16 * 900], l16(16_000), 700.0, lossy, &what);
        assert_eq!(bench.leg.stats().played_ms / 20, 50, "{what}");
    }
}

#[test]
fn what_an_application_says_is_heard_by_every_phone() {
    for to in leg_formats() {
        for from in stream_formats() {
            let what = format!("{from:?} to {to:?}");
            let mut bench = Bench::new(leg(to));
            let app_format = Some(from.into());
            bench.add_stream(StreamParams { rx: false, tx: false, app_format, ..stream_params() });
            for payload in payloads(from, 600.0, PACKETS) {
                let text =
                    format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, STANDARD.encode(payload));
                bench.leg.receive_stream_text(bench.start, STREAM, &text, &mut bench.record);
            }
            bench.run_to(2000);
            let sent = bench.record.rtp();
            assert!((PACKETS..=PACKETS + 1).contains(&sent.len()), "{what}: {} packets", sent.len());
            let pcm = decoded(to, sent.iter().map(|packet| &packet.payload));
            check_tone(&pcm[..to.samples(20) * PACKETS], to, 600.0, is_lossy(from) || is_lossy(to), &what);
        }
    }
}

#[test]
fn losses_keep_the_time_of_every_format() {
    for from in leg_formats() {
        for to in [from, l16(16_000), Codec::Pcma.into(), opus(16_000)] {
            for fill_gaps in [true, false] {
                let what = format!("{from:?} to {to:?}, filled {fill_gaps}");
                let mut bench = Bench::new(leg(from));
                bench.add_stream(StreamParams { format: to, tx: false, fill_gaps, ..stream_params() });
                hear(&mut bench, from, 440.0, &[10, 11, 25]);
                let frames = bench.record.media_frames("inbound");
                let times: Vec<u64> = frames.iter().map(|frame| frame.timestamp_ms / 20).collect();
                let expected: Vec<u64> =
                    (0..PACKETS as u64).filter(|n| fill_gaps || ![10, 11, 25].contains(n)).collect();
                assert_eq!(times, expected, "{what}");
                let stats = bench.leg.stats();
                assert_eq!(stats.taps[0].1.filled_ms, if fill_gaps { 60 } else { 0 }, "{what}");
                assert_eq!((stats.gap_ms, stats.packets_undecodable), (60, 0), "{what}");
                let pcm = decoded(to, frames.iter().map(|frame| &frame.payload));
                assert_eq!(pcm.len(), to.samples(20) * frames.len(), "{what}");
            }
        }
    }
}

#[test]
fn a_lost_packet_of_a_decoded_track_is_made_up_at_its_level() {
    let mut bench = Bench::new(leg(Codec::Pcmu.into()));
    bench.add_speech(Track::Rx, 8000, 20);
    hear(&mut bench, Codec::Pcmu.into(), 400.0, &[20]);
    let (_, at, made_up) = &bench.record.audio[20];
    assert_eq!(*at, 400);
    let (level, snr, _) = measure(made_up, 400.0, 8000);
    assert!(level.abs() < 3.0 && snr > 10.0, "{level:.1} dB, {snr:.1} dB above all else");
}

#[test]
fn a_re_invite_with_another_codec_goes_on_in_the_streams_format() {
    let mut bench = Bench::new(leg(Codec::Pcmu.into()));
    bench.add_stream(StreamParams {
        format: l16(16_000),
        app_format: Some(pcmu().into()),
        ..stream_params()
    });
    bench.add_speech(Track::Rx, 16_000, 100);
    let long = tone(500.0, 8000, 8000 * 30);
    bench.play(&long, 8000);
    let formats = leg_formats();
    for (n, &format) in formats.iter().enumerate() {
        let begin = n as u64 * PACKETS as u64 * 20;
        bench.run_to(begin);
        let now = bench.now();
        bench.leg.connect(now, leg(format)).unwrap();
        hear(&mut bench, format, 440.0, &[]);
        bench.run_to(begin + PACKETS as u64 * 20 - 1);
    }
    let total = formats.len() * PACKETS;
    for track in ["inbound", "outbound"] {
        let frames = bench.record.media_frames(track);
        assert!(frames.len().abs_diff(total) <= 2, "{track}: {} of {total}", frames.len());
        for pair in frames.windows(2) {
            let step = pair[1].timestamp_ms - pair[0].timestamp_ms;
            assert!((20..=21).contains(&step), "{track}: {step} ms after {}", pair[0].timestamp_ms);
        }
        let hz = if track == "inbound" { 440.0 } else { 500.0 };
        for n in 0..formats.len() {
            let of_format = &frames[n * PACKETS + 2..(n + 1) * PACKETS - 2];
            let pcm = decoded(l16(16_000), of_format.iter().map(|frame| &frame.payload));
            check_tone(&pcm, l16(16_000), hz, is_lossy(formats[n]), &format!("{track}, {:?}", formats[n]));
        }
    }
    // RTP goes on, each stretch by its own clock.
    let sent = bench.record.rtp();
    assert!(sent.windows(2).all(|pair| pair[1].seq == pair[0].seq.next()));
    assert!(sent.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) <= 5 * 960));
    let speech: usize = bench.record.audio.iter().map(|(_, _, pcm)| pcm.len()).sum();
    assert!(speech.abs_diff(total * 320) < 3200, "{speech} of {}", total * 320);
    let stats = bench.leg.stats();
    assert_eq!((stats.packets_undecodable, stats.packets_unencodable, stats.packets_late), (0, 0, 0));
}

#[test]
fn what_an_application_has_said_outlives_a_change_of_the_codec() {
    let mut bench = Bench::new(leg(Codec::Pcmu.into()));
    bench.add_stream(StreamParams { rx: false, app_format: Some(l16(16_000).into()), ..stream_params() });
    let say = |bench: &mut Bench, text: &str| {
        let now = bench.now();
        bench.leg.receive_stream_text(now, STREAM, text, &mut bench.record);
    };
    let payload = payloads(l16(16_000), 440.0, 100).concat();
    say(&mut bench, &format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, STANDARD.encode(payload)));
    say(&mut bench, r#"{"event":"mark","mark":{"name":"end"}}"#);
    for (ms, format) in [(500, Format::G722), (1000, opus(48_000)), (1500, Codec::Pcma.into())] {
        bench.run_to(ms);
        let queued = bench.leg.stats().taps[0].1.queued_ms;
        assert!(queued.abs_diff(2000 - ms) <= 40, "{queued} ms wait after {ms}");
        let now = bench.now();
        bench.leg.connect(now, leg(format)).unwrap();
        let stats = bench.leg.stats().taps[0].1;
        assert!(stats.queued_ms.abs_diff(queued) <= 10 && stats.played_ms.abs_diff(ms) <= 40, "{stats:?}");
    }
    bench.run_to(1960);
    assert!(bench.record.events_named("mark").is_empty());
    bench.run_to(2100);
    assert_eq!(bench.record.events_named("mark").len(), 1);
    let frames = bench.record.media_frames("outbound");
    let pcm = decoded(pcmu(), frames[2..98].iter().map(|frame| &frame.payload));
    check_tone(&pcm[..8 * 480], pcmu(), 440.0, true, "the first codec");
    check_tone(&pcm[8 * 1500..], pcmu(), 440.0, true, "the last codec");
    assert_eq!(bench.leg.stats().taps[0].1.underruns, 0);
}

#[test]
fn packets_of_any_length_pass_with_their_time() {
    // Opus of 10, 20, 40 and 60 ms, and three frames of 20 ms in one packet.
    for (first, second, ms) in [(0x00, 1, 10), (0x08, 1, 20), (0x10, 1, 40), (0x18, 1, 60), (0x0b, 3, 60)] {
        let mut bench = Bench::new(leg(opus(48_000)));
        bench.add_stream(StreamParams { format: opus(8000), tx: false, ..stream_params() });
        for n in 0..10_u16 {
            let payload = [first, second, 5, 6, 7];
            bench.receive(u64::from(n) * ms, &packet(n, u32::from(n) * ms as u32 * 48, 7, 96, &payload));
        }
        let frames = bench.record.media_frames("inbound");
        let times: Vec<_> = frames.iter().map(|frame| frame.timestamp_ms).collect();
        assert_eq!(times, (0..10).map(|n| n * ms).collect::<Vec<_>>());
        assert!(frames.iter().all(|frame| frame.payload == [first, second, 5, 6, 7]));
        assert_eq!(bench.leg.stats().gap_ms, 0);
    }
    // Two frames of AMR-WB that say nothing.
    let format = Format::AmrWb { octet_align: true };
    let mut bench = Bench::new(leg(format));
    bench.add_stream(StreamParams { format, tx: false, ..stream_params() });
    for n in [0_u16, 1, 3] {
        let payload = [0xf0, 0xfc, 0x7c];
        bench.receive(u64::from(n) * 40, &packet(n, u32::from(n) * 640, 7, 96, &payload));
    }
    bench.run_to(300);
    let times: Vec<_> = bench.record.media_frames("inbound").iter().map(|frame| frame.timestamp_ms).collect();
    assert_eq!(times, [0, 40, 80, 100, 120]);
}

#[test]
fn silence_when_idle_is_silence_in_every_format() {
    for format in leg_formats() {
        let mut bench = Bench::new(LegParams { silence_when_idle: true, ..leg(format) });
        bench.add_speech(Track::Tx, 16_000, 100);
        bench.run_to(1000);
        let sent = bench.record.rtp();
        assert_eq!(sent.len(), 51, "{format:?}");
        let loudest =
            bench.record.audio.iter().flat_map(|(_, _, pcm)| pcm).map(|pcm| pcm.unsigned_abs()).max();
        assert!(loudest.unwrap() < 40, "{format:?}: {loudest:?}");
    }
}

#[test]
fn a_digit_lasts_by_the_clock_of_telephone_event() {
    let mut bench = Bench::new(leg(opus(48_000)));
    bench.leg.send_digits(bench.start, "5", 100, 0).unwrap();
    bench.run_to(300);
    let last = bench.record.rtp().pop().unwrap();
    assert_eq!((last.payload_type, &last.payload[..]), (101, &[5, 0x8a, 0x12, 0xc0][..]));
    for seq in 0..3_u16 {
        bench.receive(300, &packet(seq, 5, 7, 101, &[5, 0x8a, 0x12, 0xc0]));
    }
    let told = bench
        .record
        .events
        .iter()
        .any(|event| matches!(event, offhook_media::Event::Digit { digit: '5', duration_ms: 100, .. }));
    assert!(told, "{:?}", bench.record.events);
}

#[test]
fn a_far_end_gets_the_amr_wb_mode_it_asks_for_if_it_was_agreed_on() {
    let format = Format::AmrWb { octet_align: true };
    if !format.transcodable() {
        return;
    }
    let mut bench = Bench::new(LegParams { amr_modes: 0b101, silence_when_idle: true, ..leg(format) });
    let mode = |bench: &Bench| bench.record.rtp().last().unwrap().payload[1] >> 3 & 15;
    bench.run_to(100);
    assert_eq!(mode(&bench), 2);
    for (request, given) in [(1, 0), (8, 2), (0, 0), (15, 0)] {
        let now_ms = bench.record.now_ms;
        bench.receive(now_ms, &packet(now_ms as u16, now_ms as u32 * 16, 7, 96, &[request << 4, 0x7c]));
        bench.run_to(now_ms + 40);
        assert_eq!(mode(&bench), given, "asked for {request}");
    }
}

#[test]
fn parameters_no_codec_can_meet_are_refused() {
    let mut bench = Bench::unconnected();
    for params in [
        LegParams { ptime_ms: 30, ..leg(opus(48_000)) },
        LegParams { ptime_ms: 140, ..leg(opus(48_000)) },
        LegParams { ptime_ms: 30, ..leg(Format::AmrWb { octet_align: true }) },
        LegParams { ptime_ms: 30, ..leg(big(22_050)) },
        LegParams { format: opus(11_025), ..leg(opus(48_000)) },
        LegParams { clock_rate_hz: 16_000, ..leg(Format::G722) },
        LegParams { dtmf_clock_rate_hz: 0, ..leg(opus(48_000)) },
    ] {
        assert!(bench.leg.connect(bench.start, params).is_err());
    }
    for params in [
        StreamParams { format: opus(16_000), frame_ms: 30, ..stream_params() },
        StreamParams { app_format: Some(l16(11_025).into()), ..stream_params() },
    ] {
        assert!(bench.leg.add_stream(bench.start, STREAM, params).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_payloads_cost_a_counter(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20),
        which in 0..20_usize,
    ) {
        let formats = leg_formats();
        let format = formats[which % formats.len()];
        let mut bench = Bench::new(LegParams { opus: OpusSettings::default(), ..leg(format) });
        bench.add_stream(StreamParams { format: l16(16_000), tx: false, ..stream_params() });
        bench.add_speech(Track::Rx, 8000, 20);
        for (n, payload) in payloads.iter().enumerate() {
            bench.receive(n as u64 * 20, &packet(n as u16, n as u32 * format.clock_ticks(20), 7, 96, payload));
        }
        bench.run_to(2000);
        let last = bench.record.media_frames("inbound").last().map_or(0, |frame| frame.timestamp_ms);
        let stats = bench.leg.stats();
        prop_assert!(last <= 500 + payloads.len() as u64 * 240);
        prop_assert_eq!(stats.packets_received, payloads.len() as u64);
        prop_assert!(stats.packets_undecodable <= 2 * stats.packets_received);
    }
}
