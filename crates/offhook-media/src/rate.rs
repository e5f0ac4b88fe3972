//! Changes the sample rate of audio, if it has to be changed.

use offhook_codec::Resampler;

/// Audio at one rate made into audio at another; nothing is done where both are the same.
#[derive(Debug)]
pub(crate) struct Rate {
    from_hz: u32,
    to_hz: u32,
    resampler: Option<Box<Resampler>>,
    delay: u64,
}

impl Rate {
    pub(crate) fn new(from_hz: u32, to_hz: u32) -> Self {
        let resampler = if from_hz == to_hz { None } else { Resampler::new(from_hz, to_hz) };
        let delay = resampler.as_ref().map_or(0, |resampler| {
            let input = u64::try_from(resampler.delay()).unwrap_or(0);
            (input * u64::from(to_hz)).div_ceil(u64::from(from_hz.max(1)))
        });
        Self { from_hz, to_hz, resampler: resampler.map(Box::new), delay }
    }

    pub(crate) const fn from_hz(&self) -> u32 {
        self.from_hz
    }

    pub(crate) const fn to_hz(&self) -> u32 {
        self.to_hz
    }

    /// Whether audio goes through untouched.
    pub(crate) const fn is_same(&self) -> bool {
        self.resampler.is_none()
    }

    /// How far the output lies behind the input, in samples of the output.
    pub(crate) const fn delay(&self) -> u64 {
        self.delay
    }

    /// Append the resampled audio to `out`.
    pub(crate) fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match &mut self.resampler {
            None => out.extend_from_slice(pcm),
            Some(resampler) => resampler.process(pcm, out),
        }
    }

    /// Append what the delay holds, and begin anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<i16>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(out);
        }
    }

    /// Forget what the delay holds.
    pub(crate) fn reset(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }
}
