//! One leg's media as a state machine: datagrams and time in, packets, frames and events out.
//!
//! The owner of a [`MediaLeg`] gives it every datagram and every deadline, and a [`Sink`] for what
//! comes out. This crate knows no socket, no thread and no clock: `now` is always an argument.

pub mod limits;

mod app_frame;
mod backlog;
mod clock;
mod drift;
mod fork;
mod frame;
mod framer;
mod jitter;
mod keys;
mod lane;
mod leg;
mod lock;
mod outlet;
mod params;
mod patience;
mod piece;
mod player;
mod playout;
mod rate;
mod recording;
mod relay;
mod relayed;
mod reorder;
mod report;
mod rx;
mod seed;
mod silence;
mod sink;
mod slip;
mod speech;
mod stats;
mod stream;
mod taps;
mod tx;
mod voice;

#[doc(hidden)]
pub mod fuzzing;

pub use backlog::AppFormat;
pub use leg::MediaLeg;
pub use offhook_codec::{
    ByteOrder, Codec, Format, L16_RATES_HZ, OPUS_RATES_HZ, OpusSettings, SoundDecoder, SoundError,
    SoundFormat, decode_sound,
};
pub use params::{
    ForkParams, InbandDtmf, LegParams, PLAYED_RATES_HZ, PlayId, PlayParams, RecordingParams, Refused,
    SpeechParams, StreamParams, Strep, TapId, Track,
};
pub use relay::can_bridge;
pub use relayed::{AppHeard, RelayQueue, Relayed};
pub use sink::{Event, FrameKind, Port, Sink};
pub use stats::{LegStats, TapKind, TapStats};
