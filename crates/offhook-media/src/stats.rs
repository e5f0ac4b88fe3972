//! Counters of a leg and of its taps.

use crate::params::TapId;

/// Declares a struct of `u64` counters that can list itself by name.
macro_rules! counters {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $field:ident),+ $(,)? } $($(#[$xdoc:meta])* extra $extra:ident: $kind:ty),*) => {
        $(#[$outer])*
        pub struct $name {
            $($(#[$xdoc])* pub $extra: $kind,)*
            $($(#[$doc])* pub $field: u64,)+
        }

        impl $name {
            /// Every counter by its name, in a fixed order.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field),)+].into_iter()
            }
        }
    };
}

counters! {
    /// What one leg has received, sent and refused.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    LegStats {
        /// RTP packets accepted from the far end.
        packets_received,
        /// Their bytes, headers included.
        bytes_received,
        /// Expected and not received (RFC 3550 A.3).
        packets_lost,
        /// Received more than once.
        packets_duplicate,
        /// Received after a later one.
        packets_reordered,
        /// Came after their place had been filled with silence.
        packets_late,
        /// Not RTP or RTCP that can be read.
        packets_malformed,
        /// From another address than the locked one.
        packets_foreign,
        /// Came before offer and answer were complete.
        packets_early,
        /// So far ahead of real time that their audio was dropped.
        packets_ahead,
        /// With a payload type that was not agreed on.
        packets_unexpected,
        /// Came while the leg was on hold.
        packets_not_receiving,
        /// With a payload that is none of the format agreed on, or cannot be decoded here.
        packets_undecodable,
        /// Jumps of the media clock (a long pause, a new source).
        resyncs,
        /// Lost audio of the rx track, in ms.
        gap_ms,
        /// Interarrival jitter of what we receive, in microseconds.
        jitter_us,
        /// How long a packet is held back for a missing one now, in ms.
        jitter_buffer_ms,
        /// Samples left out or put in, one at a time, to follow the far end's clock.
        slipped_samples,
        /// Digits received.
        digits_received,
        /// Digits that came faster than anybody types.
        digits_dropped,
        /// Digits that were told by their tones; they are received ones too.
        digits_inband,
        /// RTP packets sent to the far end.
        packets_sent,
        /// Of these, the other leg's, passed on untouched.
        packets_passed,
        /// Packets of the other leg that could not be sent: on hold, or of a codec that cannot be decoded here.
        packets_not_passed,
        /// How often the other leg's audio came too late to be mixed in time.
        bridge_underruns,
        /// Audio of the other leg that waited without need and was left out, in ms.
        bridge_discarded_ms,
        /// Their bytes, headers included.
        bytes_sent,
        /// Audio sent out of the playout queue, in ms.
        played_ms,
        /// Audio that waits in the playout queue, in ms.
        queued_ms,
        /// Audio that was cleared before it was sent, in ms.
        discarded_ms,
        /// Wake-ups that came so late that the playout clock had to slip.
        playout_slips,
        /// Packets that were not sent because this system cannot encode the leg's format.
        packets_unencodable,
        /// Digits sent.
        digits_sent,
        /// RTCP packets accepted.
        rtcp_received,
        /// RTCP packets sent.
        rtcp_sent,
        /// RTCP from an address that is not the far end.
        rtcp_foreign,
        /// Packets of ours that the far end says it lost.
        remote_lost,
        /// Jitter of ours as the far end measures it, in microseconds.
        remote_jitter_us,
        /// Round trip by RTCP, in microseconds; 0 when unknown.
        rtt_us,
    }
    /// The taps that are open now.
    extra taps: Vec<(TapId, TapStats)>,
    /// How much faster the far end's clock is than ours, in parts per million; 0 until it is known.
    extra drift_ppm: i64
}

/// What a tap is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TapKind {
    /// Copies packets.
    #[default]
    Fork,
    /// Sends frames to an application.
    Stream,
    /// Gives decoded audio to a recogniser.
    Speech,
    /// Gives decoded audio to a file.
    Recording,
}

counters! {
    /// What one tap has done. Counters of other kinds of tap stay zero.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    TapStats {
        /// Packets copied from the rx track.
        rx_packets,
        /// Packets copied from the tx track.
        tx_packets,
        /// Frames of any kind sent.
        frames_sent,
        /// Audio for the application that its socket has not taken yet, in ms.
        buffered_ms,
        /// Media frames of the rx track sent.
        rx_frames,
        /// Media frames of the tx track sent.
        tx_frames,
        /// Media frames dropped because the application was too slow or away, or because they could not be
        /// encoded.
        frames_dropped,
        /// Sockets that took the place of a lost one.
        reconnects,
        /// Silence or made-up audio put in for lost audio, in ms.
        filled_ms,
        /// Frames received from the application.
        app_frames,
        /// Frames of the application answered by an error, or ignored after too many errors.
        app_frames_refused,
        /// Audio of the application sent to the far end, in ms.
        played_ms,
        /// Audio of the application that waits to be sent, in ms.
        queued_ms,
        /// Audio of the application dropped by its `clear`, or by the end of the stream, in ms.
        discarded_ms,
        /// Audio of the application refused because 60 s waited already, or that came too late to be recorded, in ms.
        overflow_ms,
        /// Payloads of the application that did not decode; silence was heard instead.
        app_undecodable,
        /// How often the application's audio came after it was needed.
        underruns,
        /// Silence the far end heard by that, in ms.
        inserted_silence_ms,
        /// How late the application's audio came, at most, in ms.
        app_lateness_ms,
        /// Marks that wait for the audio before them.
        marks_waiting,
        /// Chunks of decoded audio given out.
        chunks,
        /// Audio given out, in ms.
        audio_ms,
    }
    /// The kind of tap.
    extra kind: TapKind
}
