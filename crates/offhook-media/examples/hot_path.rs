//! Prints what one packet received and one frame of an application cost in user space:
//! `cargo run --release --example hot_path`. With a number of packets and the name of a case it does only
//! that, so that a tool can count instructions: what two numbers differ by is the cost of a packet.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::print_stdout, reason = "a measurement")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook_codec::Encoder;
use offhook_media::{
    AppHeard, ByteOrder, Codec, Event, ForkParams, Format, FrameKind, InbandDtmf, LegParams, MediaLeg,
    OpusSettings, Port, Sink, SpeechParams, StreamParams, TapId, Track,
};
use offhook_rtp::{RtpHeader, SeqNo};

const PACKETS: u32 = 1_000_000;

struct Count(usize);

impl Sink for Count {
    fn transmit(&mut self, _: Port, _: SocketAddr, datagram: &[u8]) {
        self.0 += datagram.len();
    }
    fn fork(&mut self, _: SocketAddr, datagram: &[u8]) {
        self.0 += datagram.len();
    }
    fn stream_frame(&mut self, _: TapId, _: FrameKind, json: &[u8]) {
        self.0 += json.len();
    }
    fn audio(&mut self, _: TapId, _: u64, pcm: &[i16]) {
        self.0 += pcm.len();
    }
    fn event(&mut self, _: Event) {}
}

fn main() {
    let phone = SocketAddr::from(([192, 0, 2, 1], 4000));
    let mut arguments = std::env::args().skip(1);
    let packets = arguments.next().map_or(PACKETS, |count| count.parse().expect("a number of packets"));
    let only = arguments.next();
    for (name, stream, fork, speech, tones) in [
        ("no tap", false, false, false, false),
        ("stream", true, false, false, false),
        ("fork", false, true, false, false),
        ("speech 16 kHz", false, false, true, false),
        ("stream, fork and speech", true, true, true, false),
        ("in-band DTMF", false, false, false, true),
        ("stream and in-band DTMF", true, false, false, true),
    ] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let start = Instant::now();
        let mut sink = Count(0);
        let mut leg = MediaLeg::new(start, Duration::ZERO, 1);
        let inband_dtmf = if tones { InbandDtmf::On } else { InbandDtmf::Auto };
        leg.connect(start, LegParams { inband_dtmf, ..leg_params(phone) }).expect("good parameters");
        if stream {
            leg.add_stream(start, TapId(1), stream_params()).expect("room");
            leg.stream_connected(start, TapId(1), &mut sink).expect("stream");
            leg.begin_stream(start, TapId(1), &mut sink).expect("stream");
        }
        if fork {
            let params = ForkParams { rx: Some(phone), tx: None, strep: None };
            leg.add_fork(start, TapId(2), params).expect("room");
        }
        if speech {
            let params =
                SpeechParams { track: Track::Rx, sample_rate_hz: 16_000, chunk_ms: 100, skip_own: false };
            leg.add_speech(start, TapId(3), params).expect("room");
        }
        let mut datagram = vec![0; 172];
        let mut now = start;
        let begun = Instant::now();
        for n in 0..packets {
            let [_, _, high, low] = n.to_be_bytes();
            let seq = SeqNo(u16::from_be_bytes([high, low]));
            let header =
                RtpHeader { marker: false, payload_type: 0, seq, timestamp: n.wrapping_mul(160), ssrc: 7 };
            if let Some(room) = datagram.first_chunk_mut::<12>() {
                *room = header.to_bytes();
            }
            now += Duration::from_millis(20);
            leg.receive_rtp(now, phone, black_box(&datagram), &mut sink);
            black_box(leg.poll_timeout());
        }
        let each = begun.elapsed() / packets;
        println!("{name:<24} {:>5} ns a packet  ({} bytes out)", each.as_nanos(), sink.0);
    }
    if only.is_some() {
        return;
    }
    for from in formats() {
        for to in formats() {
            transcoding(phone, from, to);
        }
    }
    for frame_ms in [20, 1000, 30_000] {
        let pcmu: Format = Codec::Pcmu.into();
        app_frames(phone, "app, PCMU", pcmu, frame_ms);
        for sample_rate_hz in [16_000, 48_000] {
            let l16 = Format::L16 { sample_rate_hz, byte_order: ByteOrder::Little };
            app_frames(phone, &format!("app, L16 {sample_rate_hz}"), l16, frame_ms);
        }
    }
}

/// What a leg and a stream may have on this system.
fn formats() -> Vec<Format> {
    let formats = [
        Codec::Pcmu.into(),
        Format::G722,
        Format::Opus { sample_rate_hz: 48_000 },
        Format::Opus { sample_rate_hz: 16_000 },
        Format::AmrWb { octet_align: true },
        Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Big },
    ];
    formats.into_iter().filter(|format| format.transcodable()).collect()
}

/// What one packet of 20 ms costs on its way into a stream.
fn transcoding(phone: SocketAddr, from: Format, to: Format) {
    let packets = 500;
    let start = Instant::now();
    let mut sink = Count(0);
    let mut leg = MediaLeg::new(start, Duration::ZERO, 1);
    let clock_rate_hz = from.clock_rate_hz();
    leg.connect(start, LegParams { format: from, clock_rate_hz, ..leg_params(phone) })
        .expect("good parameters");
    leg.add_stream(start, TapId(1), StreamParams { format: to, ..stream_params() }).expect("room");
    leg.stream_connected(start, TapId(1), &mut sink).expect("stream");
    leg.begin_stream(start, TapId(1), &mut sink).expect("stream");
    let mut encoder = Encoder::new(from).expect("a format of this system");
    let pcm: Vec<i16> = (0..from.samples(20)).map(|n| i16::try_from(n * 37 % 9000).unwrap_or(0)).collect();
    let mut spent = Duration::ZERO;
    for n in 0..packets {
        let [_, _, high, low] = u32::to_be_bytes(n);
        let seq = SeqNo(u16::from_be_bytes([high, low]));
        let timestamp = n * from.clock_ticks(20);
        let mut datagram = Vec::new();
        RtpHeader { marker: false, payload_type: 0, seq, timestamp, ssrc: 7 }.write(&mut datagram);
        encoder.encode(&pcm, &mut datagram).expect("a whole frame");
        let begun = Instant::now();
        leg.receive_rtp(start + Duration::from_millis(20) * n, phone, &datagram, &mut sink);
        spent += begun.elapsed();
    }
    let name = |format: Format| format!("{} {}", format.name(), format.sample_rate_hz());
    println!("{:<12} to {:<12} {:>6} ns a packet", name(from), name(to), (spent / packets).as_nanos());
}

/// What an application says, in frames of `frame_ms`: taking each, and sending it in packets of 20 ms.
fn app_frames(phone: SocketAddr, name: &str, format: Format, frame_ms: u32) {
    let start = Instant::now();
    let mut sink = Count(0);
    let mut leg = MediaLeg::new(start, Duration::ZERO, 1);
    leg.connect(start, leg_params(phone)).expect("good parameters");
    leg.add_stream(start, TapId(1), StreamParams { app_format: Some(format.into()), ..stream_params() })
        .expect("room");
    leg.stream_connected(start, TapId(1), &mut sink).expect("stream");
    leg.begin_stream(start, TapId(1), &mut sink).expect("stream");
    let bytes = format.payload_bytes(frame_ms).unwrap_or(0);
    let audio: Vec<u8> = (0..bytes).map(|n| n.to_le_bytes()[0]).collect();
    let frame = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, STANDARD.encode(audio));
    let frames = (200_000 / frame_ms).max(3);
    let mut now = start;
    let (mut taking, mut sending) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..frames {
        let begun = Instant::now();
        leg.receive_stream_text(now, TapId(1), black_box(&frame), &mut sink);
        taking += begun.elapsed();
        let begun = Instant::now();
        for _ in 0..frame_ms / 20 {
            leg.handle_timeout(now, &mut sink);
            now += Duration::from_millis(20);
        }
        sending += begun.elapsed();
    }
    let per_frame = taking / frames;
    let per_packet = sending / (frames * (frame_ms / 20));
    println!(
        "{name:<24} {:>7} ns a frame of {frame_ms} ms, {:>5} ns a packet  ({} bytes out)",
        per_frame.as_nanos(),
        per_packet.as_nanos(),
        sink.0
    );
}

fn leg_params(phone: SocketAddr) -> LegParams {
    LegParams {
        format: Codec::Pcmu.into(),
        opus: OpusSettings::default(),
        amr_modes: 0,
        payload_type: 0,
        clock_rate_hz: 8000,
        ptime_ms: 20,
        dtmf_payload_type: Some(101),
        dtmf_clock_rate_hz: 8000,
        inband_dtmf: InbandDtmf::Auto,
        remote_rtp: phone,
        remote_rtcp: phone,
        rtcp_mux: true,
        sending: true,
        receiving: true,
        silence_when_idle: false,
        keepalive: Duration::ZERO,
        media_timeout: Some(Duration::from_secs(60)),
    }
}

fn stream_params() -> StreamParams {
    StreamParams {
        rx: true,
        tx: false,
        format: Codec::Pcmu.into(),
        app_format: None,
        app_heard: AppHeard::Own,
        binary_media: false,
        frame_ms: 20,
        stream_id: "32de0dea-53cb-4b21-89a4-9e1819c043bc".to_owned(),
        connected_json: r#"{"event":"connected","version":"1.0.0"}"#.to_owned(),
        start_json: "{}".to_owned(),
        stop_json: "{}".to_owned(),
        buffer_ms: 5000,
        fill_gaps: true,
    }
}
