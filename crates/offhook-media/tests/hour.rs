//! An hour on a bad network, with a far end whose clock is wrong: nothing grows.
//!
//! In a release build each call lasts an hour, else a few minutes. The numbers are printed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use offhook_codec::{ByteOrder, Codec, Encoder, Format};
use offhook_media::{
    Event, ForkParams, FrameKind, LegParams, LegStats, MediaLeg, Port, Sink, SpeechParams, StreamParams,
    TapId, Track,
};
use offhook_netem::{Link, Weather};

const MINUTES: u64 = if cfg!(debug_assertions) { 4 } else { 60 };
const ECHO: TapId = TapId(1);
const LISTEN: TapId = TapId(2);
const RECOGNISER: TapId = TapId(3);
/// So much is looked at, at the beginning and at the end.
const SPAN_MS: i64 = 60_000;

const BAD: Weather = Weather {
    loss: 0.03,
    duplication: 0.0,
    reorder: 0.0,
    reorder_delay: Duration::ZERO,
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(30),
};

/// A number over time, in microseconds.
#[derive(Debug, Default)]
struct Measure {
    values: Vec<(i64, i64)>,
}

impl Measure {
    fn take(&mut self, now_us: i64, value_us: i64) {
        self.values.push((now_us / 1000, value_us));
    }

    fn mean(&self, from_ms: i64, to_ms: i64) -> i64 {
        let of: Vec<i64> = self
            .values
            .iter()
            .filter(|(ms, _)| (from_ms..to_ms).contains(ms))
            .map(|(_, value)| *value)
            .collect();
        of.iter().sum::<i64>() / i64::try_from(of.len()).unwrap().max(1)
    }

    /// Mean in the second minute, mean in the last, greatest of all, in microseconds.
    fn told(&self) -> (i64, i64, i64) {
        let end = self.values.last().unwrap().0;
        let greatest = self.values.iter().skip(500).map(|(_, value)| *value).max().unwrap();
        (self.mean(SPAN_MS, 2 * SPAN_MS), self.mean(end - SPAN_MS, end), greatest)
    }
}

/// What a frame or chunk says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    ms: u64,
    pcm: Vec<i16>,
}

#[derive(Default)]
struct Watch {
    now_us: i64,
    /// When each number was last received.
    arrived_us: Vec<i64>,
    echoes: Vec<String>,
    frame_delay: Measure,
    inbound_lag: Measure,
    outbound_lag: Measure,
    echo_delay: Measure,
    speech_lag: Measure,
    period_us: i64,
    plain: Vec<Heard>,
    wide: Vec<(u64, usize)>,
    speech: Vec<Heard>,
}

/// A byte that names the packet, and is itself after decoding and encoding.
fn name(n: u64) -> u8 {
    (n % 100) as u8 + 1
}

impl Watch {
    /// How long ago the far end has sent the packet of this name.
    fn age_us(&self, name: u8) -> i64 {
        let newest = self.now_us / self.period_us;
        let back = (newest + 1 - i64::from(name)).rem_euclid(100);
        self.now_us - (newest - back) * self.period_us
    }
}

fn field<'a>(json: &'a str, key: &str) -> &'a str {
    let from = json.find(key).unwrap() + key.len();
    let rest = &json[from..];
    &rest[..rest.find('"').unwrap()]
}

impl Sink for Watch {
    fn transmit(&mut self, _: Port, _: SocketAddr, datagram: &[u8]) {
        if offhook_rtp::is_rtcp(datagram) {
            return;
        }
        let audio = &datagram[12..];
        if audio[0] != 0xff && audio.iter().all(|byte| *byte == audio[0]) && audio[0] <= 100 {
            self.echo_delay.take(self.now_us, self.age_us(audio[0]));
        }
    }

    fn fork(&mut self, _: SocketAddr, _: &[u8]) {}

    fn stream_frame(&mut self, tap: TapId, kind: FrameKind, json: &[u8]) {
        if kind != FrameKind::Media {
            return;
        }
        let json = std::str::from_utf8(json).unwrap();
        let payload = field(json, r#""payload":""#);
        let ms: u64 = field(json, r#""timestamp":""#).parse().unwrap();
        let lag = self.now_us - i64::try_from(ms).unwrap() * 1000;
        if field(json, r#""track":""#) == "outbound" {
            return self.outbound_lag.take(self.now_us, lag);
        }
        let audio = STANDARD.decode(payload).unwrap();
        if tap == LISTEN {
            self.wide.push((ms, audio.len() / 2));
            return;
        }
        self.inbound_lag.take(self.now_us, lag);
        // Of its first sample: where a sample was left out the rest of a frame comes with the next packet.
        if let Some(arrived) = usize::from(audio[0]).checked_sub(1).and_then(|n| self.arrived_us.get(n)) {
            self.frame_delay.take(self.now_us, self.now_us - arrived);
        }
        self.echoes.push(format!(r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#));
        let mut pcm = Vec::new();
        Codec::Pcmu.decode(&audio, &mut pcm);
        self.plain.push(Heard { ms, pcm });
    }

    fn audio(&mut self, _: TapId, at_ms: u64, pcm: &[i16]) {
        let end_us = i64::try_from(at_ms).unwrap() * 1000 + i64::try_from(pcm.len()).unwrap() * 125;
        self.speech_lag.take(self.now_us, self.now_us - end_us);
        self.speech.push(Heard { ms: at_ms, pcm: pcm.to_vec() });
    }

    fn event(&mut self, _: Event) {}
}

/// A far end that is `ppm` fast talks for the time of the test; an application sends all back.
fn hour(ppm: i64) -> (Watch, LegStats) {
    let start = Instant::now();
    let mut leg = MediaLeg::new(start, Duration::from_secs(1_795_420_800), 3);
    let period_ns = u64::try_from(20_000_000 - 20 * ppm).unwrap();
    let mut watch = Watch { arrived_us: vec![0; 100], ..Watch::default() };
    // Names repeat after 100 packets, which is far longer than anything takes.
    watch.period_us = i64::try_from(period_ns / 1000).unwrap();
    leg.connect(start, LegParams { rtcp_mux: true, silence_when_idle: true, ..leg_params() }).unwrap();
    let l16 = Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Little };
    let echo = StreamParams { app_format: Some(pcmu().into()), ..stream_params() };
    let listen = StreamParams { format: l16, tx: false, ..stream_params() };
    for (tap, params) in [(ECHO, echo), (LISTEN, listen)] {
        leg.add_stream(start, tap, params).unwrap();
        leg.stream_connected(start, tap, &mut watch).unwrap();
        leg.begin_stream(start, tap, &mut watch).unwrap();
    }
    let speech = SpeechParams { track: Track::Rx, sample_rate_hz: 8000, chunk_ms: 20, skip_own: false };
    leg.add_speech(start, RECOGNISER, speech).unwrap();
    let mut link = Link::new(17, BAD);
    let end = start + Duration::from_secs(60 * MINUTES);
    let sent_at = |n: u64| start + Duration::from_nanos(n * period_ns);
    let mut n = 0;
    loop {
        let dues = [leg.poll_timeout(), link.poll_timeout(), Some(sent_at(n))];
        let now = dues.into_iter().flatten().min().unwrap();
        if now > end {
            break;
        }
        watch.now_us = i64::try_from((now - start).as_micros()).unwrap();
        if sent_at(n) <= now {
            link.send(now, n);
            n += 1;
        }
        while let Some((_, n)) = link.receive(now) {
            watch.arrived_us[usize::from(name(n)) - 1] = watch.now_us;
            let timestamp = (n * 160 + 77) as u32;
            let datagram = packet(n as u16, timestamp, 7, 0, &[name(n); 160]);
            leg.receive_rtp(now, phone(), &datagram, &mut watch);
        }
        for text in std::mem::take(&mut watch.echoes) {
            leg.receive_stream_text(now, ECHO, &text, &mut watch);
        }
        leg.handle_timeout(now, &mut watch);
    }
    let stats = leg.stats();
    (watch, stats)
}

/// Losses are filled to the sample: what is decoded lies exactly where the payloads do.
fn check_alignment(watch: &Watch) {
    let mut next_ms = watch.plain[0].ms;
    for frame in &watch.plain {
        assert!(frame.ms.abs_diff(next_ms) <= 1, "{} after {next_ms}: time has no gap", frame.ms);
        next_ms = frame.ms + 20;
    }
    let samples =
        |track: &[Heard]| -> Vec<i16> { track.iter().flat_map(|heard| heard.pcm.clone()).collect() };
    let (plain, speech) = (samples(&watch.plain), samples(&watch.speech));
    assert!(plain.len().abs_diff(speech.len()) <= 160, "{} and {}", plain.len(), speech.len());
    let wide: usize = watch.wide.iter().map(|(_, count)| count).sum();
    assert!(wide.abs_diff(2 * plain.len()) <= 640, "{wide} and {}", plain.len());
    let minute = 60 * 8000;
    for (at, (plain, speech)) in plain.chunks(minute).zip(speech.chunks(minute)).enumerate() {
        let said: Vec<_> = plain.iter().zip(speech).filter(|(plain, _)| **plain != 0).collect();
        let same = said.iter().filter(|(plain, speech)| plain == speech).count();
        // The first 4 ms after a loss are faded in.
        assert!(same * 100 > said.len() * 98, "minute {at}: {same} of {}", said.len());
    }
}

#[test]
fn nothing_grows_in_an_hour_whose_clocks_are_apart() {
    println!("us:     second minute, last minute, greatest");
    for ppm in [100, -100, 0] {
        let (watch, stats) = hour(ppm);
        println!(
            "{ppm} ppm, {MINUTES} minutes: {} slipped, told {} ppm, patience {} ms, {} lost, {} late",
            stats.slipped_samples,
            stats.drift_ppm,
            stats.jitter_buffer_ms,
            stats.packets_lost,
            stats.packets_late
        );
        let voice = stats.taps.iter().find(|(tap, _)| *tap == ECHO).unwrap().1;
        println!(
            "  echo: {} underruns, {} ms of silence put in, {} ms queued",
            voice.underruns, voice.inserted_silence_ms, voice.queued_ms
        );
        for (what, measure, growth_us, most_us) in [
            ("RTP in to frame out", &watch.frame_delay, 21_000, 200_000),
            ("inbound timestamp behind", &watch.inbound_lag, 12_000, 150_000),
            ("outbound timestamp behind", &watch.outbound_lag, 2000, 50_000),
            ("chunk for a recogniser behind", &watch.speech_lag, 12_000, 150_000),
            ("echo, phone to phone", &watch.echo_delay, 25_000, 250_000),
        ] {
            let (early, late, greatest) = measure.told();
            println!("  {what}: {early}, {late}, {greatest}");
            assert!((late - early).abs() <= growth_us, "{ppm} ppm, {what}: {early} became {late}");
            assert!(greatest <= most_us, "{ppm} ppm, {what}: {greatest}");
        }
        assert_eq!(stats.slipped_samples == 0, ppm == 0);
        assert!((stats.drift_ppm - ppm).abs() <= 3, "{}", stats.drift_ppm);
        assert_eq!(stats.resyncs, 0);
        check_alignment(&watch);
    }
}

/// Timestamps and lengths of what two streams got, and the packets of a fork.
#[derive(Default)]
struct Lengths {
    now_us: i64,
    passed: Vec<(u64, usize)>,
    decoded: Vec<(u64, usize)>,
    lag: Measure,
    forked: Vec<Vec<u8>>,
}

impl Sink for Lengths {
    fn transmit(&mut self, _: Port, _: SocketAddr, _: &[u8]) {}

    fn fork(&mut self, _: SocketAddr, datagram: &[u8]) {
        self.forked.push(datagram.to_vec());
    }

    fn stream_frame(&mut self, tap: TapId, kind: FrameKind, json: &[u8]) {
        if kind != FrameKind::Media {
            return;
        }
        let json = std::str::from_utf8(json).unwrap();
        let ms: u64 = field(json, r#""timestamp":""#).parse().unwrap();
        let length = STANDARD.decode(field(json, r#""payload":""#)).unwrap().len();
        if tap == LISTEN {
            self.decoded.push((ms, length));
        } else {
            self.lag.take(self.now_us, self.now_us - i64::try_from(ms).unwrap() * 1000);
            self.passed.push((ms, length));
        }
    }

    fn audio(&mut self, _: TapId, _: u64, _: &[i16]) {}

    fn event(&mut self, _: Event) {}
}

/// `minutes` of a tone from a far end that is `ppm` fast, in one codec.
fn talk(format: Format, ppm: i64, minutes: u64) -> (Lengths, LegStats, Vec<Vec<u8>>) {
    let start = Instant::now();
    let mut leg = MediaLeg::new(start, Duration::from_secs(1_795_420_800), 3);
    let mut lengths = Lengths::default();
    leg.connect(start, LegParams { format, clock_rate_hz: format.clock_rate_hz(), ..leg_params() }).unwrap();
    let l16 = Format::L16 { sample_rate_hz: 8000, byte_order: ByteOrder::Little };
    let same = match format {
        Format::L16 { sample_rate_hz, .. } => Format::L16 { sample_rate_hz, byte_order: ByteOrder::Little },
        format => format,
    };
    for (tap, format) in [(ECHO, same), (LISTEN, l16)] {
        leg.add_stream(start, tap, StreamParams { format, tx: false, ..stream_params() }).unwrap();
        leg.stream_connected(start, tap, &mut lengths).unwrap();
        leg.begin_stream(start, tap, &mut lengths).unwrap();
    }
    leg.add_fork(start, RECOGNISER, ForkParams { rx: Some(fork_rx()), tx: None, strep: None }).unwrap();
    let mut encoder = Encoder::new(format).unwrap();
    let pcm: Vec<i16> = (0..format.samples(20)).map(|n| if n % 40 < 20 { 3000 } else { -3000 }).collect();
    let payload = |_| {
        let mut payload = Vec::new();
        encoder.encode(&pcm, &mut payload).unwrap();
        payload
    };
    let payloads: Vec<Vec<u8>> = (0..50).map(payload).collect();
    let period_ns = u64::try_from(20_000_000 - 20 * ppm).unwrap();
    let (mut link, mut sent) = (Link::new(23, BAD), Vec::new());
    for n in 0..minutes * 3000 {
        let timestamp = (n as u32).wrapping_mul(format.clock_ticks(20));
        let at = start + Duration::from_nanos(n * period_ns);
        link.send(at, packet(n as u16, timestamp, 7, 0, &payloads[n as usize % payloads.len()]));
        while let Some((now, datagram)) = link.receive(at) {
            while let Some(due) = leg.poll_timeout().filter(|due| *due <= now) {
                leg.handle_timeout(due, &mut lengths);
            }
            lengths.now_us = i64::try_from((now - start).as_micros()).unwrap();
            leg.receive_rtp(now, phone(), &datagram, &mut lengths);
            sent.push(datagram);
        }
    }
    (lengths, leg.stats(), sent)
}

#[test]
fn a_track_keeps_its_time_in_every_codec() {
    // Unoptimised codecs are slow.
    let (minutes, ways) = if cfg!(debug_assertions) { (3, 1) } else { (60, 2) };
    let l16 = Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Big };
    let formats = [Format::G722, l16, Format::Opus { sample_rate_hz: 16_000 }, Codec::Pcma.into()];
    for (n, format) in formats.into_iter().enumerate() {
        for ppm in if n % 2 == 0 { [150, -150] } else { [-150, 150] }.into_iter().take(ways) {
            let (lengths, stats, sent) = talk(format, ppm, minutes);
            let name = format!("{} {ppm} ppm", format.name());
            let (early, late, _) = lengths.lag.told();
            println!(
                "{name}: {} slipped, told {} ppm, behind {early} us, then {late} us",
                stats.slipped_samples, stats.drift_ppm
            );
            assert!(
                stats.slipped_samples > 0 && (stats.drift_ppm - ppm).abs() <= 6,
                "{name}: {}",
                stats.drift_ppm
            );
            assert!((late - early).abs() < 25_000, "{name}: {early} became {late}");
            assert_eq!(lengths.forked, sent, "{name}: forks are what came");
            let (first, last) = (lengths.decoded[0].0, lengths.decoded.last().unwrap());
            let samples: usize = lengths.decoded.iter().map(|(_, length)| length / 2).sum();
            // To a millisecond, as that is what a timestamp tells.
            assert!((samples as u64 / 8).abs_diff(last.0 + 20 - first) <= 1, "{name}: {samples} samples");
            assert!(lengths.passed.windows(2).all(|two| two[1].0 > two[0].0), "{name}: time goes on");
            assert_eq!(
                (stats.packets_undecodable, stats.packets_unencodable, stats.resyncs),
                (0, 0, 0),
                "{name}"
            );
        }
    }
}
