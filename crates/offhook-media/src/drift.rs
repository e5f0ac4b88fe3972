//! The far end's clock against ours.
//!
//! Of each window the packet that took the least time is kept: jitter and a busy machine only ever
//! add time, so the least moves with the clocks alone. A straight line through many windows is the
//! drift; a step between two is another route or another load, and is left out of it. Nothing is
//! done before the line is long and straight and the clocks are apart by [`SLACK_US`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{DRIFT_PPM_MAX, DRIFT_WINDOW, DRIFT_WINDOWS};
use crate::slip::Slip;

/// So far the clocks may be apart before anything is done, in microseconds.
const SLACK_US: i64 = 6000;
/// Windows that a line needs before it is believed.
const WINDOWS_MIN: usize = 9;
/// Packets that a window needs to count.
const PACKETS_MIN: u32 = 20;
/// Three in four windows are no farther from the line than this, in microseconds.
const STRAIGHT_US: i64 = 1500;
/// A step of more than this beside the line is another route, in microseconds.
const STEP_US: i64 = 1500;
/// A line has moved by so many times what half of its windows are off.
const CERTAIN: i64 = 12;
/// Less than this is the noise of the measurement, in parts per billion.
const DRIFT_PPB_MIN: i64 = 4000;

const WINDOW_US: i64 = micros(DRIFT_WINDOW);

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
    line: Option<Line>,
    /// Transit at which the clocks count as even.
    even_us: Option<i64>,
    /// Correction done so far: audio put in (positive) or left out.
    corrected_ns: i64,
    /// Correction still to be done.
    wanted_ns: i64,
    /// What is to be done in a window, and how much of it is due.
    planned_ns: i64,
    due_ns: i64,
    /// What certain lines alone have moved, less what was corrected.
    evidence_ns: Option<i64>,
    ppb: i64,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    at_us: i64,
    timestamp: u32,
    /// The last timestamp, counted on over its wraps.
    last: i64,
}

impl Drift {
    /// How much faster the far end's clock is than ours, in parts per million; 0 until it is known.
    pub(crate) const fn ppm(&self) -> i64 {
        (self.ppb + self.ppb.signum() * 500) / 1000
    }

    /// The clock has jumped, or is another one: what was measured counts no more.
    pub(crate) fn restart(&mut self) {
        *self = Self { ppb: self.ppb, ..Self::default() };
    }

    /// Take note of a packet of audio that has just arrived, in microseconds from any origin.
    #[inline]
    pub(crate) fn arrived(&mut self, now_us: i64, timestamp: u32, clock_rate_hz: u32) {
        let origin = self.origin.get_or_insert(Origin { at_us: now_us, timestamp, last: 0 });
        let base = origin.timestamp.wrapping_add(low_32(origin.last));
        let at = origin.last.saturating_add(i64::from(timestamp.wrapping_sub(base).cast_signed()));
        origin.last = origin.last.max(at);
        let now_us = now_us.saturating_sub(origin.at_us);
        let sent_us = at.saturating_mul(1_000_000) / i64::from(clock_rate_hz.max(1));
        let transit = now_us.saturating_sub(sent_us);
        self.window_least = Some(self.window_least.map_or(transit, |least| least.min(transit)));
        self.window_packets = self.window_packets.saturating_add(1);
        if now_us.saturating_sub(self.window_began_us) >= WINDOW_US {
            self.end_window(now_us);
        }
    }

    /// Whether there is anything to be done at all.
    #[inline]
    pub(crate) const fn is_even(&self) -> bool {
        self.wanted_ns == 0
    }

    /// What to do with the next packet, which lasts `packet_ns`, in samples of `sample_ns`.
    ///
    /// What is to be done is spread over a window, and never more than one sample a packet.
    #[inline]
    pub(crate) fn next_slip(&mut self, packet_ns: i64, sample_ns: i64) -> Option<Slip> {
        if self.wanted_ns.saturating_abs() < sample_ns {
            return None;
        }
        let share = self.planned_ns.saturating_mul(packet_ns) / (WINDOW_US * 1000);
        self.due_ns = self.due_ns.saturating_add(share).min(sample_ns);
        if self.due_ns < sample_ns {
            return None;
        }
        Some(if self.wanted_ns > 0 { Slip::In } else { Slip::Out })
    }

    /// What `next_slip` asked for was done.
    pub(crate) fn slipped(&mut self, slip: Slip, sample_ns: i64) {
        let moved = if slip == Slip::In { sample_ns } else { -sample_ns };
        self.wanted_ns = self.wanted_ns.saturating_sub(moved);
        self.corrected_ns = self.corrected_ns.saturating_add(moved);
        self.evidence_ns = self.evidence_ns.map(|evidence| evidence.saturating_sub(moved));
        self.due_ns = self.due_ns.saturating_sub(sample_ns);
    }

    fn end_window(&mut self, now_us: i64) {
        self.window_began_us = now_us;
        let packets = std::mem::take(&mut self.window_packets);
        let Some(least) = self.window_least.take().filter(|_| packets >= PACKETS_MIN) else { return };
        let before = self.last_least.replace(least).unwrap_or(least);
        let passed_us = self.windows.back().map_or(0, |window| now_us.saturating_sub(window.at_us));
        let step = least.saturating_sub(before);
        let (expected, most) = match self.line {
            Some(line) => (line.rise_us(passed_us), STEP_US),
            None => (0, passed_us.saturating_mul(DRIFT_PPM_MAX) / 1_000_000 + STEP_US / 2),
        };
        if step.saturating_sub(expected).saturating_abs() > most {
            self.steps_us = self.steps_us.saturating_add(step.saturating_sub(expected));
        }
        if self.windows.len() == DRIFT_WINDOWS {
            self.windows.pop_front();
        }
        let transit_us = least.saturating_sub(self.steps_us);
        self.even_us.get_or_insert(transit_us);
        self.windows.push_back(Least { at_us: now_us, transit_us });
        self.decide(passed_us);
    }

    fn decide(&mut self, passed_us: i64) {
        self.line = Line::through(&self.windows);
        let (Some(line), Some(even_us)) = (self.line, self.even_us) else {
            self.wanted_ns = 0;
            return;
        };
        // A clock that is fast makes the way shorter and shorter.
        self.ppb = -line.ppb;
        if !line.is_certain() {
            return;
        }
        let evidence = match self.evidence_ns {
            Some(evidence) => evidence.saturating_add(line.rise_us(passed_us).saturating_mul(1000)),
            None => line.moved_us.saturating_mul(1000),
        };
        self.evidence_ns = Some(evidence);
        let moved_ns = line.end_us.saturating_sub(even_us).saturating_mul(1000);
        let apart = moved_ns.saturating_sub(self.corrected_ns);
        // Apart they may be by some accident of the network; not if they were seen to drift apart.
        let drifted = evidence.signum() == apart.signum() && line.ppb.signum() == apart.signum();
        let far = |ns: i64, least_us: i64| ns.saturating_abs() >= least_us * 1000;
        if drifted && far(apart, SLACK_US) && far(evidence, SLACK_US * 2 / 3) {
            self.wanted_ns = apart;
            self.planned_ns = apart.saturating_abs();
        }
    }
}

/// How the least transit has moved.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Its slope in parts per billion.
    ppb: i64,
    /// Its value at the last window.
    end_us: i64,
    /// How much it has risen or fallen.
    moved_us: i64,
    /// Half of the windows are no farther from it than this.
    off_us: i64,
}

impl Line {
    /// The line through `windows`, if most lie on one. Its slope is the median over all pairs, which
    /// a few bad windows do not move.
    fn through(windows: &VecDeque<Least>) -> Option<Self> {
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
        let (first, last) = (windows.front()?, windows.back()?);
        let mut line = Self { ppb: median(&mut slopes)?, end_us: 0, moved_us: 0, off_us: 0 };
        line.moved_us = line.rise_us(last.at_us.saturating_sub(first.at_us));
        let end = |window: &Least| {
            window.transit_us.saturating_add(line.rise_us(last.at_us.saturating_sub(window.at_us)))
        };
        let mut ends: Vec<i64> = windows.iter().map(end).collect();
        let middle = median(&mut ends)?;
        let mut off: Vec<i64> = ends.iter().map(|end| end.saturating_sub(middle).saturating_abs()).collect();
        off.sort_unstable();
        line.end_us = middle;
        line.off_us = median(&mut off)?;
        let most = *off.get(off.len() * 3 / 4)?;
        (most <= STRAIGHT_US).then_some(line)
    }

    /// What it moves in so much time.
    const fn rise_us(&self, passed_us: i64) -> i64 {
        passed_us.saturating_mul(self.ppb) / 1_000_000_000
    }

    /// Whether it is a drift and not the noise of the measurement.
    const fn is_certain(&self) -> bool {
        self.ppb.abs() >= DRIFT_PPB_MIN && self.moved_us.abs() >= self.off_us.saturating_mul(CERTAIN)
    }
}

fn median(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_possible_truncation, reason = "no call lasts for 292,000 years")]
const fn micros(time: Duration) -> i64 {
    time.as_micros() as i64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "timestamps wrap")]
const fn low_32(count: i64) -> u32 {
    count as u32
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;
    use offhook_netem::{Link, Rng, Weather};
    use std::time::Instant;

    const PACKET_NS: i64 = 20_000_000;
    const SAMPLE_NS: i64 = 125_000;

    /// What came of one call: samples put in less those left out, all that were touched, the rate
    /// told at the end, and how far apart the clocks were at most, in microseconds.
    #[derive(Debug)]
    struct Told {
        balance: i64,
        touched: i64,
        ppm: i64,
        apart_us: i64,
    }

    /// `minutes` of packets from a clock that is `ppm` fast; `arrival` says when each comes.
    fn call(minutes: u64, ppm: i64, weather: Weather, mut late: impl FnMut(u64) -> Duration) -> Told {
        let start = Instant::now();
        let mut link = Link::new(5, weather);
        let mut drift = Drift::default();
        let mut told = Told { balance: 0, touched: 0, ppm: 0, apart_us: 0 };
        for n in 0..minutes * 3000 {
            let sent_ns = n * 20_000_000;
            let early = i64::try_from(sent_ns / 1_000_000).unwrap() * ppm;
            let sent = start + Duration::from_nanos(sent_ns.checked_add_signed(-early).unwrap());
            link.send(sent, n);
            while let Some((at, n)) = link.receive(sent) {
                let timestamp = u32::try_from(n * 160 % (1 << 32)).unwrap();
                drift.arrived(micros(at + late(n) - start), timestamp.wrapping_sub(1000), 8000);
                if let Some(slip) = drift.next_slip(PACKET_NS, SAMPLE_NS) {
                    drift.slipped(slip, SAMPLE_NS);
                    told.balance += if slip == Slip::In { 1 } else { -1 };
                    told.touched += 1;
                }
                let apart_us = early / 1000 + told.balance * SAMPLE_NS / 1000;
                told.apart_us = told.apart_us.max(apart_us.abs());
            }
        }
        told.ppm = drift.ppm();
        told
    }

    const BAD: Weather = Weather {
        loss: 0.03,
        duplication: 0.0,
        reorder: 0.0,
        reorder_delay: Duration::ZERO,
        delay: Duration::from_millis(40),
        jitter: Duration::from_millis(30),
    };

    #[test]
    fn a_clock_is_followed_for_hours() {
        for ppm in [100, -100, 20, -20, 200, -200] {
            let told = call(120, ppm, BAD, |_| Duration::ZERO);
            assert!(told.apart_us < 24_000, "{ppm}: {told:?}");
            println!("{ppm} ppm: {told:?}");
            assert!((told.ppm - ppm).abs() <= 1 + ppm.abs() / 20, "{ppm}: {told:?}");
            assert_eq!(told.balance.abs(), told.touched, "{ppm}: all one way");
        }
    }

    #[test]
    fn an_even_clock_is_never_touched_on_a_bad_network() {
        assert_eq!(call(180, 0, BAD, |_| Duration::ZERO).touched, 0);
        assert_eq!(call(180, 1, BAD, |_| Duration::ZERO).touched, 0);
    }

    #[test]
    fn an_even_clock_is_never_touched_on_a_busy_machine() {
        for seed in 0..if cfg!(debug_assertions) { 8 } else { 40 } {
            let mut rng = Rng::new(seed);
            let (mut busy_ms, mut until) = (0, 0);
            // Now nothing, now every packet late by up to 80 ms, for anything from a moment to minutes.
            let noise = |n: u64| {
                if n >= until {
                    let most = if rng.chance(0.1) { 6000 } else { 500 };
                    until = n + 10 + rng.below(most);
                    busy_ms = if rng.chance(0.4) { 0 } else { rng.below(80) };
                }
                let spread = rng.below(1 + busy_ms * 500);
                Duration::from_micros(busy_ms * 1000 + spread + if rng.chance(0.01) { 100_000 } else { 0 })
            };
            let told = call(120, 0, Weather::default(), noise);
            assert_eq!(told.touched, 0, "seed {seed}: {told:?}");
        }
    }

    #[test]
    fn another_route_is_no_drift_and_drift_goes_on_behind_it() {
        let route = |n: u64| Duration::from_millis(if (30_000..90_000).contains(&n) { 45 } else { 0 });
        assert_eq!(call(60, 0, BAD, route).touched, 0);
        let told = call(60, -80, BAD, route);
        assert!(told.apart_us < 16_000 && (told.ppm + 80).abs() <= 4, "{told:?}");
    }
}
