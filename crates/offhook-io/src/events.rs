//! Events for the control plane: one bounded queue and one descriptor to wait on.
//!
//! A producer locks, pushes or counts a drop, unlocks, and writes one byte only if the queue was
//! empty. The consumer empties the descriptor first and takes the whole queue then: in that order
//! no wake-up is lost, and at worst one is for nothing.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offhook_media::{LegStats, TapStats};

use crate::counters::Counters;
use crate::limits::{AUDIO_EVENTS_MAX, DIGIT_EVENTS_MAX};

/// Something has happened on a leg. Events of one leg come in order; `LegClosed` is its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The leg, as the caller named it.
    pub leg: u64,
    /// The tap or the play, 0 when the event is the leg's own.
    pub tap: u64,
    /// What it was.
    pub what: What,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The first packet from the far end, and again after a change of source.
    MediaStarted {
        /// Synchronisation source.
        ssrc: u32,
        /// Where it came from.
        source: SocketAddr,
    },
    /// Nothing has come for the agreed time.
    MediaTimeout,
    /// The far end pressed a key.
    Digit {
        /// Which one.
        digit: char,
        /// When, on the leg's clock.
        at_ms: u64,
        /// How long.
        duration_ms: u32,
    },
    /// A stream's socket is open.
    StreamConnected,
    /// A stream's socket is gone, and another is sought.
    StreamReconnecting {
        /// Why, for a person.
        detail: String,
    },
    /// A stream's socket is open again.
    StreamReconnected {
        /// After so many tries.
        tries: u64,
    },
    /// A stream has ended against everybody's will.
    StreamFailed {
        /// `connection_failed` or `connection_lost`.
        reason: &'static str,
        /// For a person.
        detail: String,
    },
    /// A stream has ended in order.
    StreamClosed {
        /// `app_closed`, `call_ended`, or what the caller said.
        reason: String,
        /// What it did.
        stats: TapStats,
    },
    /// A recording has ended and its file is complete, or as complete as it will be.
    RecordingClosed {
        /// `max_length`, `silence`, `failed`, `call_ended`, or what the caller said.
        reason: String,
        /// What the system said when it failed; empty otherwise.
        detail: String,
        /// How much audio the file has.
        duration_ms: u64,
        /// How long the file is.
        size_bytes: u64,
        /// What the tap did.
        stats: TapStats,
    },
    /// A fork or speech tap has ended.
    TapClosed {
        /// What it did.
        stats: TapStats,
    },
    /// Decoded audio, s16le mono.
    Audio {
        /// Time of the first sample on the leg's clock.
        at_ms: u64,
        /// The samples.
        pcm: Vec<u8>,
    },
    /// The first packet of a play has been sent; `tap` is its id.
    PlayStarted,
    /// A play has ended; `tap` is its id.
    PlayEnded {
        /// How much was sent.
        played_ms: u64,
        /// All of it was.
        completed: bool,
    },
    /// The leg is gone, with everything that was its own.
    LegClosed {
        /// What it did.
        stats: Box<LegStats>,
    },
    /// A fault of ours has ended the leg.
    LegFailed {
        /// For a person.
        message: String,
    },
}

#[derive(Debug, Default)]
struct Waiting {
    order: u64,
    lasting: VecDeque<(u64, Event)>,
    audio: VecDeque<(u64, Event)>,
    digits: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lasting.is_empty() && self.audio.is_empty()
    }
}

/// The queue between all workers and the control plane.
#[derive(Debug)]
pub struct EventQueue {
    waiting: Mutex<Waiting>,
    reader: UnixStream,
    writer: UnixStream,
    counters: Arc<Counters>,
}

impl EventQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new(counters: Arc<Counters>) -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { waiting: Mutex::default(), reader, writer, counters })
    }

    /// Readable while events wait.
    pub fn fileno(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Add an event. Audio and digits, whose number others decide, are bounded; the rest is
    /// bounded by the number of legs and taps.
    pub fn push(&self, event: Event) {
        let mut waiting = self.lock();
        let was_empty = waiting.is_empty();
        waiting.order += 1;
        let order = waiting.order;
        match event.what {
            What::Audio { .. } => {
                if waiting.audio.len() >= AUDIO_EVENTS_MAX {
                    waiting.audio.pop_front();
                    Counters::add(&self.counters.audio_events_dropped_total);
                }
                waiting.audio.push_back((order, event));
            }
            What::Digit { .. } if waiting.digits >= DIGIT_EVENTS_MAX => {
                Counters::add(&self.counters.digit_events_dropped_total);
            }
            _ => {
                waiting.digits += usize::from(matches!(event.what, What::Digit { .. }));
                waiting.lasting.push_back((order, event));
            }
        }
        let wake = was_empty && !waiting.is_empty();
        drop(waiting);
        if wake {
            // A full pipe is readable already.
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Take everything, in order.
    pub fn take(&self) -> Vec<Event> {
        let mut bytes = [0_u8; 64];
        while matches!((&self.reader).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        // The order only has to hold among events that wait together: it may begin anew.
        let waiting = std::mem::take(&mut *self.lock());
        merge(waiting)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        let waiting = self.lock();
        waiting.lasting.len() + waiting.audio.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge(waiting: Waiting) -> Vec<Event> {
    let Waiting { lasting, audio, .. } = waiting;
    let mut events = Vec::with_capacity(lasting.len() + audio.len());
    let (mut lasting, mut audio) = (lasting.into_iter().peekable(), audio.into_iter().peekable());
    loop {
        let next = match (lasting.peek(), audio.peek()) {
            (Some(left), Some(right)) if left.0 < right.0 => lasting.next(),
            (Some(_), None) => lasting.next(),
            (_, Some(_)) => audio.next(),
            (None, None) => return events,
        };
        events.extend(next.map(|(_, event)| event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (EventQueue, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (EventQueue::new(Arc::clone(&counters)).unwrap(), counters)
    }

    fn audio(at_ms: u64) -> Event {
        Event { leg: 1, tap: 2, what: What::Audio { at_ms, pcm: vec![0; 4] } }
    }

    fn timeout(leg: u64) -> Event {
        Event { leg, tap: 0, what: What::MediaTimeout }
    }

    fn count(queue: &EventQueue) -> usize {
        let mut bytes = [0_u8; 16];
        (&queue.reader).read(&mut bytes).unwrap_or(0)
    }

    #[test]
    fn events_come_out_in_the_order_they_went_in() {
        let (queue, _) = queue();
        let all = [audio(0), timeout(1), timeout(2), audio(20), timeout(3), audio(40)];
        for event in all.clone() {
            queue.push(event);
        }
        assert_eq!(queue.take(), all);
        assert_eq!(queue.take(), []);
    }

    #[test]
    fn one_byte_wakes_for_any_number_of_events() {
        let (queue, _) = queue();
        queue.push(audio(0));
        queue.push(timeout(1));
        assert_eq!(count(&queue), 1);
        queue.take();
        queue.push(timeout(1));
        assert_eq!(count(&queue), 1);
    }

    #[test]
    fn a_slow_control_plane_loses_the_oldest_audio_and_nothing_else() {
        let (queue, counters) = queue();
        queue.push(timeout(7));
        for at_ms in 0..AUDIO_EVENTS_MAX as u64 + 10 {
            queue.push(audio(at_ms));
        }
        let events = queue.take();
        assert_eq!(events[0], timeout(7));
        assert_eq!(events[1], audio(10));
        assert_eq!(events.len(), AUDIO_EVENTS_MAX + 1);
        assert_eq!(counters.audio_events_dropped_total.load(std::sync::atomic::Ordering::Relaxed), 10);
    }
}
