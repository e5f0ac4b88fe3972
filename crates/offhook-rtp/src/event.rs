//! Telephone-events: digits as packets (RFC 4733).

const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];
/// How often the end of an event is sent (RFC 4733 2.5.1.4).
const END_PACKETS: u8 = 3;
/// An event shorter than this would not be taken for a digit (RFC 4733 leaves it open; Q.24 says 40).
const DURATION_MIN_MS: u32 = 40;

/// The digit of an event code, if it is one (RFC 4733 3.2).
pub fn digit_of(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).copied()
}

/// The event code of a digit; lower-case letters too.
pub fn event_of(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    DIGITS.iter().position(|&known| known == digit).and_then(|at| u8::try_from(at).ok())
}

/// The payload of one packet (RFC 4733 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// What: 0 to 15 are digits.
    pub event: u8,
    /// The key has been released.
    pub end: bool,
    /// Level below 0 dBm0, 0 to 63.
    pub volume: u8,
    /// So far, in units of the RTP clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Read a payload; more than four bytes are tolerated, as some phones send several events.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let ([event, flags, d0, d1], _) = payload.split_first_chunk::<4>()?;
        Some(Self {
            event: *event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([*d0, *d1]),
        })
    }

    /// The four bytes of the payload.
    pub fn to_bytes(self) -> [u8; 4] {
        let [d0, d1] = self.duration.to_be_bytes();
        [self.event, (u8::from(self.end) << 7) | (self.volume & 0x3f), d0, d1]
    }
}

/// A key that the far end has pressed and released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigitReceived {
    /// Which key.
    pub digit: char,
    /// RTP timestamp of its begin.
    pub timestamp: u32,
    /// In units of the RTP clock.
    pub duration: u32,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    digit: char,
    timestamp: u32,
    duration: u32,
}

/// Turns event packets into digits: each timestamp is one digit, told once.
///
/// A digit is told at its first end packet. When every end packet is lost it is told as soon as
/// another digit begins, or when the owner says that the event has gone quiet.
#[derive(Clone, Debug, Default)]
pub struct TelephoneEventReceiver {
    held: Option<Held>,
    told: Option<u32>,
}

impl TelephoneEventReceiver {
    /// Take one event packet. At most two digits come out: one whose end was lost, and this one.
    pub fn receive(&mut self, timestamp: u32, event: TelephoneEvent) -> [Option<DigitReceived>; 2] {
        let Some(digit) = digit_of(event.event) else { return [None, None] };
        // Older than what was told: a late repetition.
        if self.told.is_some_and(|told| timestamp.wrapping_sub(told).cast_signed() <= 0) {
            return [None, None];
        }
        let mut lost_end = None;
        match &mut self.held {
            Some(held) if held.timestamp == timestamp => {
                held.duration = held.duration.max(u32::from(event.duration));
            }
            Some(held) if timestamp.wrapping_sub(held.timestamp).cast_signed() < 0 => return [None, None],
            held => {
                lost_end = held.take();
                *held = Some(Held { digit, timestamp, duration: u32::from(event.duration) });
            }
        }
        let lost_end = lost_end.map(|held| self.tell(held));
        let ended = if event.end { self.expire() } else { None };
        [lost_end, ended]
    }

    /// Tell a digit whose end packets have all been lost. Call when no event packet has come for a
    /// while; does nothing when no key is down.
    pub fn expire(&mut self) -> Option<DigitReceived> {
        let held = self.held.take()?;
        Some(self.tell(held))
    }

    /// A key is down.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Forget everything: the source of the packets has changed.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn tell(&mut self, held: Held) -> DigitReceived {
        self.told = Some(held.timestamp);
        DigitReceived { digit: held.digit, timestamp: held.timestamp, duration: held.duration }
    }
}

/// One packet of a digit that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// True on the first packet of the digit.
    pub marker: bool,
    /// The payload. Every packet of a digit carries the timestamp of its begin.
    pub payload: [u8; 4],
    /// This is the last packet.
    pub last: bool,
}

/// Sends one digit: a packet per ptime while the key is down, then the end three times.
#[derive(Clone, Debug)]
pub struct TelephoneEventSender {
    event: u8,
    step: u32,
    total: u32,
    elapsed: u32,
    first: bool,
    ends_sent: u8,
}

impl TelephoneEventSender {
    /// A digit of `duration_ms` (at least 40) on an RTP clock of `clock_rate_hz`, one packet per
    /// `ptime_ms`. `None` when it is no digit.
    pub fn new(digit: char, duration_ms: u32, ptime_ms: u32, clock_rate_hz: u32) -> Option<Self> {
        let event = event_of(digit)?;
        let units = |ms: u32| ms.saturating_mul(clock_rate_hz / 1000);
        Some(Self {
            event,
            step: units(ptime_ms).max(1),
            // The duration field has 16 bits; longer digits would need segments (RFC 4733 2.5.1.3).
            total: units(duration_ms.max(DURATION_MIN_MS)).min(u32::from(u16::MAX)),
            elapsed: 0,
            first: true,
            ends_sent: 0,
        })
    }

    /// The packet for the next ptime; `None` after the last.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        if self.ends_sent >= END_PACKETS {
            return None;
        }
        self.elapsed = self.elapsed.saturating_add(self.step).min(self.total);
        let end = self.elapsed >= self.total;
        self.ends_sent += u8::from(end);
        let payload = TelephoneEvent {
            event: self.event,
            end,
            volume: 10,
            duration: u16::try_from(self.elapsed).unwrap_or(u16::MAX),
        };
        let marker = std::mem::take(&mut self.first);
        Some(EventPacket { marker, payload: payload.to_bytes(), last: self.ends_sent >= END_PACKETS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packets(digit: char, duration_ms: u32) -> Vec<EventPacket> {
        let mut sender = TelephoneEventSender::new(digit, duration_ms, 20, 8000).unwrap();
        std::iter::from_fn(|| sender.next_packet()).collect()
    }

    fn told(receiver: &mut TelephoneEventReceiver, timestamp: u32, packets: &[EventPacket]) -> Vec<char> {
        packets
            .iter()
            .flat_map(|packet| receiver.receive(timestamp, TelephoneEvent::parse(&packet.payload).unwrap()))
            .flatten()
            .map(|received| received.digit)
            .collect()
    }

    #[test]
    fn a_digit_begins_with_a_marker_and_ends_three_times() {
        let packets = packets('#', 100);
        let events: Vec<_> = packets.iter().map(|p| TelephoneEvent::parse(&p.payload).unwrap()).collect();
        assert_eq!(
            packets.iter().map(|p| p.marker).collect::<Vec<_>>(),
            [true, false, false, false, false, false, false]
        );
        assert_eq!(
            events.iter().map(|e| e.duration).collect::<Vec<_>>(),
            [160, 320, 480, 640, 800, 800, 800]
        );
        assert_eq!(events.iter().filter(|e| e.end).count(), 3);
        assert!(events.iter().all(|e| e.event == 11));
        assert!(packets.last().unwrap().last);
    }

    #[test]
    fn every_digit_has_its_code() {
        for (code, digit) in "0123456789*#ABCD".chars().enumerate() {
            assert_eq!(event_of(digit).map(usize::from), Some(code));
            assert_eq!(digit_of(u8::try_from(code).unwrap()), Some(digit));
        }
        assert_eq!(event_of('a'), Some(12));
        assert_eq!(event_of('x'), None);
        assert_eq!(digit_of(16), None, "16 is a flash hook");
    }

    #[test]
    fn an_end_sent_three_times_is_one_digit() {
        let mut receiver = TelephoneEventReceiver::default();
        assert_eq!(told(&mut receiver, 1000, &packets('5', 100)), ['5']);
        assert_eq!(told(&mut receiver, 1000, &packets('5', 100)), [], "a repetition of everything");
        assert_eq!(told(&mut receiver, 4000, &packets('5', 100)), ['5'], "the same key again");
    }

    #[test]
    fn a_digit_without_its_end_is_told_when_the_next_begins_or_it_expires() {
        let mut receiver = TelephoneEventReceiver::default();
        assert_eq!(told(&mut receiver, 1000, &packets('1', 100)[..3]), []);
        assert!(receiver.holds());
        assert_eq!(told(&mut receiver, 4000, &packets('2', 100)[..1]), ['1']);
        assert_eq!(receiver.expire().map(|d| (d.digit, d.timestamp, d.duration)), Some(('2', 4000, 160)));
        assert_eq!(receiver.expire(), None);
    }

    #[test]
    fn packets_out_of_order_tell_each_digit_once() {
        let mut receiver = TelephoneEventReceiver::default();
        let first = packets('1', 100);
        assert_eq!(told(&mut receiver, 1000, &first[..5]), ['1']);
        assert_eq!(told(&mut receiver, 3000, &packets('2', 100)[..2]), []);
        assert_eq!(told(&mut receiver, 1000, &first[5..]), [], "late end packets of the first");
        assert_eq!(receiver.expire().map(|d| d.digit), Some('2'));
    }

    #[test]
    fn a_very_long_press_stays_within_the_field() {
        let packets = packets('0', 60_000);
        let last = TelephoneEvent::parse(&packets.last().unwrap().payload).unwrap();
        assert_eq!(last.duration, u16::MAX);
    }

    proptest! {
        #[test]
        fn a_payload_is_read_back(event: u8, end: bool, volume in 0u8..64, duration: u16) {
            let payload = TelephoneEvent { event, end, volume, duration };
            prop_assert_eq!(TelephoneEvent::parse(&payload.to_bytes()), Some(payload));
        }

        #[test]
        fn any_loss_that_spares_one_packet_tells_the_digit_once(keep in proptest::collection::vec(any::<bool>(), 10)) {
            let kept: Vec<_> = packets('7', 140).into_iter().zip(&keep).filter(|(_, keep)| **keep).map(|(p, _)| p).collect();
            let mut receiver = TelephoneEventReceiver::default();
            let mut digits = told(&mut receiver, 99, &kept);
            digits.extend(receiver.expire().map(|received| received.digit));
            prop_assert_eq!(digits.len(), usize::from(!kept.is_empty()));
        }
    }
}
