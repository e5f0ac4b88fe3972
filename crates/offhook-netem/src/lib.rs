//! A seeded bad network for simulations: loss, duplication, reordering, delay and jitter.
//!
//! A [`Link`] carries values one way. It knows no clock and no socket: the same seed and the same
//! calls give the same fate to every value, so a failing seed is a test.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A small fast generator of pseudo-random numbers (`SplitMix64`). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.next_u64().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    /// True once in a while: `probability` of 0.0 is never, 1.0 is always.
    #[expect(clippy::cast_precision_loss, reason = "53 bits of chance are enough")]
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.next_u64() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}

/// How bad a link is. The default is perfect and takes no time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// Probability that a value is lost.
    pub loss: f64,
    /// Probability that it comes twice.
    pub duplication: f64,
    /// Probability that it takes `reorder_delay` longer than the others.
    pub reorder: f64,
    /// How much longer.
    pub reorder_delay: Duration,
    /// What every value takes.
    pub delay: Duration,
    /// Up to this much more, at random. Values may overtake one another.
    pub jitter: Duration,
}

#[derive(Debug)]
struct InFlight<T> {
    arrives: Instant,
    sent_number: u64,
    value: T,
}

impl<T> PartialEq for InFlight<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for InFlight<T> {}

impl<T> PartialOrd for InFlight<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for InFlight<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives out its greatest: the earliest arrival, then the earliest sent.
        (other.arrives, other.sent_number).cmp(&(self.arrives, self.sent_number))
    }
}

/// Carries values one way through some weather.
#[derive(Debug)]
pub struct Link<T> {
    rng: Rng,
    weather: Weather,
    in_flight: BinaryHeap<InFlight<T>>,
    sent: u64,
    lost: u64,
}

impl<T: Clone> Link<T> {
    /// A link whose every accident is decided by `seed`.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self { rng: Rng::new(seed), weather, in_flight: BinaryHeap::new(), sent: 0, lost: 0 }
    }

    /// Put a value on the link.
    pub fn send(&mut self, now: Instant, value: T) {
        if self.rng.chance(self.weather.loss) {
            self.lost += 1;
            return;
        }
        if self.rng.chance(self.weather.duplication) {
            self.carry(now, value.clone());
        }
        self.carry(now, value);
    }

    fn carry(&mut self, now: Instant, value: T) {
        let jitter_ns = u64::try_from(self.weather.jitter.as_nanos()).unwrap_or(u64::MAX);
        let mut delay =
            self.weather.delay + Duration::from_nanos(self.rng.below(jitter_ns.saturating_add(1)));
        if self.rng.chance(self.weather.reorder) {
            delay += self.weather.reorder_delay;
        }
        self.sent += 1;
        self.in_flight.push(InFlight { arrives: now + delay, sent_number: self.sent, value });
    }

    /// The next value that has arrived by `now`, with its time of arrival.
    pub fn receive(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.in_flight.pop().map(|arrived| (arrived.arrives, arrived.value))
    }

    /// When the next value arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.in_flight.peek().map(|next| next.arrives)
    }

    /// How many values were lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;

    fn fates(seed: u64, weather: Weather) -> Vec<(Duration, u32)> {
        let start = Instant::now();
        let mut link = Link::new(seed, weather);
        for n in 0..1000_u32 {
            link.send(start + Duration::from_millis(20) * n, n);
        }
        let end = start + Duration::from_secs(60);
        std::iter::from_fn(|| link.receive(end)).map(|(at, n)| (at - start, n)).collect()
    }

    #[test]
    fn fair_weather_changes_nothing() {
        let fates = fates(1, Weather::default());
        assert!(fates.iter().enumerate().all(|(at, (_, n))| at == *n as usize));
        assert_eq!(fates.len(), 1000);
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let weather =
            Weather { loss: 0.1, duplication: 0.1, jitter: Duration::from_millis(50), ..Weather::default() };
        assert_eq!(fates(7, weather), fates(7, weather));
        assert_ne!(fates(7, weather), fates(8, weather));
    }

    #[test]
    fn accidents_happen_about_as_often_as_asked() {
        let lossy = fates(3, Weather { loss: 0.2, ..Weather::default() });
        assert!((750..850).contains(&lossy.len()), "{}", lossy.len());
        let doubled = fates(3, Weather { duplication: 0.2, ..Weather::default() });
        assert!((1150..1250).contains(&doubled.len()), "{}", doubled.len());
        let late = Weather { reorder: 0.1, reorder_delay: Duration::from_millis(50), ..Weather::default() };
        let swapped = fates(3, late).windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
        assert!((50..150).contains(&swapped), "{swapped}");
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let start = Instant::now();
        let mut link = Link::new(1, Weather { delay: Duration::from_millis(30), ..Weather::default() });
        link.send(start, ());
        assert_eq!(link.poll_timeout(), Some(start + Duration::from_millis(30)));
        assert!(link.receive(start + Duration::from_millis(29)).is_none());
        assert!(link.receive(start + Duration::from_millis(30)).is_some());
    }
}
