//! A sink that keeps everything, and a virtual clock.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "shared by several tests"
)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_media::{
    AppHeard, ByteOrder, Codec, Event, ForkParams, Format, FrameKind, InbandDtmf, LegParams, MediaLeg,
    OpusSettings, PlayId, PlayParams, Port, Refused, RelayQueue, Relayed, Sink, SpeechParams, StreamParams,
    TapId, Track,
};
use offhook_rtp::{RtpHeader, SeqNo};
use serde_json::Value;

pub const STREAM: TapId = TapId(1);
pub const FORK: TapId = TapId(2);
pub const SPEECH: TapId = TapId(3);
pub const RECORDING: TapId = TapId(4);

#[derive(Debug, Default)]
pub struct Record {
    pub now_ms: u64,
    pub sent: Vec<(u64, Port, SocketAddr, Vec<u8>)>,
    pub forked: Vec<(SocketAddr, Vec<u8>)>,
    pub frames: Vec<(FrameKind, Value)>,
    pub audio: Vec<(TapId, u64, Vec<i16>)>,
    pub recorded: Vec<(TapId, u64, Vec<i16>)>,
    pub events: Vec<Event>,
    pub relayed: RelayQueue,
}

impl Sink for Record {
    fn transmit(&mut self, port: Port, to: SocketAddr, datagram: &[u8]) {
        self.sent.push((self.now_ms, port, to, datagram.to_vec()));
    }

    fn fork(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.forked.push((to, datagram.to_vec()));
    }

    fn stream_frame(&mut self, _tap: TapId, kind: FrameKind, json: &[u8]) {
        self.frames.push((kind, serde_json::from_slice(json).unwrap()));
    }

    fn audio(&mut self, tap: TapId, at_ms: u64, pcm: &[i16]) {
        self.audio.push((tap, at_ms, pcm.to_vec()));
    }

    fn relay(&mut self, item: Relayed<'_>) {
        self.relayed.push(item);
    }

    fn recorded(&mut self, tap: TapId, at: u64, pcm: &[i16]) {
        self.recorded.push((tap, at, pcm.to_vec()));
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Record {
    /// RTP that was sent, without RTCP: time, marker, payload type, number, timestamp, payload.
    pub fn rtp(&self) -> Vec<SentRtp> {
        self.sent
            .iter()
            .filter(|(_, port, _, datagram)| *port == Port::Rtp && !offhook_rtp::is_rtcp(datagram))
            .map(|(ms, _, _, datagram)| {
                let packet = offhook_rtp::RtpPacket::parse(datagram).unwrap();
                SentRtp {
                    ms: *ms,
                    marker: packet.marker,
                    payload_type: packet.payload_type,
                    seq: packet.seq,
                    timestamp: packet.timestamp,
                    payload: packet.payload.to_vec(),
                }
            })
            .collect()
    }

    pub fn media_frames(&self, track: &str) -> Vec<Frame> {
        let of_track = |(_, frame): &(FrameKind, Value)| {
            let media = &frame["media"];
            (frame["event"] == "media" && media["track"] == track).then(|| Frame {
                sequence_number: number(&frame["sequence_number"]),
                chunk: number(&media["chunk"]),
                timestamp_ms: number(&media["timestamp"]),
                payload: decode(media["payload"].as_str().unwrap()),
            })
        };
        self.frames.iter().filter_map(of_track).collect()
    }

    pub fn events_named(&self, event: &str) -> Vec<&Value> {
        self.frames.iter().map(|(_, frame)| frame).filter(|frame| frame["event"] == event).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRtp {
    pub ms: u64,
    pub marker: bool,
    pub payload_type: u8,
    pub seq: SeqNo,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub sequence_number: u64,
    pub chunk: u64,
    pub timestamp_ms: u64,
    pub payload: Vec<u8>,
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// A leg on a virtual clock.
pub struct Bench {
    pub start: Instant,
    pub leg: MediaLeg,
    pub record: Record,
    pub plays: u64,
}

pub fn phone() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

pub fn phone_rtcp() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4001))
}

pub fn stranger() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 9], 5000))
}

pub fn fork_rx() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], 7000))
}

pub fn fork_tx() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], 7002))
}

pub fn leg_params() -> LegParams {
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
        remote_rtp: phone(),
        remote_rtcp: phone_rtcp(),
        rtcp_mux: false,
        sending: true,
        receiving: true,
        silence_when_idle: false,
        keepalive: Duration::ZERO,
        media_timeout: None,
    }
}

pub fn pcmu() -> Format {
    Codec::Pcmu.into()
}

pub fn l16(sample_rate_hz: u32) -> Format {
    Format::L16 { sample_rate_hz, byte_order: ByteOrder::Little }
}

pub fn stream_params() -> StreamParams {
    StreamParams {
        rx: true,
        tx: true,
        format: pcmu(),
        app_format: None,
        app_heard: AppHeard::Own,
        binary_media: false,
        frame_ms: 20,
        stream_id: "stream-1".to_owned(),
        connected_json: r#"{"event":"connected","version":"1.0.0"}"#.to_owned(),
        start_json: r#"{"call_control_id":"c"}"#.to_owned(),
        stop_json: r#"{"call_control_id":"c"}"#.to_owned(),
        buffer_ms: 1000,
        fill_gaps: true,
    }
}

pub fn packet(seq: u16, timestamp: u32, ssrc: u32, payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    RtpHeader { marker: false, payload_type, seq: SeqNo(seq), timestamp, ssrc }.write(&mut datagram);
    datagram.extend_from_slice(payload);
    datagram
}

impl Bench {
    pub fn new(params: LegParams) -> Self {
        let mut bench = Self::unconnected();
        bench.leg.connect(bench.start, params).unwrap();
        bench
    }

    pub fn unconnected() -> Self {
        let start = Instant::now();
        let unix = Duration::from_secs(1_795_420_800);
        Self { start, leg: MediaLeg::new(start, unix, 42), record: Record::default(), plays: 0 }
    }

    pub fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    pub fn now(&self) -> Instant {
        self.at(self.record.now_ms)
    }

    /// Let time pass up to `ms`, waking the leg exactly when it asks.
    pub fn run_to(&mut self, ms: u64) {
        let end = self.at(ms);
        while let Some(due) = self.leg.poll_timeout().filter(|due| *due <= end) {
            let at = u64::try_from((due - self.start).as_millis()).unwrap();
            self.record.now_ms = self.record.now_ms.max(at);
            let now = due.max(self.now());
            self.leg.handle_timeout(now, &mut self.record);
            let again = self.leg.poll_timeout();
            assert!(again.is_none_or(|again| again > due), "a deadline that was served must move");
        }
        self.record.now_ms = ms;
    }

    /// A datagram from `source`, at `ms`.
    pub fn receive_from(&mut self, ms: u64, source: SocketAddr, datagram: &[u8]) {
        self.run_to(ms);
        self.leg.receive_rtp(self.at(ms), source, datagram, &mut self.record);
    }

    pub fn receive(&mut self, ms: u64, datagram: &[u8]) {
        self.receive_from(ms, phone(), datagram);
    }

    /// Packet `n` of 20 ms of PCMU, all bytes `n`, when it is due.
    pub fn voice(&mut self, n: u16) {
        let datagram =
            packet(1000_u16.wrapping_add(n), 5000 + u32::from(n) * 160, 7, 0, &[n.to_le_bytes()[0]; 160]);
        self.receive(u64::from(n) * 20, &datagram);
    }

    /// Queue audio to be heard once, behind what waits; the ids count from 1.
    pub fn play(&mut self, pcm: &[i16], sample_rate_hz: u32) {
        self.plays += 1;
        let params = PlayParams { pcm: pcm.to_vec(), sample_rate_hz, loops: 1, overlay: false };
        self.try_play(self.plays, params).unwrap();
    }

    pub fn try_play(&mut self, id: u64, params: PlayParams) -> Result<(), Refused> {
        self.leg.play(self.now(), PlayId(id), params)
    }

    pub fn stop_play(&mut self, id: u64) -> Result<(), Refused> {
        self.leg.stop_play(self.now(), PlayId(id), &mut self.record)
    }

    /// What began and ended to be played: each begin as its id alone, each end with its length.
    pub fn plays(&self) -> Vec<(u64, Option<(u64, bool)>)> {
        let told = |event: &Event| match event {
            Event::PlayStarted { play } => Some((play.0, None)),
            Event::PlayEnded { play, played_ms, completed } => Some((play.0, Some((*played_ms, *completed)))),
            _ => None,
        };
        self.record.events.iter().filter_map(told).collect()
    }

    pub fn add_stream(&mut self, params: StreamParams) {
        let now = self.now();
        self.leg.add_stream(now, STREAM, params).unwrap();
        self.leg.stream_connected(now, STREAM, &mut self.record).unwrap();
        self.leg.begin_stream(now, STREAM, &mut self.record).unwrap();
    }

    pub fn add_fork(&mut self) {
        let params = ForkParams { rx: Some(fork_rx()), tx: Some(fork_tx()), strep: None };
        self.leg.add_fork(self.now(), FORK, params).unwrap();
    }

    pub fn add_speech(&mut self, track: Track, sample_rate_hz: u32, chunk_ms: u32) {
        self.add_speech_with(SpeechParams { track, sample_rate_hz, chunk_ms, skip_own: false });
    }

    pub fn add_speech_with(&mut self, params: SpeechParams) {
        self.leg.add_speech(self.now(), SPEECH, params).unwrap();
    }
}
