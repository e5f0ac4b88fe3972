//! Two legs bridged: what one receives goes out of the other, whole, in order and on time.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]

mod common;

use std::f64::consts::TAU;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use offhook_codec::{Decoder, DtmfDetector, Encoder};
use offhook_media::{
    AppFormat, AppHeard, ByteOrder, Codec, Event, Format, LegParams, PlayId, PlayParams, SpeechParams,
    StreamParams, TapId, Track,
};
use offhook_rtp::TelephoneEvent;
use proptest::prelude::*;

const A: usize = 0;
const B: usize = 1;

/// Two legs on one clock.
struct Pair {
    legs: [Bench; 2],
}

fn leg(format: Format) -> LegParams {
    LegParams {
        format,
        clock_rate_hz: format.clock_rate_hz(),
        dtmf_clock_rate_hz: format.clock_rate_hz(),
        ..leg_params()
    }
}

fn pcma() -> Format {
    Codec::Pcma.into()
}

impl Pair {
    fn new(a: LegParams, b: LegParams) -> Self {
        let (a, mut b) = (Bench::new(a), Bench::new(b));
        b.start = a.start;
        Self { legs: [a, b] }
    }

    fn bridged(a: LegParams, b: LegParams) -> Self {
        let mut pair = Self::new(a, b);
        pair.bridge(true);
        pair
    }

    fn bridge(&mut self, keys: bool) {
        for bench in &mut self.legs {
            let now = bench.now();
            bench.leg.bridge(now, keys).unwrap();
        }
    }

    fn unbridge(&mut self) {
        for bench in &mut self.legs {
            let now = bench.now();
            bench.leg.unbridge(now);
        }
    }

    /// Hand over what each leg has for the other.
    fn hand_over(&mut self) {
        for from in [A, B] {
            let mut items = std::mem::take(&mut self.legs[from].record.relayed);
            let to = &mut self.legs[1 - from];
            let now = to.now();
            items.drain(|item| to.leg.receive_relayed(now, item, &mut to.record));
        }
    }

    fn run_to(&mut self, ms: u64) {
        let from = self.legs[A].record.now_ms;
        for at in from..=ms.max(from) {
            for bench in &mut self.legs {
                bench.run_to(at);
            }
            self.hand_over();
        }
    }

    fn receive(&mut self, leg: usize, ms: u64, datagram: &[u8]) {
        self.run_to(ms);
        self.legs[leg].receive(ms, datagram);
        self.hand_over();
    }

    /// Send `packets` of 20 ms of a tone into a leg, from `ms` on, in its format.
    fn tone(&mut self, into: usize, ms: u64, packets: usize, hz: f64, format: Format) {
        let payloads = tone(format, packets, hz);
        let step = format.clock_rate_hz() / 50;
        for (n, payload) in payloads.iter().enumerate() {
            let n32 = u32::try_from(n).unwrap();
            let datagram = packet(500 + n as u16, 77 + n32 * step, 9, 0, payload);
            self.receive(into, ms + n as u64 * 20, &datagram);
        }
    }

    fn sent(&self, leg: usize) -> Vec<SentRtp> {
        self.legs[leg].record.rtp()
    }

    fn heard(&self, leg: usize, format: Format) -> Vec<i16> {
        decoded(format, self.sent(leg).iter().map(|sent| &sent.payload[..]))
    }
}

fn sound(pcm: &[i16]) -> PlayParams {
    PlayParams { pcm: pcm.to_vec(), sample_rate_hz: 8000, loops: 1, overlay: false }
}

fn sine(rate_hz: u32, from: usize, count: usize, hz: f64) -> impl Iterator<Item = i16> {
    let step = TAU * hz / f64::from(rate_hz);
    (from..from + count).map(move |n| (8000.0 * (step * n as f64).sin()) as i16)
}

fn tone(format: Format, packets: usize, hz: f64) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(format).unwrap();
    let count = format.samples(20);
    let payload = |n: usize| {
        let pcm: Vec<i16> = sine(format.sample_rate_hz(), n * count, count, hz).collect();
        let mut payload = Vec::new();
        encoder.encode(&pcm, &mut payload).unwrap();
        payload
    };
    (0..packets).map(payload).collect()
}

fn decoded<'a>(format: Format, payloads: impl Iterator<Item = &'a [u8]>) -> Vec<i16> {
    let (mut decoder, mut pcm) = (Decoder::new(format).unwrap(), Vec::new());
    for payload in payloads {
        decoder.decode(payload, &mut pcm).unwrap();
    }
    pcm
}

/// How much of the power is in a tone, 0 to 1.
fn share(pcm: &[i16], rate_hz: u32, hz: f64) -> f64 {
    let step = TAU * hz / f64::from(rate_hz);
    let (mut s, mut c, mut power) = (0.0, 0.0, 0.0);
    for (n, &sample) in pcm.iter().enumerate() {
        let (sine, cosine) = (step * n as f64).sin_cos();
        let x = f64::from(sample);
        s += x * sine;
        c += x * cosine;
        power += x * x;
    }
    2.0 * (s * s + c * c) / (pcm.len() as f64 * power.max(1.0))
}

fn key(seq: u16, timestamp: u32, duration: u16, end: bool) -> Vec<u8> {
    let event = TelephoneEvent { event: 5, end, volume: 10, duration };
    packet(seq, timestamp, 9, 101, &event.to_bytes())
}

#[test]
fn the_same_codec_passes_untouched_at_once_under_the_legs_own_numbers() {
    for format in [pcmu(), pcma(), Format::G722, Format::Opus { sample_rate_hz: 48_000 }] {
        let mut pair = Pair::bridged(leg(format), leg(format));
        pair.tone(A, 0, 50, 440.0, format);
        let (sent, payloads) = (pair.sent(B), tone(format, 50, 440.0));
        assert_eq!(sent.len(), 50, "{format:?}");
        let step = format.clock_rate_hz() / 50;
        for (n, (sent, payload)) in sent.iter().zip(&payloads).enumerate() {
            assert_eq!((sent.ms, &sent.payload), (n as u64 * 20, payload));
            assert_eq!(sent.marker, n == 0);
        }
        assert!(sent.windows(2).all(|two| two[1].seq == two[0].seq.next()));
        assert!(sent.windows(2).all(|two| two[1].timestamp.wrapping_sub(two[0].timestamp) == step));
        assert!(sent[0].seq.0 != 500);
        let stats = pair.legs[B].leg.stats();
        assert_eq!((stats.packets_passed, stats.packets_not_passed), (50, 0));
        assert!(pair.sent(A).is_empty());
    }
}

#[test]
fn what_is_lost_or_overtaken_stays_so_for_the_other_far_end() {
    let mut pair = Pair::bridged(leg(pcmu()), leg(pcmu()));
    for (ms, n) in [(0, 0), (20, 1), (60, 3), (61, 2), (80, 4), (120, 6), (121, 6)] {
        pair.receive(A, ms, &packet(100 + n, u32::from(n) * 160, 9, 0, &[n as u8; 160]));
    }
    let sent = pair.sent(B);
    let first = &sent[0];
    let seen: Vec<_> = sent
        .iter()
        .map(|sent| {
            (
                sent.ms,
                sent.seq.distance_from(first.seq),
                (sent.timestamp - first.timestamp) / 160,
                sent.payload[0],
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(0, 0, 0, 0), (20, 1, 1, 1), (60, 3, 3, 3), (61, 2, 2, 2), (80, 4, 4, 4), (120, 6, 6, 6)]
    );
}

#[test]
fn other_codecs_are_heard_by_their_tones_both_ways_and_soon() {
    let l16 = Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Big };
    let opus = Format::Opus { sample_rate_hz: 48_000 };
    for (a, b) in
        [(pcmu(), pcma()), (pcmu(), Format::G722), (pcma(), opus), (pcmu(), l16), (Format::G722, opus)]
    {
        let mut pair = Pair::bridged(leg(a), leg(b));
        let (to_b, to_a) = (tone(a, 100, 500.0), tone(b, 100, 800.0));
        for n in 0..100_u16 {
            let clocks = [a.clock_rate_hz() / 50, b.clock_rate_hz() / 50];
            let at = u64::from(n) * 20;
            pair.receive(A, at, &packet(n, u32::from(n) * clocks[0], 1, 0, &to_b[usize::from(n)]));
            pair.receive(B, at + 7, &packet(n, u32::from(n) * clocks[1], 2, 0, &to_a[usize::from(n)]));
        }
        pair.run_to(2100);
        for (leg, format, hz) in [(B, b, 500.0), (A, a, 800.0)] {
            let sent = pair.sent(leg);
            assert!((99..=101).contains(&sent.len()), "{a:?} {b:?}: {}", sent.len());
            assert!(sent[0].ms <= 30, "{a:?} {b:?}: begun after {} ms", sent[0].ms);
            assert!(sent.windows(2).all(|two| two[1].seq == two[0].seq.next()));
            let pcm = pair.heard(leg, format);
            let rate_hz = format.sample_rate_hz();
            let middle = &pcm[pcm.len() / 4..pcm.len() * 3 / 4];
            assert!(share(middle, rate_hz, hz) > 0.95, "{a:?} {b:?}: {}", share(middle, rate_hz, hz));
            let stats = pair.legs[leg].leg.stats();
            assert_eq!((stats.packets_passed, stats.bridge_discarded_ms), (0, 0));
        }
    }
}

#[test]
fn what_is_played_is_mixed_and_packets_pass_again_soon_after_it() {
    let mut pair = Pair::bridged(leg(pcmu()), leg(pcmu()));
    let played: Vec<i16> = sine(8000, 0, 8000, 1200.0).collect();
    let payloads = tone(pcmu(), 200, 440.0);
    for (n, payload) in payloads.iter().enumerate() {
        if n == 50 {
            let now = pair.legs[B].now();
            pair.legs[B].leg.play(now, PlayId(1), sound(&played)).unwrap();
        }
        pair.receive(A, n as u64 * 20, &packet(n as u16, n as u32 * 160, 9, 0, payload));
    }
    pair.run_to(4100);
    let sent = pair.sent(B);
    let while_played: Vec<_> = sent.iter().filter(|sent| (1200..1900).contains(&sent.ms)).collect();
    let pcm = decoded(pcmu(), while_played.iter().map(|sent| &sent.payload[..]));
    assert!(share(&pcm, 8000, 440.0) > 0.4 && share(&pcm, 8000, 1200.0) > 0.4);
    let after: Vec<_> = sent.iter().filter(|sent| sent.ms >= 2300).collect();
    assert!(after.iter().all(|sent| payloads.contains(&sent.payload)), "untouched again");
    assert!((198..=202).contains(&sent.len()), "{}", sent.len());
    assert!(sent.windows(2).all(|two| two[1].seq == two[0].seq.next()));
    let behind = |two: &[SentRtp]| two[1].timestamp.wrapping_sub(two[0].timestamp).cast_signed();
    assert!(sent.windows(2).all(|two| behind(two) > 0 && behind(two) <= 480), "no step back, no hole");
}

#[test]
fn keys_go_on_as_they_are_held_down_and_only_where_they_are_wanted() {
    for (keys, events) in [(true, 8), (false, 0)] {
        let mut pair = Pair::new(leg(pcmu()), leg(Format::Opus { sample_rate_hz: 48_000 }));
        pair.bridge(keys);
        for n in 0..8_u16 {
            let duration = (n + 1).min(6) * 160;
            pair.receive(A, 100 + u64::from(n) * 20, &key(40 + n, 4000, duration, n >= 5));
        }
        pair.run_to(1000);
        let sent: Vec<_> = pair.sent(B).into_iter().filter(|sent| sent.payload_type == 101).collect();
        assert_eq!(sent.len(), events);
        assert!(sent.iter().all(|one| one.timestamp == sent[0].timestamp));
        assert_eq!(sent.iter().filter(|sent| sent.marker).count(), usize::from(keys));
        for (n, sent) in sent.iter().enumerate() {
            let event = TelephoneEvent::parse(&sent.payload).unwrap();
            assert_eq!((event.event, event.end), (5, n >= 5));
            assert_eq!(usize::from(event.duration), (n + 1).min(6) * 960);
            assert_eq!(sent.ms, 100 + n as u64 * 20);
        }
        let told = |event: &&Event| matches!(event, Event::Digit { digit: '5', .. });
        assert_eq!(pair.legs[A].record.events.iter().filter(told).count(), 1);
    }
}

#[test]
fn keys_in_between_leave_no_hole_in_the_numbers_and_audio_goes_on_untouched() {
    for keys in [true, false] {
        let mut pair = Pair::new(leg(pcmu()), leg(pcmu()));
        pair.bridge(keys);
        for n in 0..30_u16 {
            let at = u64::from(n) * 20;
            if (10..18).contains(&n) {
                pair.receive(A, at, &key(n, 1600, (n - 9).min(6) * 160, n >= 15));
            } else {
                pair.receive(A, at, &packet(n, u32::from(n) * 160, 9, 0, &[n as u8; 160]));
            }
        }
        let sent = pair.sent(B);
        assert_eq!(sent.len(), if keys { 30 } else { 22 });
        assert!(sent.windows(2).all(|two| two[1].seq == two[0].seq.next()));
        let last = sent.last().unwrap();
        assert_eq!(last.timestamp.wrapping_sub(sent[0].timestamp), 29 * 160);
        assert_eq!(last.payload, [29; 160]);
    }
}

#[test]
fn a_leg_without_telephone_event_hears_keys_as_tones() {
    let mut pair = Pair::bridged(leg(pcmu()), LegParams { dtmf_payload_type: None, ..leg(pcmu()) });
    for n in 0..8_u16 {
        pair.receive(A, 100 + u64::from(n) * 20, &key(40 + n, 4000, (n + 1).min(6) * 160, n >= 5));
    }
    pair.run_to(1000);
    let pcm = pair.heard(B, pcmu());
    let (mut detector, mut digits) = (DtmfDetector::new(8000).unwrap(), Vec::new());
    detector.audio(&pcm, &mut |digit| digits.push(digit));
    detector.finish(&mut |digit| digits.push(digit));
    let seen: Vec<_> = digits.iter().map(|digit| digit.digit).collect();
    assert_eq!(seen, ['5']);
    assert!((90..=150).contains(&digits[0].duration_ms), "{:?}", digits[0]);
}

#[test]
fn taps_of_both_legs_go_on_and_hear_the_other_leg_as_their_outbound_track() {
    let mut pair = Pair::new(leg(pcmu()), leg(pcmu()));
    for bench in &mut pair.legs {
        bench.add_stream(stream_params());
        bench.add_fork();
    }
    for n in 0..150_u16 {
        match n {
            50 => pair.bridge(true),
            100 => pair.unbridge(),
            _ => {}
        }
        pair.receive(A, u64::from(n) * 20, &packet(n, u32::from(n) * 160, 9, 0, &[n as u8; 160]));
    }
    pair.run_to(3200);
    let inbound = pair.legs[A].record.media_frames("inbound");
    assert_eq!(inbound.len(), 150);
    let outbound = pair.legs[B].record.media_frames("outbound");
    let payloads: Vec<_> = outbound.iter().map(|frame| frame.payload[0]).collect();
    assert_eq!(payloads, (50..100).collect::<Vec<u8>>());
    assert_eq!(outbound[0].timestamp_ms, 1000);
    assert!(outbound.windows(2).all(|two| two[1].timestamp_ms - two[0].timestamp_ms == 20));
    let forked = |leg: usize, to| pair.legs[leg].record.forked.iter().filter(|(at, _)| *at == to).count();
    assert_eq!((forked(A, fork_rx()), forked(B, fork_tx()), forked(A, fork_tx())), (150, 50, 0));
    let copies: Vec<_> = pair.legs[B].record.forked.iter().map(|(_, datagram)| datagram).collect();
    let wire: Vec<_> = pair.legs[B].record.sent.iter().map(|(_, _, _, datagram)| datagram).collect();
    assert!(copies.iter().all(|copy| wire.contains(copy)));
}

#[test]
fn a_recogniser_hears_what_the_other_leg_said_in_any_codec() {
    let mut pair = Pair::new(leg(pcmu()), leg(pcma()));
    pair.legs[B].add_speech(Track::Tx, 8000, 100);
    pair.bridge(true);
    pair.tone(A, 0, 100, 600.0, pcmu());
    pair.run_to(2500);
    let pcm: Vec<i16> = pair.legs[B]
        .record
        .audio
        .iter()
        .flat_map(|(_, _, pcm)| pcm.iter().copied())
        .skip(800)
        .take(12_000)
        .collect();
    assert!(share(&pcm, 8000, 600.0) > 0.95, "{}", share(&pcm, 8000, 600.0));
}

#[test]
fn a_recogniser_may_leave_out_what_applications_play_and_say() {
    for other in [pcmu(), Format::G722] {
        let mut pair = Pair::new(leg(other), leg(pcmu()));
        let params = SpeechParams { track: Track::Tx, sample_rate_hz: 8000, chunk_ms: 100, skip_own: true };
        pair.legs[B].add_speech_with(params);
        pair.legs[A].add_stream(talking(AppHeard::Other));
        let pcm: Vec<i16> = sine(8000, 0, 48_000, 1000.0).collect();
        let now = pair.legs[B].now();
        pair.legs[B].leg.play(now, PlayId(7), sound(&pcm)).unwrap();
        pair.run_to(1000);
        assert!(pair.legs[B].record.audio.is_empty(), "all of it is our own");
        pair.bridge(true);
        say(&mut pair.legs[A], &sine(8000, 0, 24_000, 1700.0).collect::<Vec<i16>>());
        pair.tone(A, 1000, 100, 600.0, other);
        pair.run_to(7000);
        let mixed = pair.heard(B, pcmu());
        assert!(share(&mixed[10_000..20_000], 8000, 1000.0) > 0.1, "the far end hears what is played");
        let audio = &pair.legs[B].record.audio;
        let pcm: Vec<i16> = audio.iter().flat_map(|(_, _, pcm)| pcm.iter().copied()).collect();
        assert!((16_000..=34_000).contains(&pcm.len()), "{other:?}: {} samples", pcm.len());
        let middle = &pcm[2000..14_000];
        assert!(share(middle, 8000, 600.0) > 0.95, "{other:?}: {}", share(middle, 8000, 600.0));
    }
}

fn say(bench: &mut Bench, pcm: &[i16]) {
    let bytes: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let text = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, STANDARD.encode(bytes));
    let mark = r#"{"event":"mark","mark":{"name":"end"}}"#;
    let now = bench.now();
    bench.leg.receive_stream_text(now, TapId(1), &text, &mut bench.record);
    bench.leg.receive_stream_text(now, TapId(1), mark, &mut bench.record);
}

fn talking(heard: AppHeard) -> StreamParams {
    StreamParams { app_format: Some(AppFormat::Raw(l16(8000))), app_heard: heard, ..stream_params() }
}

#[test]
fn an_application_is_heard_by_whom_its_stream_names() {
    let cases = [
        (AppHeard::Own, (true, false), true),
        (AppHeard::Other, (false, true), true),
        (AppHeard::OtherOnly, (false, true), false),
        (AppHeard::Both, (true, true), true),
    ];
    for (heard, bridged, alone) in cases {
        let mut pair = Pair::new(leg(pcmu()), leg(Format::G722));
        pair.legs[A].add_stream(talking(heard));
        let pcm: Vec<i16> = sine(8000, 0, 8000, 700.0).collect();
        say(&mut pair.legs[A], &pcm);
        pair.run_to(2000);
        assert_eq!(!pair.sent(A).is_empty(), alone, "{heard:?} alone");
        assert!(pair.sent(B).is_empty());
        for bench in &mut pair.legs {
            bench.record.sent.clear();
            bench.record.frames.clear();
        }
        pair.bridge(true);
        say(&mut pair.legs[A], &pcm);
        pair.run_to(4000);
        let (a, b) = (pair.heard(A, pcmu()), pair.heard(B, Format::G722));
        assert_eq!((!a.is_empty(), !b.is_empty()), bridged, "{heard:?} bridged");
        for (pcm, rate_hz) in [(a, 8000), (b, 16_000)] {
            assert!(pcm.is_empty() || share(&pcm[2000..pcm.len() - 2000], rate_hz, 700.0) > 0.9, "{heard:?}");
        }
        assert_eq!(pair.legs[A].record.events_named("mark").len(), 1, "the mark came back");
    }
}

#[test]
fn an_application_speaks_over_the_other_leg_even_while_its_own_is_on_hold() {
    let mut pair = Pair::bridged(LegParams { sending: false, ..leg(pcmu()) }, leg(pcmu()));
    pair.legs[A].add_stream(talking(AppHeard::Other));
    let pcm: Vec<i16> = sine(8000, 0, 8000, 700.0).collect();
    say(&mut pair.legs[A], &pcm);
    pair.tone(A, 20, 50, 1500.0, pcmu());
    pair.run_to(1500);
    let pcm = pair.heard(B, pcmu());
    let middle = &pcm[1600..6400];
    assert!(share(middle, 8000, 700.0) > 0.4 && share(middle, 8000, 1500.0) > 0.4);
    assert!(pair.sent(A).is_empty());
}

#[test]
fn a_leg_on_hold_gets_nothing_and_it_is_counted() {
    let mut pair = Pair::bridged(leg(pcmu()), LegParams { sending: false, ..leg(pcmu()) });
    pair.tone(A, 0, 20, 440.0, pcmu());
    assert!(pair.sent(B).is_empty());
    assert_eq!(pair.legs[B].leg.stats().packets_not_passed, 20);
    let now = pair.legs[B].now();
    pair.legs[B].leg.connect(now, leg(pcmu())).unwrap();
    for n in 0..20_u16 {
        pair.receive(
            A,
            400 + u64::from(n) * 20,
            &packet(520 + n, 77 + u32::from(20 + n) * 160, 9, 0, &[1; 160]),
        );
    }
    assert_eq!(pair.sent(B).len(), 20);
}

#[test]
fn what_was_said_before_a_bridge_is_not_heard_by_whom_it_is_bridged_to() {
    for other in [Codec::Pcmu.into(), pcma()] {
        let mut pair = Pair::new(leg(Codec::Pcmu.into()), leg(other));
        // The second is missing: the third is held back, and due when the bridge is there.
        for (seq, ms) in [(1, 0), (3, 40)] {
            pair.receive(A, ms, &packet(seq, u32::from(seq) * 160, 9, 0, &[10; 160]));
        }
        pair.bridge(true);
        for (seq, ms) in [(4, 60), (5, 80), (6, 100)] {
            pair.receive(A, ms, &packet(seq, u32::from(seq) * 160, 9, 0, &[110; 160]));
        }
        pair.run_to(500);
        let heard = pair.heard(B, other);
        assert!(heard.len() >= 3 * 160, "{} samples", heard.len());
        let said = decoded(Codec::Pcmu.into(), [&[10; 160][..]].into_iter())[0];
        assert!(heard.iter().all(|sample| sample.abs_diff(said) > 2_000), "it hears what is not for it");
    }
}

#[test]
fn one_legs_end_leaves_the_other_as_it_was() {
    let mut pair = Pair::bridged(leg(pcmu()), leg(pcma()));
    pair.tone(A, 0, 20, 440.0, pcmu());
    let now = pair.legs[A].now();
    let Pair { legs: [a, _] } = &mut pair;
    a.leg.close(now, &mut a.record);
    pair.hand_over();
    let now = pair.legs[B].now();
    pair.legs[B].leg.unbridge(now);
    let played: Vec<i16> = sine(8000, 0, 4000, 900.0).collect();
    pair.legs[B].leg.play(now, PlayId(1), sound(&played)).unwrap();
    let before = pair.sent(B).len();
    pair.tone(B, 400, 20, 440.0, pcma());
    pair.run_to(1500);
    assert_eq!(pair.sent(B).len(), before + 25);
    assert_eq!(pair.legs[B].leg.stats().packets_received, 20);
}

#[test]
fn a_change_of_codec_in_mid_bridge_is_followed() {
    let mut pair = Pair::bridged(leg(pcmu()), leg(pcmu()));
    pair.tone(A, 0, 20, 440.0, pcmu());
    let now = pair.legs[B].now();
    pair.legs[B].leg.connect(now, leg(Format::G722)).unwrap();
    pair.legs[B].record.sent.clear();
    for (n, payload) in tone(pcmu(), 50, 440.0).iter().enumerate() {
        let n16 = n as u16 + 20;
        pair.receive(A, 400 + n as u64 * 20, &packet(500 + n16, 77 + u32::from(n16) * 160, 9, 0, payload));
    }
    pair.run_to(1600);
    let pcm = pair.heard(B, Format::G722);
    assert!(pcm.len() > 14_000, "{}", pcm.len());
    assert!(share(&pcm[2000..], 16_000, 440.0) > 0.95);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the network does: what comes once goes out once, and untouched where the codec is the same.
    #[test]
    fn nothing_is_lost_or_doubled_and_time_is_kept(
        lateness in proptest::collection::vec(0_u64..70, 60),
        lost in proptest::collection::vec(proptest::bool::weighted(0.1), 60),
    ) {
        let mut pair = Pair::bridged(leg(pcmu()), leg(pcmu()));
        let mut arrivals: Vec<_> = (0..60_u64).map(|n| (1000 + n * 20 + lateness[n as usize], n)).collect();
        arrivals.retain(|(_, n)| !lost[*n as usize]);
        arrivals.sort_unstable();
        for (ms, n) in &arrivals {
            let timestamp = u32::try_from(*n).unwrap() * 160;
            pair.receive(A, *ms, &packet(*n as u16, timestamp, 9, 0, &[*n as u8; 160]));
        }
        let sent = pair.sent(B);
        prop_assert_eq!(sent.len(), arrivals.len());
        for (sent, (ms, n)) in sent.iter().zip(&arrivals) {
            prop_assert_eq!((sent.ms, u64::from(sent.payload[0])), (*ms, *n));
        }
        if let (Some(first), Some((_, first_n))) = (sent.first(), arrivals.first()) {
            for (sent, (_, n)) in sent.iter().zip(&arrivals) {
                let steps = i64::try_from(*n).unwrap() - i64::try_from(*first_n).unwrap();
                prop_assert_eq!(i64::from(sent.seq.distance_from(first.seq)), steps);
                let passed = i64::from(sent.timestamp.wrapping_sub(first.timestamp).cast_signed());
                prop_assert_eq!(passed, steps * 160);
            }
        }
    }

    /// Whatever happens in which order: numbers never repeat, timestamps of audio never go back.
    #[test]
    fn numbers_and_time_go_on_through_mixing_keys_hold_and_new_bridges(
        steps in proptest::collection::vec((0_u8..12, 1_u64..60), 1..120),
    ) {
        let mut pair = Pair::bridged(leg(pcmu()), leg(pcmu()));
        let (mut ms, mut seq, mut timestamp) = (0, 0_u16, 0_u32);
        for (step, pause) in steps {
            let now = pair.legs[B].now();
            let b = &mut pair.legs[B];
            timestamp = timestamp.wrapping_add(160);
            match step {
                0 => b.play(&[1000; 800], 8000),
                1 => drop(b.leg.send_digits(now, "1", 60, 40)),
                2 => drop(b.leg.connect(now, LegParams { sending: false, ..leg(pcmu()) })),
                3 => drop(b.leg.connect(now, leg(pcmu()))),
                4 => pair.unbridge(),
                5 => pair.bridge(true),
                6 => pair.receive(A, ms, &key(seq, timestamp, 320, true)),
                _ => pair.receive(A, ms, &packet(seq, timestamp, 9, 0, &[7; 160])),
            }
            seq = seq.wrapping_add(u16::from(step >= 6));
            ms += pause;
            pair.run_to(ms);
        }
        pair.run_to(ms + 3000);
        let sent = pair.sent(B);
        for two in sent.windows(2) {
            prop_assert!(two[1].seq == two[0].seq.next(), "{:?} then {:?}", two[0].seq, two[1].seq);
        }
        let audio: Vec<_> = sent.iter().filter(|sent| sent.payload_type == 0).collect();
        for two in audio.windows(2) {
            let ahead = two[1].timestamp.wrapping_sub(two[0].timestamp).cast_signed();
            prop_assert!(ahead >= 160, "{} at {} ms", ahead, two[1].ms);
        }
    }
}
