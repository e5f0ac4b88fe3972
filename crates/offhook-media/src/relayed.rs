//! What one leg of a bridge hands to the other.

use offhook_codec::Format;
use offhook_rtp::TelephoneEvent;

/// One thing for the other leg of a bridge, in the order it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed<'a> {
    /// A packet of audio as it came, before anything was put in order; its audio follows as [`Relayed::Audio`].
    Packet {
        /// The far end's marker.
        marker: bool,
        /// The far end's number.
        seq: u16,
        /// The far end's timestamp.
        timestamp: u32,
        /// What the payload is.
        format: Format,
        /// The payload.
        payload: &'a [u8],
    },
    /// A payload in order, with its place on the clock of the leg it comes from.
    Audio {
        /// Where that leg's clock stands now.
        here: u64,
        /// Where the payload begins.
        at: u64,
        /// How long it lasts.
        ticks: u64,
        /// What the payload is.
        format: Format,
        /// The payload.
        payload: &'a [u8],
    },
    /// A packet of a key that is held down.
    Key {
        /// The far end's number.
        seq: u16,
        /// The far end's timestamp, the same for the whole key.
        timestamp: u32,
        /// The clock that the event's duration is counted by.
        clock_rate_hz: u32,
        /// The key, and how long so far.
        event: TelephoneEvent,
    },
    /// A packet has come that the other leg is not to have; the numbers go on behind it.
    Gap {
        /// The far end's number.
        seq: u16,
    },
    /// What applications of that leg say to this one's far end.
    Said {
        /// Samples a second.
        rate_hz: u32,
        /// The samples.
        pcm: &'a [i16],
    },
}

/// Items on their way to the other leg, in memory that is used again and again.
#[derive(Debug, Default)]
pub struct RelayQueue {
    /// Each without its payload or samples, and how many of them there are.
    items: Vec<(Relayed<'static>, usize)>,
    bytes: Vec<u8>,
    samples: Vec<i16>,
}

impl RelayQueue {
    /// Keep an item.
    pub fn push(&mut self, item: Relayed<'_>) {
        let length = item.bytes().len().max(item.samples().len());
        self.bytes.extend_from_slice(item.bytes());
        self.samples.extend_from_slice(item.samples());
        self.items.push((item.with(&[], &[]), length));
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Give out every item in order.
    pub fn drain(&mut self, mut each: impl FnMut(Relayed<'_>)) {
        let (mut bytes, mut samples) = (&*self.bytes, &*self.samples);
        for (item, length) in &self.items {
            let (of_bytes, of_samples) = match item {
                Relayed::Said { .. } => (0, *length),
                _ => (*length, 0),
            };
            let (payload, bytes_left) = bytes.split_at(of_bytes.min(bytes.len()));
            let (pcm, samples_left) = samples.split_at(of_samples.min(samples.len()));
            (bytes, samples) = (bytes_left, samples_left);
            each(item.with(payload, pcm));
        }
        self.clear();
    }

    /// Forget every item.
    pub fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
        self.samples.clear();
    }
}

impl Relayed<'_> {
    const fn bytes(&self) -> &[u8] {
        match self {
            Self::Packet { payload, .. } | Self::Audio { payload, .. } => payload,
            Self::Key { .. } | Self::Gap { .. } | Self::Said { .. } => &[],
        }
    }

    const fn samples(&self) -> &[i16] {
        match self {
            Self::Said { pcm, .. } => pcm,
            _ => &[],
        }
    }

    /// The same with another payload, or other samples.
    const fn with<'a>(self, payload: &'a [u8], pcm: &'a [i16]) -> Relayed<'a> {
        match self {
            Self::Packet { marker, seq, timestamp, format, .. } => {
                Relayed::Packet { marker, seq, timestamp, format, payload }
            }
            Self::Audio { here, at, ticks, format, .. } => {
                Relayed::Audio { here, at, ticks, format, payload }
            }
            Self::Key { seq, timestamp, clock_rate_hz, event } => {
                Relayed::Key { seq, timestamp, clock_rate_hz, event }
            }
            Self::Gap { seq } => Relayed::Gap { seq },
            Self::Said { rate_hz, .. } => Relayed::Said { rate_hz, pcm },
        }
    }
}

/// Who hears what the application of a stream says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppHeard {
    /// The far end of the stream's own leg.
    #[default]
    Own,
    /// The far end of the leg bridged to it; while there is none, its own.
    Other,
    /// The far end of the leg bridged to it; while there is none, nobody.
    OtherOnly,
    /// Both far ends.
    Both,
}

impl AppHeard {
    /// Whether the own far end hears it, and whether the other one does.
    pub(crate) const fn by(self, bridged: bool) -> (bool, bool) {
        match self {
            Self::Own => (true, false),
            Self::Other => (!bridged, bridged),
            Self::OtherOnly => (false, bridged),
            Self::Both => (true, bridged),
        }
    }
}
