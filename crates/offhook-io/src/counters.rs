//! Counters of the whole process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! process_counters {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// What this process has and did; read by the control plane, written by all threads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $field: AtomicU64,)+
        }

        impl Counters {
            /// Every counter by its name, in a fixed order.
            pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field.load(Relaxed)),)+].into_iter()
            }
        }
    };
}

process_counters! {
    /// Legs that exist now.
    legs_open,
    /// Legs opened since the start.
    legs_total,
    /// Legs that went to another worker, to be bridged to one there.
    legs_moved_total,
    /// Legs ended by a fault of ours.
    legs_failed_total,
    /// Taps that exist now.
    taps_open,
    /// Stream sockets that are open now.
    stream_sockets_open,
    /// Stream connections under way.
    streams_connecting,
    /// Stream sockets that became open, since the start.
    streams_connected_total,
    /// Those of them that took the place of a lost one.
    streams_reconnected_total,
    /// Streams that never connected, or lost their socket for good.
    streams_failed_total,
    /// Audio chunks dropped because the control plane was too slow.
    audio_events_dropped_total,
    /// Digits dropped because the control plane was too slow.
    digit_events_dropped_total,
    /// Commands that a leg refused because things had changed since they were given.
    commands_refused_total,
    /// Packets to the far end that the operating system did not take.
    transmit_errors_total,
    /// Copies for fork targets that the operating system did not take.
    fork_errors_total,
    /// Packets that calls which have ended lost on their way to us.
    rx_packets_lost_total,
    /// Packets that came to them too late to be used.
    rx_packets_late_total,
    /// Samples left out or put in to follow the clocks of their far ends.
    rx_samples_slipped_total,
    /// Digits that were told by their tones.
    rx_digits_inband_total,
    /// Packets that calls which have ended passed on untouched, from one leg of a bridge to the other.
    bridge_packets_passed_total,
    /// Packets that could not be passed on: on hold, or of a codec that cannot be decoded here.
    bridge_packets_not_passed_total,
    /// How often audio of the other leg came too late to be mixed in time.
    bridge_underruns_total,
    /// Recordings that are being written now.
    recordings_open,
    /// Recordings that ended because their file could not be written.
    recordings_failed_total,
    /// Blocks of recorded audio, of 100 ms, that were dropped because the disk was too slow.
    recorded_blocks_dropped_total,
    /// Bytes of recorded audio that were written.
    recorded_bytes_total,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_many(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    pub(crate) fn sub(counter: &AtomicU64) {
        // Each `sub` follows its own `add`, so this cannot wrap.
        counter.fetch_sub(1, Relaxed);
    }
}
