//! What the owner of a leg may ask for.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_codec::{Format, OpusSettings};

use crate::backlog::AppFormat;
use crate::frame::is_json_object;
use crate::lane::passes;
use crate::limits::{RECORDING_MS_MAX, STREAM_BUFFER_MS_MAX};
use crate::recording::is_recording_rate;
use crate::relayed::AppHeard;

/// Names one tap of one leg; chosen by the caller, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TapId(pub u64);

/// Names one play of one leg; chosen by the caller, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayId(pub u64);

/// Sample rates that can be played: those of wav and mp3 files.
pub const PLAYED_RATES_HZ: [u32; 9] = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// One direction of a leg's audio, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    /// From the phone to us.
    Rx,
    /// From us to the phone.
    Tx,
}

/// What offer and answer agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact of the SDP")]
pub struct LegParams {
    /// The audio format, the same in both directions.
    pub format: Format,
    /// How we encode, if it is Opus.
    pub opus: OpusSettings,
    /// The AMR-WB modes we may send, one bit each; zero for all.
    pub amr_modes: u16,
    /// Its payload type.
    pub payload_type: u8,
    /// Its RTP clock.
    pub clock_rate_hz: u32,
    /// Audio per packet that we send.
    pub ptime_ms: u32,
    /// Payload type of telephone-event, if agreed.
    pub dtmf_payload_type: Option<u8>,
    /// The clock that its durations are counted by.
    pub dtmf_clock_rate_hz: u32,
    /// Whether keys are told by their tones.
    pub inband_dtmf: InbandDtmf,
    /// Where the SDP says that RTP goes.
    pub remote_rtp: SocketAddr,
    /// Where the SDP says that RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// RTP and RTCP share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// We may send media.
    pub sending: bool,
    /// The far end may send media.
    pub receiving: bool,
    /// Send silence packets whenever nothing is played.
    pub silence_when_idle: bool,
    /// Time between two single silence packets when nothing is played; zero for none.
    pub keepalive: Duration,
    /// Report a silence of this length once; `None` for never.
    pub media_timeout: Option<Duration>,
}

/// When the tones of keys are listened for in the audio that is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InbandDtmf {
    /// When telephone-event was not agreed on, and the codec keeps tones as they are.
    #[default]
    Auto,
    /// Always, until the first telephone-event comes.
    On,
    /// Never.
    Off,
}

/// Where the packets of a leg are copied to, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkParams {
    /// Target of what the phone sends.
    pub rx: Option<SocketAddr>,
    /// Target of what we send.
    pub tx: Option<SocketAddr>,
    /// Put a STREP header in front of each packet (contract 5.2).
    pub strep: Option<Strep>,
}

/// What a STREP header says about the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strep {
    /// The 16 bytes of `call_leg_id`.
    pub leg_id: [u8; 16],
    /// This is the second leg of its session.
    pub b_leg: bool,
}

/// A stream of JSON frames to an application (contract 4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate choice")]
pub struct StreamParams {
    /// Stream what the phone sends as track "inbound".
    pub rx: bool,
    /// Stream what we send as track "outbound".
    pub tx: bool,
    /// What the application is sent.
    pub format: Format,
    /// What the application may send to be heard by the far end; `None` when it may not.
    pub app_format: Option<AppFormat>,
    /// Who hears it; where that is nobody it is taken and dropped.
    pub app_heard: AppHeard,
    /// Binary messages of the application are audio, as the payload of its media frames is.
    pub binary_media: bool,
    /// Audio per media frame, 20 to 100 ms.
    pub frame_ms: u32,
    /// Goes into every frame.
    pub stream_id: String,
    /// The whole first frame.
    pub connected_json: String,
    /// Value of the key "start" of the start frame: a JSON object.
    pub start_json: String,
    /// Value of the key "stop" of the stop frame: a JSON object; the reason is added.
    pub stop_json: String,
    /// Audio kept while the stream is not begun or its socket is full.
    pub buffer_ms: u32,
    /// Fill short losses with silence; otherwise they are a jump of `timestamp`.
    pub fill_gaps: bool,
}

/// Audio for the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayParams {
    /// Mono, at least one sample.
    pub pcm: Vec<i16>,
    /// One of [`PLAYED_RATES_HZ`].
    pub sample_rate_hz: u32,
    /// How often it is heard; zero for ever.
    pub loops: u32,
    /// Mixed over what is played, not after it.
    pub overlay: bool,
}

/// Decoded audio of one track or both for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate choice")]
pub struct RecordingParams {
    /// What the phone sends is heard.
    pub rx: bool,
    /// What we send is heard.
    pub tx: bool,
    /// Two channels, rx first; otherwise both tracks are added up.
    pub dual: bool,
    /// 8000, 16000 or 24000.
    pub sample_rate_hz: u32,
    /// The length at which it ends; zero for none.
    pub max_ms: u64,
    /// The silence after something was heard at which it ends; zero for none.
    pub silence_timeout_ms: u64,
    /// Leave silence out at both ends.
    pub trim_silence: bool,
}

/// Decoded audio of one track for a recogniser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeechParams {
    /// Which track.
    pub track: Track,
    /// 8000 or 16000.
    pub sample_rate_hz: u32,
    /// Audio per chunk, 10 to 1000 ms.
    pub chunk_ms: u32,
    /// Leave out what applications play and say: of tx only what the other leg of a bridge says is left.
    pub skip_own: bool,
}

impl LegParams {
    /// Whether tones are to be listened for, as far as offer and answer say.
    pub(crate) fn hears_tones(&self) -> bool {
        self.receiving
            && match self.inband_dtmf {
                // Opus and AMR-WB are made for voices, and decoding them only for this costs most.
                InbandDtmf::Auto => {
                    self.dtmf_payload_type.is_none() && self.format.payload_bytes(20).is_some()
                }
                InbandDtmf::On => self.format.decodable(),
                InbandDtmf::Off => false,
            }
    }

    /// Whether a leg would take these; for callers that want to know at once.
    pub fn check(&self) -> Result<(), Refused> {
        let dtmf_wrong = |dtmf: u8| dtmf > 127 || dtmf == self.payload_type;
        first_wrong(&[
            (!self.format.is_possible(), "sample_rate_hz"),
            (self.clock_rate_hz != self.format.clock_rate_hz(), "clock_rate_hz"),
            (self.payload_type > 127, "payload_type"),
            (self.dtmf_payload_type.is_some_and(dtmf_wrong), "dtmf_payload_type"),
            (!(8000..=48_000).contains(&self.dtmf_clock_rate_hz), "dtmf_clock_rate_hz"),
            (!(5..=200).contains(&self.ptime_ms) || !is_framed(self.format, self.ptime_ms), "ptime_ms"),
        ])
    }
}

/// Whether audio of so many milliseconds makes whole frames of a format.
fn is_framed(format: Format, ms: u32) -> bool {
    match format {
        Format::Opus { .. } => matches!(ms, 20 | 40 | 60 | 80 | 100 | 120),
        Format::AmrWb { .. } => ms.is_multiple_of(20),
        Format::G711(_) | Format::G722 | Format::L16 { .. } => {
            (format.sample_rate_hz() * ms).is_multiple_of(1000)
        }
    }
}

impl PlayParams {
    /// Whether a leg would take these; for callers that want to know at once.
    pub fn check(&self) -> Result<(), Refused> {
        first_wrong(&[
            (!PLAYED_RATES_HZ.contains(&self.sample_rate_hz), "sample_rate_hz"),
            (self.pcm.is_empty(), "pcm"),
        ])
    }

    /// What it takes to keep it.
    pub fn bytes(&self) -> usize {
        self.pcm.len().saturating_mul(2)
    }
}

impl StreamParams {
    /// Whether a leg of this format (as far as known) would take these; for callers that want to know
    /// at once.
    pub fn check(&self, leg: Option<Format>) -> Result<(), Refused> {
        first_wrong(&[
            (!self.format.is_possible(), "sample_rate_hz"),
            (self.app_format.is_some_and(|format| !format.is_possible()), "app_sample_rate_hz"),
            (!(20..=100).contains(&self.frame_ms), "frame_ms"),
            (self.format.payload_bytes(20).is_none() && !is_framed(self.format, self.frame_ms), "frame_ms"),
            (self.buffer_ms > STREAM_BUFFER_MS_MAX, "buffer_ms"),
            (!is_json_object(&self.connected_json), "connected_json"),
            (!is_json_object(&self.start_json), "start_json"),
            (!is_json_object(&self.stop_json), "stop_json"),
        ])?;
        let sends = |leg| passes(leg, self.format) || (Format::decodable(leg) && self.format.encodable());
        let heard = |app: AppFormat| app.decodable() && leg.is_none_or(Format::encodable);
        if leg.is_none_or(sends) && self.app_format.is_none_or(heard) {
            Ok(())
        } else {
            Err(Refused::Untranscodable)
        }
    }
}

impl SpeechParams {
    /// Whether a leg of this format (as far as known) would take these; for callers that want to know
    /// at once.
    pub fn check(&self, leg: Option<Format>) -> Result<(), Refused> {
        if !leg.is_none_or(Format::decodable) {
            return Err(Refused::Untranscodable);
        }
        first_wrong(&[
            (!matches!(self.sample_rate_hz, 8000 | 16_000), "sample_rate_hz"),
            (!(10..=1000).contains(&self.chunk_ms), "chunk_ms"),
        ])
    }
}

impl RecordingParams {
    /// Channels of the file.
    pub const fn channels(&self) -> u16 {
        if self.dual { 2 } else { 1 }
    }

    /// Whether a leg of this format (as far as known) would take these; for callers that want to know
    /// at once.
    pub fn check(&self, leg: Option<Format>) -> Result<(), Refused> {
        if !leg.is_none_or(Format::decodable) {
            return Err(Refused::Untranscodable);
        }
        first_wrong(&[
            (!self.rx && !self.tx, "tracks"),
            (!is_recording_rate(self.sample_rate_hz), "sample_rate_hz"),
            (self.max_ms > RECORDING_MS_MAX, "max_ms"),
            (self.silence_timeout_ms > RECORDING_MS_MAX, "silence_timeout_ms"),
        ])
    }
}

fn first_wrong(checks: &[(bool, &'static str)]) -> Result<(), Refused> {
    match checks.iter().find(|(wrong, _)| *wrong) {
        Some((_, name)) => Err(Refused::OutOfRange(name)),
        None => Ok(()),
    }
}

/// Why a leg refuses a request; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The tap id is taken.
    #[error("this tap id is already in use on the leg")]
    TapExists,
    /// No such tap, or not of the right kind.
    #[error("the leg has no such tap")]
    NoSuchTap,
    /// The leg has as many taps as it may have.
    #[error("the leg has the most taps it may have")]
    TooManyTaps,
    /// The play id is taken.
    #[error("this play id is already in use on the leg")]
    PlayExists,
    /// No such play.
    #[error("the leg has no such play")]
    NoSuchPlay,
    /// The queue of audio to play is full.
    #[error("too many sounds would wait to be played, or too many bytes of them")]
    PlayoutFull,
    /// Too many digits wait.
    #[error("too many digits wait to be sent")]
    DigitsFull,
    /// Offer and answer have no telephone-event.
    #[error("telephone-event was not agreed on for this leg")]
    NoTelephoneEvent,
    /// AMR-WB would have to be transcoded, and this system has no libraries for it.
    #[error("AMR-WB is only passed through here: opencore-amrwb and vo-amrwbenc are not installed")]
    Untranscodable,
    /// The leg has been closed.
    #[error("the leg is closed")]
    Closed,
    /// A parameter is out of range; the text names it.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
}
