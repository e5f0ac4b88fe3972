//! Bodies of the fuzz targets; a unit test runs them too. They assert promises, not only survival.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_codec::{ByteOrder, Codec, Format, OpusSettings};
use offhook_rtp::{RtpHeader, SeqNo, TelephoneEvent};
use serde_json::Value;

use crate::app_frame::{self, AppFrame};
use crate::frame::FrameWriter;
use crate::{
    AppFormat, AppHeard, Event, ForkParams, FrameKind, InbandDtmf, LegParams, MediaLeg, PlayId, PlayParams,
    Port, Relayed, Sink, SpeechParams, StreamParams, TapId, Track,
};

/// A mark that is understood comes back under the same name.
///
/// # Panics
/// When a promise is broken.
pub fn app_frame(text: &str) {
    if let Ok(AppFrame::Mark(name)) = app_frame::parse(text) {
        let mut writer = FrameWriter::new("s");
        let frame: Option<Value> = serde_json::from_slice(writer.mark(&name)).ok();
        let echoed = frame.as_ref().and_then(|frame| frame.get("mark")?.get("name")?.as_str());
        assert!(echoed == Some(&name), "a mark keeps its name");
    }
}

/// Runs a leg by a script of bytes and checks what it promises to its owner.
///
/// # Panics
/// When a promise is broken.
pub fn media_leg(start: Instant, script: &[u8]) {
    let mut run = Run {
        now: start,
        leg: MediaLeg::new(start, Duration::from_secs(1_700_000_000), 1),
        watch: Watch::default(),
        taps: 0,
        plays: 0,
        seq: 0,
        timestamp: 0,
    };
    let mut rest = script;
    while let Some((&[op, a, b, c], after)) = rest.split_first_chunk::<4>() {
        rest = run.step(op, a, b, c, after);
        run.pass_time(u64::from(c & 0x3f));
    }
    run.leg.close(run.now, &mut run.watch);
    assert!(run.leg.poll_timeout().is_none(), "a closed leg waits for nothing");
    assert!(run.watch.open.values().all(|open| *open == 0), "every tap is closed exactly once");
    assert!(run.watch.plays.is_empty(), "every play is ended exactly once");
}

struct Run {
    now: Instant,
    leg: MediaLeg,
    watch: Watch,
    taps: u64,
    plays: u64,
    seq: u16,
    timestamp: u32,
}

impl Run {
    /// Do one thing; gives back what is left of the script.
    fn step<'a>(&mut self, op: u8, a: u8, b: u8, c: u8, rest: &'a [u8]) -> &'a [u8] {
        let (now, watch) = (self.now, &mut self.watch);
        let tap = TapId(u64::from(a & 7));
        match op % 16 {
            0 => drop(self.leg.connect(now, leg_params(a, b))),
            1 => self.add_tap(a, b),
            2 => {
                if self.leg.remove_tap(now, TapId(u64::from(a)), "command", watch).is_err() {
                    watch.refused += 1;
                }
            }
            3 => {
                let (bytes, after) = rest.split_at_checked(usize::from(b)).unwrap_or((rest, &[]));
                self.leg.receive_rtp(now, source(a), bytes, watch);
                return after;
            }
            4 => {
                let (bytes, after) = rest.split_at_checked(usize::from(b)).unwrap_or((rest, &[]));
                self.leg.receive_rtcp(now, source(a), bytes, watch);
                return after;
            }
            5 => {
                let (bytes, after) = rest.split_at_checked(usize::from(b)).unwrap_or((rest, &[]));
                self.leg.receive_stream_text(now, tap, &String::from_utf8_lossy(bytes), watch);
                return after;
            }
            6 => self.play(a, b, c),
            7 => drop(self.leg.send_digits(now, "1*D", u32::from(a) * 8, u32::from(b))),
            8 => drop(self.leg.stop_play(now, PlayId(u64::from(a & 15)), watch)),
            9 => drop(self.leg.stream_connected(now, tap, watch)),
            10 => drop(self.leg.begin_stream(now, tap, watch)),
            11 if b & 3 == 3 => self.leg.stream_lost(now, tap),
            11 => self.leg.stream_writable(now, tap, b & 1 == 0, watch),
            12 => self.pass_time(u64::from(b) * u64::from(c) / 16),
            13 => self.bridge(a, b, c),
            _ => self.packet(op, a, b, c),
        }
        rest
    }

    /// Bridge the leg, part it, or give it something of another leg.
    fn bridge(&mut self, a: u8, b: u8, c: u8) {
        let (seq, timestamp) = (u16::from_be_bytes([a & 1, b]), u32::from_be_bytes([a, b, c, b]));
        let payload: Vec<u8> = (0..b).map(|n| n ^ c).collect();
        let pcm = vec![i16::from(c) << 8; usize::from(b) * 4];
        let at = u64::from(a) * u64::from(b) * 100_000;
        let format = match c % 4 {
            0 => Codec::Pcma.into(),
            1 => Format::Opus { sample_rate_hz: 48_000 },
            _ => Codec::Pcmu.into(),
        };
        let event =
            TelephoneEvent { event: b & 31, end: c & 1 == 0, volume: 10, duration: u16::from(c) * 200 };
        let item = match a % 8 {
            0 => {
                // Refused once it is closed.
                let _ = self.leg.bridge(self.now, b & 1 == 0);
                return;
            }
            1 => return self.leg.unbridge(self.now),
            2 | 3 => Relayed::Packet { marker: b & 1 == 0, seq, timestamp, format, payload: &payload },
            4 => Relayed::Audio { here: at, at: at / 2, ticks: 141_120, format, payload: &payload },
            5 => Relayed::Key { seq, timestamp, clock_rate_hz: u32::from(c) * 1000, event },
            6 => Relayed::Gap { seq },
            _ => Relayed::Said { rate_hz: played_rate_hz(c), pcm: &pcm },
        };
        self.leg.receive_relayed(self.now, item, &mut self.watch);
    }

    fn play(&mut self, a: u8, b: u8, c: u8) {
        let params = PlayParams {
            pcm: vec![i16::from(a) << 7; usize::from(b) * 16],
            sample_rate_hz: played_rate_hz(c),
            loops: u32::from(c >> 4 & 3),
            overlay: c & 4 != 0,
        };
        if self.leg.play(self.now, PlayId(self.plays), params).is_ok() {
            self.watch.plays.insert(PlayId(self.plays), false);
        }
        self.plays += 1;
    }

    /// A well-formed packet, mostly the next in line, sometimes not.
    fn packet(&mut self, op: u8, a: u8, b: u8, c: u8) {
        let jump = op & 0x70 == 0x70;
        self.seq = self.seq.wrapping_add(if jump { u16::from_be_bytes([a, b]) } else { u16::from(c % 4) });
        self.timestamp = self.timestamp.wrapping_add(if jump { u32::from(b) << (c % 25) } else { 160 });
        let payload_type = if a % 8 == 7 { 101 } else { 0 };
        let header = RtpHeader {
            marker: jump,
            payload_type,
            seq: SeqNo(self.seq),
            timestamp: self.timestamp,
            ssrc: u32::from(a > 250),
        };
        let mut datagram = Vec::new();
        header.write(&mut datagram);
        // Some of it is what a codec would send, much is not.
        datagram.extend((0..b).map(|n| a ^ n.wrapping_mul(c)));
        self.leg.receive_rtp(self.now, source(a & 1), &datagram, &mut self.watch);
    }

    fn add_tap(&mut self, a: u8, b: u8) {
        let tap = TapId(self.taps);
        let added = match a % 3 {
            0 => self.leg.add_fork(
                self.now,
                tap,
                ForkParams { rx: Some(source(0)), tx: Some(source(1)), strep: None },
            ),
            1 => self.leg.add_stream(self.now, tap, stream_params(b)),
            _ => self.leg.add_speech(
                self.now,
                tap,
                SpeechParams {
                    track: if b & 1 == 0 { Track::Rx } else { Track::Tx },
                    sample_rate_hz: if b & 2 == 0 { 8000 } else { 16_000 },
                    chunk_ms: u32::from(b).max(10),
                    skip_own: b & 4 != 0,
                },
            ),
        };
        if added.is_ok() {
            self.taps += 1;
            self.watch.open.insert(tap, 1);
        }
    }

    fn pass_time(&mut self, ms: u64) {
        let Some(end) = self.now.checked_add(Duration::from_millis(ms)) else { return };
        for _ in 0..10_000 {
            let Some(due) = self.leg.poll_timeout().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.leg.handle_timeout(self.now, &mut self.watch);
            assert!(self.leg.poll_timeout() != Some(due), "a deadline that was served must move");
        }
        self.now = end;
    }
}

/// Checks what comes out.
#[derive(Default)]
struct Watch {
    open: BTreeMap<TapId, u32>,
    sequence: BTreeMap<TapId, u64>,
    audio_end: BTreeMap<TapId, u64>,
    /// Those that have not ended, and whether they have started.
    plays: BTreeMap<PlayId, bool>,
    refused: u64,
}

impl Sink for Watch {
    fn transmit(&mut self, _port: Port, _to: SocketAddr, datagram: &[u8]) {
        assert!(!datagram.is_empty(), "nothing empty is sent");
    }

    fn fork(&mut self, _to: SocketAddr, datagram: &[u8]) {
        assert!(!datagram.is_empty(), "nothing empty is forked");
    }

    fn stream_frame(&mut self, tap: TapId, _kind: FrameKind, json: &[u8]) {
        let frame: Option<Value> = serde_json::from_slice(json).ok();
        let text = |key| frame.as_ref().and_then(|frame: &Value| frame.get(key)).and_then(Value::as_str);
        let event = text("event");
        assert!(event.is_some(), "every frame is JSON with an event");
        if event == Some("connected") {
            self.sequence.insert(tap, 0);
        } else if let Some(number) = text("sequence_number").and_then(|number| number.parse::<u64>().ok()) {
            let before = self.sequence.insert(tap, number);
            assert!(before == Some(number.wrapping_sub(1)), "sequence numbers have no gap");
        } else {
            assert!(event == Some("error"), "only errors have no number");
        }
    }

    fn audio(&mut self, tap: TapId, at_ms: u64, pcm: &[i16]) {
        assert!(!pcm.is_empty(), "no chunk is empty");
        let before = self.audio_end.insert(tap, at_ms);
        assert!(before.is_none_or(|before| before <= at_ms), "audio never goes back");
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::TapClosed { tap, .. } => {
                let open = self.open.insert(tap, 0);
                assert!(open == Some(1), "a tap is closed once");
            }
            Event::PlayStarted { play } => {
                assert!(self.plays.insert(play, true) == Some(false), "a play starts once, before its end");
            }
            Event::PlayEnded { play, played_ms, completed } => {
                let started = self.plays.remove(&play);
                assert!(started.is_some(), "a play is ended once");
                assert!(
                    started == Some(true) || (!completed && played_ms == 0),
                    "only what started is heard"
                );
            }
            _ => {}
        }
    }
}

fn source(a: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + (a & 1)], 4000))
}

fn leg_params(a: u8, b: u8) -> LegParams {
    let format = format(b >> 4);
    LegParams {
        format,
        opus: OpusSettings { inband_fec: a & 1 != 0, ..OpusSettings::default() },
        amr_modes: u16::from(a),
        payload_type: 0,
        clock_rate_hz: format.clock_rate_hz(),
        // Mostly one that every format has.
        ptime_ms: if b & 8 == 0 { 20 } else { u32::from(b) },
        dtmf_clock_rate_hz: format.clock_rate_hz(),
        inband_dtmf: [InbandDtmf::Auto, InbandDtmf::On, InbandDtmf::Off, InbandDtmf::On]
            .get(usize::from(a >> 6))
            .copied()
            .unwrap_or_default(),
        dtmf_payload_type: (a & 1 == 0).then_some(101),
        remote_rtp: source(0),
        remote_rtcp: source(0),
        rtcp_mux: a & 2 != 0,
        sending: a & 4 == 0,
        receiving: a & 8 == 0,
        silence_when_idle: a & 16 != 0,
        keepalive: Duration::from_millis(u64::from(a & 32) * 20),
        media_timeout: (a & 64 != 0).then_some(Duration::from_millis(500)),
    }
}

fn stream_params(b: u8) -> StreamParams {
    StreamParams {
        rx: b & 1 == 0,
        tx: b & 2 == 0,
        format: format(b >> 2),
        app_format: (b & 16 == 0).then(|| if b & 32 == 0 { AppFormat::Mp3 } else { format(b >> 1).into() }),
        app_heard: if b & 64 == 0 { AppHeard::Own } else { AppHeard::OtherOnly },
        binary_media: b & 128 != 0,
        frame_ms: 20 + u32::from(b & 0x1f),
        stream_id: "s".to_owned(),
        connected_json: r#"{"event":"connected"}"#.to_owned(),
        start_json: "{}".to_owned(),
        stop_json: "{}".to_owned(),
        buffer_ms: u32::from(b) * 4,
        fill_gaps: b & 8 == 0,
    }
}

/// One of them is none.
const fn played_rate_hz(c: u8) -> u32 {
    match c & 3 {
        0 => 8000,
        1 => 22_050,
        2 => 48_000,
        _ => 11_000,
    }
}

fn format(b: u8) -> Format {
    match b & 15 {
        0..=3 => Format::G711(Codec::Pcmu),
        4 | 5 => Format::G711(Codec::Pcma),
        6 | 7 => Format::G722,
        8 => Format::Opus { sample_rate_hz: 48_000 },
        9 => Format::Opus { sample_rate_hz: 16_000 },
        10 | 11 => Format::AmrWb { octet_align: b & 1 == 0 },
        12 => Format::L16 { sample_rate_hz: 8000, byte_order: ByteOrder::Big },
        13 => Format::L16 { sample_rate_hz: 48_000, byte_order: ByteOrder::Little },
        _ => Format::L16 { sample_rate_hz: 22_050, byte_order: ByteOrder::Little },
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn a_leg_keeps_its_promises_over_the_corpus() {
        let start = Instant::now();
        for round in 0..400 {
            let mut seed = Seed::new(round);
            // Connected, with a stream that is begun, a fork and speech: then anything.
            let mut script = vec![0, 16, 20, 0, 1, 1, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 1, 2, 2, 0];
            if round % 4 == 0 {
                script.clear();
            }
            for _ in 0..100 + seed.next_u64() % 200 {
                script.extend_from_slice(&seed.next_u32().to_le_bytes());
            }
            media_leg(start, &script);
        }
    }

    #[test]
    fn app_frames_hold_over_the_corpus() {
        let starts =
            ["", "{", r#"{"event":"mark","mark":{"name":""#, r#"{"event":"media","media":{"payload":""#];
        for round in 0..5000_usize {
            let mut seed = Seed::new(round as u64);
            let mut text = starts[round % 4].to_owned();
            for _ in 0..seed.next_u64() % 40 {
                text.push(char::from(seed.next_u64().to_le_bytes()[0]));
            }
            text.push_str("\"}}");
            app_frame(&text);
        }
    }
}
