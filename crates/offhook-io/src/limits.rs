//! Every bound of this crate, by name.

use std::time::Duration;

/// Commands that may wait for one worker.
pub const COMMANDS_WAITING_MAX: usize = 16 * 1024;
/// Audio events that may wait for the control plane; beyond it the oldest are dropped and counted.
pub const AUDIO_EVENTS_MAX: usize = 8 * 1024;
/// Digits that may wait for the control plane; the far end decides how many it sends.
pub const DIGIT_EVENTS_MAX: usize = 4 * 1024;
/// Blocks of recorded audio, of 100 ms each, that may wait for the disk; beyond it they are dropped and counted, and
/// silence is in their place.
pub const RECORDED_BLOCKS_MAX: usize = 4 * 1024;
/// How long `shutdown` waits for the files of recordings to be complete.
pub const RECORDER_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Workers of one engine.
pub const WORKERS_MAX: usize = 64;

/// The largest datagram looked at; RTP over Ethernet is at most 1,500.
pub const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Receive buffer asked of the kernel per RTP socket: about three seconds of G.711.
pub const RTP_RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// How long a port with continuing traffic may drain after its leg has closed.
pub const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Datagrams thrown away per draining port and sweep.
pub const DRAIN_DATAGRAMS_PER_SWEEP_MAX: usize = 4_096;
/// How often draining ports are looked at.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The largest message an application may send. The longest frame that is played, 30 s of 48 kHz L16
/// in base64, has 4 MB; what is longer than that, up to here, is answered by an error frame.
pub const APP_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The answer to the upgrade request, head only.
pub const UPGRADE_RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Answers of ours that may wait for an application that does not read; beyond it we stop reading
/// from it, so that it cannot make us remember more.
pub const CONTROL_BYTES_WAITING_MAX: usize = 64 * 1024;
/// Send buffer asked of the kernel per stream: about two seconds of frames. More would only let a
/// slow application hear older audio.
pub const STREAM_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes taken from one stream socket before the next socket has its turn.
pub const STREAM_READ_BYTES: usize = 16 * 1024;
/// How long we wait for the application's close frame after ours.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `stats` waits for its worker.
pub const STATS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `shutdown` waits for the legs to close before it ends the workers regardless.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);
/// Streams that may wait for the thread that connects; when an application with many streams goes
/// away, all of them ask at once.
pub const CONNECTING_MAX: usize = 4 * 1024;
/// Tries that one loss of a stream's socket may be worth.
pub const RECONNECT_TRIES_MAX: usize = 16;
/// The longest time in which a lost socket may be tried again.
pub const RECONNECT_TOTAL_MAX: Duration = Duration::from_secs(60);
/// A socket that is lost sooner than this after it was opened again belongs to the loss before it.
pub const RECONNECT_SETTLED: Duration = Duration::from_millis(500);
/// Legs a worker takes before the next one is used. A wake-up costs more than a packet, and legs on one
/// worker share it; a core carries several times as many.
pub const LEGS_PACKED_PER_WORKER: usize = 256;
/// Niceness asked for media threads: ahead of the control plane and other programs of the machine.
pub const WORKER_NICENESS: i32 = -10;
