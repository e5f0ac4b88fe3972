//! Keys by their tones: all that ITU-T Q.24 asks to be taken is, and voices are not.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests"
)]

use std::f64::consts::TAU;

use offhook_codec::{Codec, DtmfDetector, DtmfDigit};

const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// Mean square of a sine at 0 dBm0 (G.711): full scale is 3.17 dBm0.
const DBM0: f64 = 2.49e8;

const PHASES: [f64; 2] = [0.3, 2.1];

/// Pseudo-random numbers from -1 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / f64::from(1_u32 << 31) / f64::from(1_u32 << 21) - 1.0
    }

    /// About normally distributed, of this power.
    fn gauss(&mut self, rms: f64) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() / 2.0 * rms
    }
}

#[derive(Clone, Copy)]
struct Tone {
    key: char,
    ms: usize,
    /// Of the low tone, and of the high one against it.
    dbm0: f64,
    twist_db: f64,
    /// Parts by which both frequencies are off.
    off: (f64, f64),
}

const PLAIN: Tone = Tone { key: '5', ms: 40, dbm0: -10.0, twist_db: 0.0, off: (0.0, 0.0) };

fn amplitude(dbm0: f64) -> f64 {
    (2.0 * DBM0).sqrt() * 10_f64.powf(dbm0 / 20.0)
}

fn sound(tone: Tone, rate_hz: u32) -> Vec<f64> {
    let row = KEYS.iter().position(|keys| keys.contains(&tone.key)).unwrap();
    let column = KEYS[row].iter().position(|key| *key == tone.key).unwrap();
    let (low, high) = (LOW[row] * (1.0 + tone.off.0), HIGH[column] * (1.0 + tone.off.1));
    let (a, b) = (amplitude(tone.dbm0), amplitude(tone.dbm0 + tone.twist_db));
    let sample = |n: usize| {
        let t = TAU * n as f64 / f64::from(rate_hz);
        a * (low * t + PHASES[0]).sin() + b * (high * t + PHASES[1]).sin()
    };
    (0..tone.ms * rate_hz as usize / 1000).map(sample).collect()
}

fn silence(ms: usize) -> Vec<f64> {
    vec![0.0; ms * 8]
}

/// As it arrives by mu-law, with noise added before.
fn carried(sound: &[f64], noise_rms: f64) -> Vec<i16> {
    let mut noise = Noise(7);
    let mu = |x: f64| Codec::Pcmu.decode_sample(Codec::Pcmu.encode_sample(x as i16));
    sound.iter().map(|x| mu(x + noise.gauss(noise_rms))).collect()
}

fn heard(pcm: &[i16]) -> Vec<DtmfDigit> {
    let (mut detector, mut digits) = (DtmfDetector::new(8000).unwrap(), Vec::new());
    for packet in pcm.chunks(160) {
        detector.audio(packet, &mut |digit| digits.push(digit));
    }
    detector.finish(&mut |digit| digits.push(digit));
    digits
}

fn keys(pcm: &[i16]) -> String {
    heard(pcm).iter().map(|digit| digit.digit).collect()
}

const ALL: &str = "123A456B789C*0#D";

/// All keys one after the other, each at another place against the windows.
fn dialled(tone: Tone, pause_ms: usize) -> Vec<f64> {
    let mut sounds = silence(100);
    for (n, key) in ALL.chars().enumerate() {
        sounds.extend(sound(Tone { key, ..tone }, 8000));
        sounds.extend(silence(pause_ms));
        sounds.extend(vec![0.0; n * 7 % 80]);
    }
    sounds.extend(silence(100));
    sounds
}

#[test]
fn every_key_is_heard_at_every_level_and_twist_that_must_be_taken() {
    for dbm0 in [-3.0, -10.0, -20.0, -28.0, -36.0] {
        for twist_db in [-8.0, -4.0, 0.0, 4.0] {
            for ms in [40, 50, 100] {
                // The louder tone is at the level named, the weaker no lower than -36 dBm0.
                let low: f64 = if twist_db > 0.0 { dbm0 - twist_db } else { dbm0 };
                let low = low.max(-36.0 + f64::max(-twist_db, 0.0));
                let tone = Tone { ms, dbm0: low, twist_db, ..PLAIN };
                let told = keys(&carried(&dialled(tone, 40), 0.0));
                assert_eq!(told, ALL, "{dbm0} dBm0, twist {twist_db} dB, {ms} ms");
            }
        }
    }
}

#[test]
fn keys_are_heard_above_noise() {
    for (dbm0, twist_db) in [(-3.0, -8.0), (-10.0, 0.0), (-20.0, 4.0), (-28.0, -8.0)] {
        // 15 dB below both tones together.
        let both = 10_f64.powf(dbm0 / 10.0) + 10_f64.powf((dbm0 + twist_db) / 10.0);
        let noise_rms = (DBM0 * both / 31.6).sqrt();
        let tone = Tone { ms: 50, dbm0, twist_db, ..PLAIN };
        assert_eq!(keys(&carried(&dialled(tone, 50), noise_rms)), ALL, "{dbm0} dBm0, twist {twist_db} dB");
    }
}

#[test]
fn frequencies_one_and_a_half_percent_off_are_taken_and_three_and_a_half_are_not() {
    for (low, high) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0), (0.0, 1.0), (-1.0, 0.0)] {
        for twist_db in [-8.0, 0.0, 4.0] {
            for ms in [40, 60] {
                let tone =
                    |part: f64| Tone { ms, dbm0: -14.0, twist_db, off: (low * part, high * part), ..PLAIN };
                let name = format!("{low} {high}, twist {twist_db} dB, {ms} ms");
                assert_eq!(keys(&carried(&dialled(tone(0.015), 40), 0.0)), ALL, "{name}");
                for far in [0.035, 0.045, 0.06] {
                    assert_eq!(keys(&carried(&dialled(tone(far), 40), 0.0)), "", "{name}: {far}");
                }
            }
        }
    }
}

#[test]
fn what_is_too_short_twisted_or_weak_is_no_key() {
    let one = |tone: Tone| keys(&carried(&dialled(tone, 60), 0.0));
    assert_eq!(one(Tone { ms: 20, ..PLAIN }), "");
    assert_eq!(one(Tone { twist_db: 10.0, dbm0: -20.0, ..PLAIN }), "");
    assert_eq!(one(Tone { twist_db: -14.0, ..PLAIN }), "");
    assert_eq!(one(Tone { dbm0: -50.0, ..PLAIN }), "");
}

#[test]
fn a_press_that_breaks_off_for_a_moment_is_one() {
    let press = |gap: usize| {
        let half = sound(Tone { ms: 60, ..PLAIN }, 8000);
        keys(&carried(&[silence(100), half.clone(), silence(gap), half, silence(100)].concat(), 0.0))
    };
    assert_eq!((press(0), press(10), press(40)), ("5".into(), "5".into(), "55".into()));
}

#[test]
fn a_lost_packet_does_not_double_a_press_whatever_is_put_in_its_place() {
    let pcm = carried(&[silence(40), sound(Tone { ms: 120, ..PLAIN }, 8000), silence(100)].concat(), 0.0);
    for missing in 0..13 {
        let (mut detector, mut digits) = (DtmfDetector::new(8000).unwrap(), Vec::new());
        for (n, packet) in pcm.chunks(160).enumerate() {
            if n == missing {
                detector.lost(160, &mut |digit| digits.push(digit));
            } else {
                detector.audio(packet, &mut |digit| digits.push(digit));
            }
        }
        assert_eq!(digits.len(), 1, "packet {missing} lost");
    }
}

#[test]
fn a_press_is_told_once_with_its_length_when_it_ends() {
    let pcm = carried(&[silence(95), sound(Tone { ms: 300, ..PLAIN }, 8000), silence(100)].concat(), 0.0);
    let (mut detector, mut digits) = (DtmfDetector::new(8000).unwrap(), Vec::new());
    for (n, packet) in pcm.chunks(80).enumerate() {
        detector.audio(packet, &mut |digit| digits.push((n as u32 * 10 + 10, digit)));
    }
    let [(ms, digit)] = digits[..] else { panic!("{digits:?}") };
    assert!(digit.duration_ms.abs_diff(300) <= 15, "{digit:?}");
    assert!((ms - digit.ended_ms_ago).abs_diff(395) <= 15, "{ms} {digit:?}");
    assert!(!detector.holds());
}

#[test]
fn keys_are_heard_at_every_rate_of_a_leg() {
    for rate_hz in [8000, 16_000, 24_000, 48_000] {
        let pcm: Vec<i16> = ALL
            .chars()
            .flat_map(|key| {
                let mut tone = sound(Tone { key, ms: 60, ..PLAIN }, rate_hz);
                tone.resize(tone.len() * 2, 0.0);
                tone
            })
            .map(|x| x as i16)
            .collect();
        let (mut detector, mut digits) = (DtmfDetector::new(rate_hz).unwrap(), String::new());
        detector.audio(&pcm, &mut |digit| digits.push(digit.digit));
        assert_eq!(digits, ALL, "{rate_hz} Hz");
    }
}

/// An hour of voices: pulses at a pitch that moves, through formants that move.
fn babble(seconds: usize, seed: u64) -> Vec<i16> {
    let mut noise = Noise(seed);
    let mut pcm = Vec::with_capacity(seconds * 8000);
    let mut phase = 0.0;
    let mut state = [[0.0_f64; 2]; 4];
    while pcm.len() < seconds * 8000 {
        let length = 400 + (noise.next().abs() * 2400.0) as usize;
        let (pitch, end_pitch) = (80.0 + 320.0 * noise.next().abs(), 80.0 + 320.0 * noise.next().abs());
        // Half of the voices stand still, which is the harder case.
        let end_pitch = if noise.next() > 0.0 { pitch } else { end_pitch };
        let formants = [
            300.0 + 700.0 * noise.next().abs(),
            800.0 + 1400.0 * noise.next().abs(),
            2000.0 + 1000.0 * noise.next().abs(),
            3300.0,
        ];
        let width = 30.0 + 120.0 * noise.next().abs();
        let (breath, gain) = (0.2 * noise.next().abs(), 1500.0 * noise.next().abs());
        for n in 0..length {
            let part = n as f64 / length as f64;
            phase += (pitch + (end_pitch - pitch) * part) / 8000.0;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            let mut x = pulse * 3.0 + breath * noise.next();
            for (formant, kept) in formants.iter().zip(&mut state) {
                let r = (-TAU / 2.0 * width / 8000.0).exp();
                let c = 2.0 * r * (TAU * formant / 8000.0).cos();
                let y = (1.0 - r) * 4.0 * x + c * kept[0] - r * r * kept[1];
                *kept = [y, kept[0]];
                x = y + 0.2 * x;
            }
            let edge = (part.min(1.0 - part) * 20.0).min(1.0);
            pcm.push((x * gain * edge * 8.0).clamp(-32_000.0, 32_000.0) as i16);
        }
    }
    pcm
}

#[test]
fn an_hour_of_voices_is_no_key() {
    let minutes = if cfg!(debug_assertions) { 6 } else { 60 };
    for minute in 0..minutes {
        let voices = babble(60, minute);
        assert_eq!(keys(&voices), "", "minute {minute}");
    }
}

#[test]
fn recorded_voices_are_no_key() {
    // At many speeds, so that pitches and formants of many people are heard.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/speech");
    let mut seconds = 0.0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "wav") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let samples: Vec<f64> = bytes[44..]
            .chunks_exact(2)
            .map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])))
            .collect();
        let rate_hz = f64::from(u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]));
        for speed in 0..if cfg!(debug_assertions) { 20 } else { 120 } {
            let step = rate_hz / 8000.0 * (0.7 + f64::from(speed) * 0.6 / 120.0);
            let sample = |n: usize| {
                let at = n as f64 * step;
                let (a, b) = (samples[at as usize], samples[at as usize + 1]);
                (a + (b - a) * at.fract()) as i16
            };
            let count = ((samples.len() - 2) as f64 / step) as usize;
            let pcm: Vec<i16> = (0..count).map(sample).collect();
            seconds += count as f64 / 8000.0;
            assert_eq!(keys(&pcm), "", "{} at speed {speed}", path.display());
        }
    }
    println!("{seconds:.0} s of recorded speech, no key");
}

#[test]
fn single_tones_and_ringing_are_no_key() {
    for frequencies in [
        [350.0, 440.0],
        [440.0, 480.0],
        [480.0, 620.0],
        [697.0, 697.0],
        [1209.0, 0.0],
        [697.0, 770.0],
        [1209.0, 1336.0],
        [1004.0, 0.0],
        [1100.0, 0.0],
        [2100.0, 0.0],
        [1300.0, 1633.0],
    ] {
        let sample = |n: usize| {
            let t = TAU * n as f64 / 8000.0;
            (6000.0 * frequencies.iter().map(|f| (f * t).sin()).sum::<f64>()) as i16
        };
        assert_eq!(keys(&(0..8000).map(sample).collect::<Vec<_>>()), "", "{frequencies:?}");
    }
}
