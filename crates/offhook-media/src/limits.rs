//! Every bound of a leg, by name.

use std::time::Duration;

/// Longest datagram that is looked at; longer ones count as malformed.
pub const DATAGRAM_BYTES_MAX: usize = 2048;
/// Taps of all kinds on one leg.
pub const TAPS_MAX: usize = 32;
/// Plays of one leg that have not ended.
pub const PLAYS_MAX: usize = 64;
/// Bytes of samples that are kept for them: half an hour at 8 kHz, six minutes at 48 kHz.
pub const PLAYS_BYTES_MAX: usize = 32 << 20;
/// Audio of one application that may wait to be played, in milliseconds.
pub const PLAYOUT_MS_MAX: u64 = 60_000;
/// Digits that may wait to be sent.
pub const DIGITS_MAX: usize = 256;
/// Packets of played audio that may leave in one wake-up.
pub const PLAYOUT_BURST_MAX: u32 = 3;
/// Packets held back while an earlier one is awaited: [`PATIENCE_MAX`] of 5 ms each, and some more.
pub const REORDER_PACKETS_MAX: usize = 50;
/// Longest gap that is filled with silence; a longer one is a jump of the media clock.
pub const GAP_FILL_MS_MAX: u64 = 1000;
/// How long after the first packet the address of the SDP may still take the lock over.
pub const LOCK_GRACE: Duration = Duration::from_secs(3);
/// How far received audio may run ahead of real time; a clock that is 0.01 % fast takes a day.
pub const LEAD_MS_MAX: u64 = 10_000;
/// A key whose packets or tones have stopped for this long has been released.
pub const DIGIT_EXPIRY: Duration = Duration::from_millis(200);
/// Digits that are told in one second; nobody types faster, so more is an attack or a fault.
pub const DIGITS_PER_SECOND_MAX: u32 = 25;
/// Least time between two reports of a changed SSRC.
pub const STARTED_INTERVAL: Duration = Duration::from_secs(1);
/// Mean time between two RTCP reports (RFC 3550 section 6.2).
pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);
/// Longest frame from an application that is parsed: 30 s of L16 at 48 kHz in base64 fit.
pub const APP_FRAME_BYTES_MAX: usize = 4 << 20;
/// Audio that one media frame of an application may bring, in milliseconds (contract 4.5).
pub const APP_AUDIO_MS_MAX: u64 = 30_000;
/// Bytes of whole payloads and mp3 files that may wait: a minute of mp3 at its highest rate.
pub const APP_KEPT_BYTES_MAX: usize = 60 * 320_000 / 8;
/// Least time between two mp3 files of one application (contract 4.3).
pub const APP_MP3_INTERVAL: Duration = Duration::from_secs(1);
/// How much too early an mp3 file may come, for the network's sake.
pub const APP_MP3_JITTER: Duration = Duration::from_millis(100);
/// After this long without audio what is short of a packet is sent, with silence behind it (contract 4.5).
pub const APP_IDLE: Duration = Duration::from_millis(60);
/// Audio that comes this long after it was needed begins anew; less is a stall, and counted as one.
pub const APP_STALL_MAX: Duration = Duration::from_secs(1);
/// Marks of one stream that may wait for the audio before them.
pub const MARKS_WAITING_MAX: usize = 1000;
/// Longest name of a mark that is echoed.
pub const MARK_NAME_BYTES_MAX: usize = 1024;
/// Error frames sent on one stream in one second; further errors are only counted.
pub const ERROR_FRAMES_PER_SECOND_MAX: u32 = 10;
/// Audio of each track one stream may hold back before it is begun or while its socket is full.
pub const STREAM_BUFFER_MS_MAX: u32 = 30_000;
/// What that may cost of memory, both tracks together. Where the stream ends it becomes JSON all at once, half
/// as long again, and even then an application that does not read costs less than 1 MB.
pub const STREAM_BUFFER_BYTES_MAX: usize = 384 * 1024;
/// What a kept frame costs beside its payload, for there are formats whose payloads have one byte.
pub const KEPT_FRAME_BYTES: usize = 128;
/// After this long without audio a speech tap gives out what it holds.
pub const SPEECH_IDLE: Duration = Duration::from_millis(300);
/// Silence a speech tap adds when a track stops, so that a sentence can end.
pub const SPEECH_IDLE_FILL_MS_MAX: u64 = 2000;
/// How often a recording gives out audio.
pub const RECORDING_INTERVAL: Duration = Duration::from_millis(100);
/// A recording gives audio out so long after it was due: later packets are lost to it, and a process that is killed
/// loses so much of the file.
pub const RECORDING_PATIENCE_MS: u64 = 1000;
/// What is quieter counts as silence to a recording, in dB below full scale: the noise of lines is at -60.
pub const RECORDING_SPEECH_DBFS: f32 = -45.0;
/// Silence that is left at both ends where silence is cut off, so that no soft sound is.
pub const RECORDING_MARGIN_MS: u64 = 100;
/// The longest a recording may be limited to: twelve hours (contract 2.3).
pub const RECORDING_MS_MAX: u64 = 43_200_000;
/// Least and longest time a packet is held back while an earlier one is awaited.
pub const PATIENCE_MIN: Duration = Duration::from_millis(20);
/// See [`PATIENCE_MIN`].
pub const PATIENCE_MAX: Duration = Duration::from_millis(200);
/// Gaps in the numbers that are remembered, to learn how late a packet came.
pub const HOLES_REMEMBERED_MAX: usize = 32;
/// The least transit of so much time is one measurement of the far end's clock.
pub const DRIFT_WINDOW: Duration = Duration::from_secs(10);
/// Measurements that are kept.
pub const DRIFT_WINDOWS: usize = 18;
/// No clock in use is more wrong than this; what moves faster is the network, in ppm.
pub const DRIFT_PPM_MAX: i64 = 200;
/// Audio of the other leg of a bridge that may wait to be mixed.
pub const BRIDGE_WAIT_MS_MAX: u64 = 500;
/// How much of it is waited for at most before it is mixed, beside the packet that is due.
pub const BRIDGE_SPARE_MS_MAX: u64 = 200;
/// What was not needed for so long is left out.
pub const BRIDGE_WINDOW_MS: u64 = 2000;
/// Audio of the other leg that comes this long after it was due was late; more is a pause.
pub const BRIDGE_LATE_MAX: Duration = Duration::from_millis(250);
/// The first packet that is mixed waits so long for the second one's jitter.
pub const BRIDGE_START: Duration = Duration::from_millis(10);
/// After nothing else was heard for this long, packets of the other leg are passed on untouched again.
pub const BRIDGE_SETTLE: Duration = Duration::from_millis(200);
/// While packets are passed on, silence is sent no sooner than this after the last one was due.
pub const BRIDGE_SILENCE_AFTER: Duration = Duration::from_millis(60);
/// How far the clock of what is passed on may be from ours before its timestamps begin anew.
pub const BRIDGE_APART_MS_MAX: u64 = 1000;
