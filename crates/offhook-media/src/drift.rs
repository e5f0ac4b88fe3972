//! The far end's clock against ours.
//!
//! Of each window the packet that took the least time is kept: jitter and a busy machine only ever
//! add time, so the least moves with the clocks alone. A straight line through many windows is the
//! drift; a step between two is another route or another load, and is left out of it. Nothing is
//! done before the line is long and straight and the clocks are apart by [`SLACK_US`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{DRIFT_PPM_MAX, DRIFT_WINDOW, DRIFT_WINDOWS};

/// So far the clocks may be apart before anything is done, in microseconds.
const SLACK_US: i64 = 6000;
/// Windows that a line needs before it is believed.
const WINDOWS_MIN: usize = 6;
/// Packets that a window needs to count.
const PACKETS_MIN: u32 = 20;
/// No window may be farther from the line than this, in microseconds.
const STRAIGHT_US: i64 = 1500;
/// Less than this is the noise of the measurement, in parts per billion.
const DRIFT_PPB_MIN: i64 = 4000;

/// One window: when it ended, and the least transit in it with all steps taken out.
#[derive(Clone, Copy, Debug)]
struct Least {
    at_us: i64,
    transit_us: i64,
}

/// Estimates the drift of one RTP source, and says when a sample is to be left out or put in.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    origin: Option<Origin>,
    window_began_us: i64,
    window_least: Option<i64>,
    window_packets: u32,
    last_least: Option<i64>,
    /// Sum of the steps that were taken for a change of route.
    steps_us: i64,
    windows: VecDeque<Least>,
    /// Transit at which the clocks count as even.
    even_us: Option<i64>,
    /// Correction done so far: audio put in (positive) or left out, in microseconds times 1000.
    corrected_ns: i64,
    /// Correction still to be done.
    wanted_ns: i64,
    ppb: i64,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    at: Instant,
    timestamp: u32,
    /// The last timestamp, counted on over its wraps.
    last: i64,
}

impl Drift {
    /// How much faster the far end's clock is than ours, in parts per billion; 0 until it is known.
    pub(crate) const fn ppb(&self) -> i64 {
        self.ppb
    }

    /// The clock has jumped, or is another one: what was measured counts no more.
    pub(crate) fn restart(&mut self) {
        *self = Self { ppb: self.ppb, ..Self::default() };
    }

    /// Take note of a packet of audio that has just arrived.
    pub(crate) fn arrived(&mut self, now: Instant, timestamp: u32, clock_rate_hz: u32) {
        let origin = self.origin.get_or_insert(Origin { at: now, timestamp, last: 0 });
        let base = origin.timestamp.wrapping_add(low_32(origin.last));
        let at = origin.last.saturating_add(i64::from(timestamp.wrapping_sub(base).cast_signed()));
        origin.last = origin.last.max(at);
        let now_us = micros(now.saturating_duration_since(origin.at));
        let sent_us = at.saturating_mul(1_000_000) / i64::from(clock_rate_hz.max(1));
        let transit = now_us.saturating_sub(sent_us);
        self.window_least = Some(self.window_least.map_or(transit, |least| least.min(transit)));
        self.window_packets = self.window_packets.saturating_add(1);
        if now_us.saturating_sub(self.window_began_us) >= micros(DRIFT_WINDOW) {
            self.end_window(now_us);
        }
    }

    /// Whether to put a sample of `sample_ns` in (`1`), leave one out (`-1`) or do nothing (`0`) now.
    pub(crate) fn take_slip(&mut self, sample_ns: i64) -> i8 {
        if self.wanted_ns.abs() < sample_ns {
            return 0;
        }
        let slip = self.wanted_ns.signum();
        self.wanted_ns = self.wanted_ns.saturating_sub(slip * sample_ns);
        self.corrected_ns = self.corrected_ns.saturating_add(slip * sample_ns);
        if slip > 0 { 1 } else { -1 }
    }

    fn end_window(&mut self, now_us: i64) {
        self.window_began_us = now_us;
        let packets = std::mem::take(&mut self.window_packets);
        let Some(least) = self.window_least.take().filter(|_| packets >= PACKETS_MIN) else { return };
        let last = *self.last_least.get_or_insert(least);
        self.last_least = Some(least);
        let passed_us = self.windows.back().map_or(0, |window| now_us.saturating_sub(window.at_us));
        let step = least.saturating_sub(last);
        if step.abs() > passed_us.saturating_mul(DRIFT_PPM_MAX) / 1_000_000 {
            self.steps_us = self.steps_us.saturating_add(step);
        }
        if self.windows.len() == DRIFT_WINDOWS {
            self.windows.pop_front();
        }
        let transit_us = least.saturating_sub(self.steps_us);
        self.even_us.get_or_insert(transit_us);
        self.windows.push_back(Least { at_us: now_us, transit_us });
        self.decide();
    }

    fn decide(&mut self) {
        let Some((ppb, end_us)) = line(&self.windows) else {
            self.wanted_ns = 0;
            return;
        };
        // A clock that is fast makes the way shorter and shorter.
        self.ppb = -ppb;
        let apart_ns = self
            .even_us
            .map_or(0, |even| end_us.saturating_sub(even))
            .saturating_mul(1000)
            .saturating_sub(self.corrected_ns);
        let moving = ppb.abs() >= DRIFT_PPB_MIN && ppb.signum() == apart_ns.signum();
        if moving && apart_ns.abs() >= SLACK_US * 1000 {
            self.wanted_ns = apart_ns;
        }
    }
}

/// Slope in parts per billion and value at the last window of the line through `windows`, if they
/// lie on one. The slope is the median over all pairs, which a few bad windows do not move.
fn line(windows: &VecDeque<Least>) -> Option<(i64, i64)> {
    if windows.len() < WINDOWS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(windows.len() * windows.len() / 2);
    for (n, later) in windows.iter().enumerate() {
        for earlier in windows.iter().take(n) {
            let passed_us = later.at_us.saturating_sub(earlier.at_us).max(1);
            let moved_us = later.transit_us.saturating_sub(earlier.transit_us);
            slopes.push(moved_us.saturating_mul(1_000_000_000) / passed_us);
        }
    }
    let slope = median(&mut slopes)?;
    let end_us = windows.back()?.at_us;
    let rise = |at_us: i64| at_us.saturating_sub(end_us).saturating_mul(slope) / 1_000_000_000;
    let mut ends: Vec<i64> =
        windows.iter().map(|window| window.transit_us.saturating_sub(rise(window.at_us))).collect();
    let straight = |end: i64| ends.iter().all(|value| value.saturating_sub(end).abs() <= STRAIGHT_US);
    let middle = median(&mut ends.clone())?;
    let is_straight = straight(middle);
    ends.clear();
    is_straight.then_some((slope, middle))
}

fn median(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "timestamps wrap")]
const fn low_32(count: i64) -> u32 {
    count as u32
}
