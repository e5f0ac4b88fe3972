//! Finds the tones of keys in audio, for far ends that send no telephone-events (ITU-T Q.23, Q.24).
//!
//! Every 10 ms the 20 ms before are looked at, at the eight frequencies and with a Hann window. Two
//! tones make a key when they are nearly all that is heard, when each is where it should be and when
//! neither is much louder than the other. Where a tone is says its phase: what it turned since the
//! window before, beyond what the frequency turns, is how far it is off. Three windows in a row
//! make a press; voices do not hold two pure tones for that long.

use std::f64::consts::TAU;
use std::sync::LazyLock;

use crate::{CodecError, Resampler};

const RATE_HZ: u32 = 8000;
/// Samples in a window, and from one to the next.
const WINDOW: usize = 160;
const HOP: usize = 80;
const HOP_MS: u32 = 10;
const WINDOW_MS: u32 = 20;
/// Longest loss that a press may span.
const LOST_MAX: usize = 800;

const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Mean square of a sine at 0 dBm0, as G.711 defines it, in 16 bit samples.
const DBM0: f32 = 2.49e8;
/// Least power of each tone: -41 dBm0.
const POWER_MIN: f32 = DBM0 * 7.9e-5;
/// Windows with less than -51 dBm0 are not looked at.
const QUIET: f32 = DBM0 * 7.9e-6;
/// Part of all power that the two tones make up.
const PURITY_MIN: f32 = 0.75;
/// High tone against low: +6 and -10 dB, with room around the +4 and -8 dB that must be taken.
const TWIST: (f32, f32) = (0.1, 4.0);
/// Off by more than this part of its frequency a tone is none of ours.
const OFF_MAX: f32 = 0.025;
/// Windows in a row that make a press.
const HEARD_MIN: u32 = 3;
/// Windows in a row without it that end one.
const MISSED_MAX: u32 = 3;
/// A press that has become weaker than this part of its loudest is over.
const FADED: f32 = 0.25;

/// For each sample of a window its weight at each frequency: cosines, then sines.
static TABLE: LazyLock<Vec<[f32; 16]>> = LazyLock::new(table);
/// Sum of the weights of the window, and of their squares.
const WEIGHT: f32 = 80.0;
const WEIGHT_SQUARED: f32 = 60.0;

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small counts and weights")]
fn table() -> Vec<[f32; 16]> {
    let weights = |n: usize| {
        let time = n as f64 / f64::from(RATE_HZ);
        let window = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / WINDOW as f64).cos();
        std::array::from_fn(|k| {
            let angle = TAU * frequency(k % 8) * time;
            (window * if k < 8 { angle.cos() } else { -angle.sin() }) as f32
        })
    };
    (0..WINDOW).map(weights).collect()
}

fn frequency(k: usize) -> f64 {
    LOW.iter().chain(&HIGH).nth(k).copied().unwrap_or(0.0)
}

/// A key that was pressed and let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtmfDigit {
    /// One of `0123456789*#ABCD`.
    pub digit: char,
    /// How long it was heard.
    pub duration_ms: u32,
    /// How long before the last sample given it ended.
    pub ended_ms_ago: u32,
}

/// One frequency in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    re: f32,
    im: f32,
}

impl Bin {
    fn power(self) -> f32 {
        2.0 * (self.re * self.re + self.im * self.im) / (WEIGHT * WEIGHT)
    }
}

/// A press that may be one, or is one.
#[derive(Clone, Copy, Debug)]
struct Press {
    digit: char,
    heard: u32,
    /// Windows from its first to the present.
    age: u32,
    missed: u32,
    loudest: f32,
}

/// Hears keys in the audio of one track, given in pieces of any length.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    to_8k: Option<Resampler>,
    resampled: Vec<i16>,
    rate_hz: u32,
    /// What the windows to come begin with.
    samples: Vec<f32>,
    /// End and beginning of what was lost, counted in `samples`.
    lost: Option<(usize, usize)>,
    before: Option<[Bin; 8]>,
    press: Option<Press>,
    next: Option<Press>,
}

impl DtmfDetector {
    /// A detector for audio of this rate.
    pub fn new(sample_rate_hz: u32) -> Result<Self, CodecError> {
        let to_8k = match sample_rate_hz {
            RATE_HZ => None,
            other => Some(Resampler::new(other, RATE_HZ).ok_or(CodecError::Unsupported)?),
        };
        Ok(Self {
            to_8k,
            resampled: Vec::new(),
            rate_hz: sample_rate_hz,
            samples: Vec::with_capacity(2 * WINDOW),
            lost: None,
            before: None,
            press: None,
            next: None,
        })
    }

    /// Listen on; what was pressed and let go comes out through `out`.
    pub fn audio(&mut self, pcm: &[i16], out: &mut impl FnMut(DtmfDigit)) {
        match &mut self.to_8k {
            None => self.samples.extend(pcm.iter().map(|&sample| f32::from(sample))),
            Some(resampler) => {
                self.resampled.clear();
                resampler.process(pcm, &mut self.resampled);
                self.samples.extend(self.resampled.iter().map(|&sample| f32::from(sample)));
            }
        }
        self.listen(out);
    }

    /// So many samples did not come: a press goes on over a short loss, and ends with a long one.
    pub fn lost(&mut self, count: usize, out: &mut impl FnMut(DtmfDigit)) {
        let rate = usize::try_from(self.rate_hz).unwrap_or(1).max(1);
        let count = count.saturating_mul(8000) / rate;
        if count > LOST_MAX {
            return self.finish(out);
        }
        let from = self.samples.len();
        self.samples.resize(from.saturating_add(count), 0.0);
        let until = self.samples.len();
        self.lost = Some((self.lost.map_or(from, |(earlier, _)| earlier), until));
        self.listen(out);
    }

    /// Nothing follows: a press under way ends. Begins anew after that.
    pub fn finish(&mut self, out: &mut impl FnMut(DtmfDigit)) {
        if let Some(press) = self.press.take() {
            out(press.told());
        }
        if let Some(resampler) = &mut self.to_8k {
            resampler.reset();
        }
        self.samples.clear();
        self.lost = None;
        self.before = None;
        self.next = None;
    }

    /// Whether a press is under way.
    pub const fn holds(&self) -> bool {
        self.press.is_some()
    }

    fn listen(&mut self, out: &mut impl FnMut(DtmfDigit)) {
        let mut at = 0;
        while let Some(window) = self.samples.get(at..at + WINDOW) {
            let spoilt = self.lost.is_some_and(|(from, until)| at < until && at + WINDOW > from);
            let power = window_power(window);
            let bins = (!spoilt && power >= QUIET).then(|| transform(window));
            if spoilt || (bins.is_some() && self.before.is_none()) {
                // Nothing is known of this one, for or against a press.
                self.press.iter_mut().chain(&mut self.next).for_each(|press| press.age += 1);
            } else {
                let heard = bins.zip(self.before).and_then(|(bins, before)| key(&bins, &before, power));
                self.judge(heard, out);
            }
            self.before = bins;
            at += HOP;
        }
        self.samples.drain(..at);
        self.lost = self
            .lost
            .map(|(from, until)| (from.saturating_sub(at), until.saturating_sub(at)))
            .filter(|(_, until)| *until > 0);
    }

    /// Take what one window told: a key and its power, or nothing.
    fn judge(&mut self, heard: Option<(char, f32)>, out: &mut impl FnMut(DtmfDigit)) {
        if let Some(press) = &mut self.press {
            press.age += 1;
            let same =
                heard.is_some_and(|(digit, power)| digit == press.digit && power >= press.loudest * FADED);
            if same {
                press.missed = 0;
                press.loudest = press.loudest.max(heard.map_or(0.0, |(_, power)| power));
                return;
            }
            press.missed += 1;
            if press.missed >= MISSED_MAX {
                out(press.told());
                self.press = None;
            }
        }
        let Some((digit, power)) = heard else {
            self.next = None;
            return;
        };
        let fresh = Press { digit, heard: 0, age: 0, missed: 0, loudest: 0.0 };
        let mut next = self.next.filter(|next| next.digit == digit).unwrap_or(fresh);
        next.heard += 1;
        next.age += 1;
        next.loudest = next.loudest.max(power);
        self.next = Some(next);
        if next.heard >= HEARD_MIN {
            if let Some(press) = self.press.take_if(|press| press.digit != digit) {
                out(press.told());
            }
            self.press = Some(next);
            self.next = None;
        }
    }
}

impl Press {
    const fn told(&self) -> DtmfDigit {
        let windows = self.age.saturating_sub(self.missed);
        DtmfDigit {
            digit: self.digit,
            duration_ms: windows.saturating_sub(1) * HOP_MS + WINDOW_MS,
            ended_ms_ago: self.missed * HOP_MS,
        }
    }
}

/// Mean square under the window.
fn window_power(window: &[f32]) -> f32 {
    let weighted = window.iter().zip(SQUARES.iter()).map(|(&sample, &weight)| sample * sample * weight);
    weighted.sum::<f32>() / WEIGHT_SQUARED
}

/// Squares of the weights of the window, from the cosine and the sine of one frequency.
static SQUARES: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let square = |row: &[f32; 16]| {
        let [cosine, sine] = [row.first(), row.get(8)].map(|value| value.copied().unwrap_or(0.0));
        cosine * cosine + sine * sine
    };
    TABLE.iter().map(square).collect()
});

fn transform(window: &[f32]) -> [Bin; 8] {
    let mut sums = [0.0_f32; 16];
    for (&sample, weights) in window.iter().zip(TABLE.iter()) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += sample * weight;
        }
    }
    let (re, im) = sums.split_at(8);
    let mut bins = [Bin::default(); 8];
    for (bin, (&re, &im)) in bins.iter_mut().zip(re.iter().zip(im)) {
        *bin = Bin { re, im };
    }
    bins
}

/// The key in one window, and its power, if there is one.
fn key(bins: &[Bin; 8], before: &[Bin; 8], power: f32) -> Option<(char, f32)> {
    let loudest = |from: usize| {
        let group = bins.iter().enumerate().skip(from).take(4);
        group.max_by(|a, b| a.1.power().total_cmp(&b.1.power())).map(|(k, _)| k)
    };
    let (low, high) = (loudest(0)?, loudest(4)?);
    let tone = |k: usize| tone_power(k, *bins.get(k)?, *before.get(k)?);
    let (low_power, high_power) = (tone(low)?, tone(high)?);
    let twist = high_power / low_power;
    let heard = low_power + high_power;
    let is_key = low_power.min(high_power) >= POWER_MIN
        && (TWIST.0..=TWIST.1).contains(&twist)
        && heard >= PURITY_MIN * power;
    let digit = KEYS.get(low)?.get(high - 4)?;
    is_key.then_some((*digit, heard))
}

/// The power of the tone near frequency number `k`; nothing when it is not near enough.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small counts and weights")]
fn tone_power(k: usize, bin: Bin, before: Bin) -> Option<f32> {
    let turned = TAU * (frequency(k) * HOP as f64 / f64::from(RATE_HZ)).fract();
    let (sine, cosine) = (turned as f32).sin_cos();
    // The bin now over the bin before, less what the frequency itself turns.
    let (re, im) = (bin.re * before.re + bin.im * before.im, bin.im * before.re - bin.re * before.im);
    let off_turn = (im * cosine - re * sine).atan2(re * cosine + im * sine);
    let off_hz = off_turn / std::f32::consts::TAU * RATE_HZ as f32 / HOP as f32;
    if off_hz.abs() > OFF_MAX * frequency(k) as f32 {
        return None;
    }
    // A tone beside the middle of a bin shows less of itself.
    let x = off_hz * WINDOW as f32 / RATE_HZ as f32;
    let angle = std::f32::consts::PI * x;
    let shown = if x.abs() < 0.05 { 1.0 } else { angle.sin() / angle / (1.0 - x * x) };
    Some(bin.power() / (shown * shown))
}
