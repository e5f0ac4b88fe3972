//! Offhook's media workers: sockets, threads and clocks around [`offhook_media::MediaLeg`].
//!
//! An [`Engine`] has a few worker threads; a leg lives on one of them from `open_leg` to its
//! `LegClosed`. Each worker waits on one epoll for the RTP sockets, the stream sockets and the
//! commands of its legs, so that a packet goes from the socket through the media leg to fork targets
//! and stream sockets without a task switch, a lock or a log line. Connections are opened by one more
//! thread, because a TLS handshake would delay other people's calls.
//!
//! The control plane calls synchronously and hears back through one bounded event queue.

#![allow(clippy::similar_names, reason = "RTP and RTCP are what they are called")]

mod connect;
mod context;
mod counters;
mod engine;
mod error;
mod events;
mod leg;
pub mod limits;
mod mailbox;
pub mod ports;
mod reconnect;
mod recorder;
mod stream;
mod tls;
mod transport;
mod wav;
mod worker;
pub mod ws;

pub use counters::Counters;
pub use engine::{Engine, EngineConfig, StreamTarget};
pub use error::EngineError;
pub use events::{Event, EventQueue, What};
pub use reconnect::ReconnectPlan;
pub use wav::{WavError, wav_to_mp3};
