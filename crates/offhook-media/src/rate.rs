//! Changes the sample rate of audio, if it has to be changed.

use offhook_codec::{RESAMPLER_DELAY, Resampler, Upsampler};

use crate::clock::wide;

/// Audio at one rate made into audio at another; nothing is done where both are the same.
#[derive(Debug)]
pub(crate) struct Rate {
    from_hz: u32,
    to_hz: u32,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Same,
    /// Telephone audio for a recogniser or an agent is the commonest case, and costs a fifth this way.
    Double(Box<Upsampler>),
    Any(Box<Resampler>),
}

impl Rate {
    /// Between two rates that L16 or mp3 may have.
    pub(crate) fn new(from_hz: u32, to_hz: u32) -> Self {
        let way = match Resampler::new(from_hz, to_hz) {
            Some(_) if to_hz == 2 * from_hz => Way::Double(Box::default()),
            Some(resampler) if from_hz != to_hz => Way::Any(Box::new(resampler)),
            _ => Way::Same,
        };
        Self { from_hz, to_hz, way }
    }

    pub(crate) const fn input_hz(&self) -> u32 {
        self.from_hz
    }

    pub(crate) const fn output_hz(&self) -> u32 {
        self.to_hz
    }

    /// Whether audio goes through untouched.
    pub(crate) const fn is_same(&self) -> bool {
        matches!(self.way, Way::Same)
    }

    /// How far the output lies behind the input, in samples of the output.
    pub(crate) fn delay(&self) -> u64 {
        wide(self.delay_in()).saturating_mul(u64::from(self.to_hz)).div_ceil(u64::from(self.from_hz.max(1)))
    }

    /// The same in samples of the input.
    fn delay_in(&self) -> usize {
        match &self.way {
            Way::Same => 0,
            Way::Double(_) => RESAMPLER_DELAY,
            Way::Any(resampler) => resampler.delay(),
        }
    }

    /// Append the resampled audio to `out`.
    pub(crate) fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match &mut self.way {
            Way::Same => out.extend_from_slice(pcm),
            Way::Double(upsampler) => upsampler.process(pcm, out),
            Way::Any(resampler) => resampler.process(pcm, out),
        }
    }

    /// Append what the delay holds, and begin anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<i16>) {
        let rest = vec![0; self.delay_in()];
        self.process(&rest, out);
        self.reset();
    }

    /// Forget what the delay holds.
    pub(crate) fn reset(&mut self) {
        match &mut self.way {
            Way::Same => {}
            Way::Double(upsampler) => **upsampler = Upsampler::default(),
            Way::Any(resampler) => resampler.reset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_gives_all_of_the_audio_after_its_delay() {
        for (from_hz, to_hz, exact) in
            [(8000, 8000, true), (8000, 16_000, false), (16_000, 8000, false), (22_050, 48_000, false)]
        {
            let mut rate = Rate::new(from_hz, to_hz);
            assert_eq!((rate.is_same(), rate.delay() == 0), (exact, exact));
            let mut out = Vec::new();
            rate.process(&vec![1000; from_hz as usize], &mut out);
            assert_eq!(out.len(), to_hz as usize, "{from_hz} to {to_hz}");
            rate.finish(&mut out);
            assert!(wide(out.len()).abs_diff(u64::from(to_hz) + rate.delay()) <= 1);
            let middle = &out[out.len() / 4..out.len() / 2];
            assert!(middle.iter().all(|&sample| sample.abs_diff(1000) <= 2), "{from_hz} to {to_hz}");
        }
    }
}
