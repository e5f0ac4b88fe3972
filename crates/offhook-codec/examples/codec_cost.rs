//! What each codec and each change of rate costs for 20 ms of speech-like sound, in microseconds.
//!
//! `cargo run --release -p offhook-codec --example codec_cost`
#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a measurement")]

use std::f64::consts::TAU;
use std::time::Instant;

use offhook_codec::{Codec, Decoder, Encoder, Format, L16_RATES_HZ, OPUS_RATES_HZ, Resampler};

const FRAMES: u32 = 2000;

/// Pulses at the pitch of a voice through a wandering formant, and a little noise.
#[expect(clippy::cast_possible_truncation, reason = "a test signal")]
fn voice(rate_hz: u32) -> Vec<i16> {
    let rate = f64::from(rate_hz);
    let (mut seed, mut one, mut two) = (1_u32, 0.0, 0.0);
    let sample = |n: u32| {
        let t = f64::from(n) / rate;
        let pitch = 120.0 + 30.0 * (2.0 * t).sin();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(seed >> 16) / 65_536.0 - 0.5;
        let pulse = if (t * pitch).fract() < pitch / rate { 3000.0 } else { 0.0 };
        let formant = TAU * (500.0 + 200.0 * (3.0 * t).sin()) / rate;
        let value = pulse + 100.0 * noise + 1.94 * formant.cos() * one - 0.9409 * two;
        (one, two) = (value, one);
        value as i16
    };
    (0..rate_hz / 50 * FRAMES).map(sample).collect()
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / f64::from(FRAMES)
}

fn main() {
    let mut formats = vec![Format::G711(Codec::Pcmu), Format::G722, Format::AmrWb { octet_align: true }];
    formats.extend(OPUS_RATES_HZ.map(|sample_rate_hz| Format::Opus { sample_rate_hz }));
    formats.extend(Format::from_name("L16", Some(16_000)));
    for format in formats {
        let (Ok(mut encoder), Ok(mut decoder)) = (Encoder::new(format), Decoder::new(format)) else {
            println!("{:8} is not available here", format.name());
            continue;
        };
        let pcm = voice(format.sample_rate_hz());
        let mut payloads = Vec::new();
        let start = Instant::now();
        for frame in pcm.chunks(format.samples(20)) {
            let mut payload = Vec::with_capacity(640);
            encoder.encode(frame, &mut payload).expect("20 ms are a frame of every format");
            payloads.push(payload);
        }
        let encoding = micros(start);
        let mut out = Vec::new();
        let start = Instant::now();
        for payload in &payloads {
            out.clear();
            decoder.decode(payload, &mut out).expect("our own payload is good");
        }
        let decoding = micros(start);
        let start = Instant::now();
        for _ in &payloads {
            out.clear();
            decoder.conceal(20, None, &mut out);
        }
        let concealing = micros(start);
        let bytes = payloads.iter().map(Vec::len).sum::<usize>() / payloads.len();
        println!(
            "{:8} {:5} Hz  encode {encoding:6.2}  decode {decoding:6.2}  conceal {concealing:6.2}  {bytes} bytes",
            format.name(),
            format.sample_rate_hz()
        );
    }
    for from in L16_RATES_HZ {
        let pcm = voice(from);
        for to in L16_RATES_HZ {
            let Some(mut resampler) = Resampler::new(from, to) else { continue };
            let mut out = Vec::with_capacity(960);
            let start = Instant::now();
            for frame in pcm.chunks(pcm.len() / FRAMES as usize) {
                out.clear();
                resampler.process(frame, &mut out);
            }
            println!("{from:5} to {to:5} Hz  {:6.2}", micros(start));
        }
    }
}
