//! The leg's clocks: ticks since the leg was connected, and the wall clock.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Ticks of the media clock since the leg was first connected. Never goes back.
pub(crate) type Position = u64;

/// A clock that every sample rate divides: no codec's time is ever rounded.
const TICKS_PER_SECOND: u32 = 7_056_000;
const TICKS_PER_MS: u64 = 7056;

/// Ticks in so many milliseconds.
pub(crate) const fn ticks(ms: u64) -> u64 {
    ms.saturating_mul(TICKS_PER_MS)
}

/// Ticks of one sample, or of one count of an RTP clock.
pub(crate) fn tick_of(rate_hz: u32) -> u64 {
    u64::from(TICKS_PER_SECOND / rate_hz.clamp(1, TICKS_PER_SECOND))
}

pub(crate) const fn to_ms(ticks: u64) -> u64 {
    ticks / TICKS_PER_MS
}

pub(crate) const fn to_us(ticks: u64) -> u64 {
    ticks.saturating_mul(1000) / TICKS_PER_MS
}

/// Ticks as nanoseconds, for measurements of time.
pub(crate) fn to_ns(ticks: u64) -> i64 {
    i64::try_from(ticks.saturating_mul(1_000_000) / TICKS_PER_MS).unwrap_or(i64::MAX)
}

/// A length as 64 bits.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The sooner of two deadlines.
#[inline]
pub(crate) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Turns moments into positions and into wall time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    made: Instant,
    unix_made: Duration,
    zero: Instant,
}

impl Clock {
    pub(crate) const fn new(now: Instant, unix_now: Duration) -> Self {
        Self { made: now, unix_made: unix_now, zero: now }
    }

    /// Let position 0 be now.
    pub(crate) const fn restart(&mut self, now: Instant) {
        self.zero = now;
    }

    pub(crate) fn position(&self, now: Instant) -> Position {
        let passed = now.saturating_duration_since(self.zero);
        let us = passed.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(passed.subsec_micros()));
        us.saturating_mul(TICKS_PER_MS) / 1000
    }

    pub(crate) fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.zero).as_millis()).unwrap_or(u64::MAX)
    }

    /// The wall clock, as steady as the monotonic one since the leg was made.
    pub(crate) fn unix(&self, now: Instant) -> Duration {
        self.unix_made.saturating_add(now.saturating_duration_since(self.made))
    }
}

/// ISO 8601 in UTC with microseconds.
pub(crate) fn iso_8601(unix: Duration) -> String {
    let seconds = unix.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut text = String::with_capacity(27);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z",
        unix.subsec_micros()
    );
    text
}

/// Year, month and day of a day number since 1970-01-01, counting years from March on.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_codec::{L16_RATES_HZ, OPUS_RATES_HZ};

    #[test]
    fn every_rate_divides_the_clock() {
        for rate_hz in L16_RATES_HZ.into_iter().chain(OPUS_RATES_HZ) {
            assert_eq!(tick_of(rate_hz) * u64::from(rate_hz), ticks(1000), "{rate_hz} Hz");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |s| iso_8601(Duration::from_secs(s));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59.000000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(iso_8601(Duration::from_micros(1_795_420_800_123_456)), "2026-11-23T08:00:00.123456Z");
    }
}
