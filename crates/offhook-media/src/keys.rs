//! Keys told by their tones, where the far end sends no telephone-events.

use std::collections::VecDeque;
use std::time::Instant;

use offhook_codec::{DtmfDetector, DtmfDigit};

use crate::clock::{Position, tick_of, wide};
use crate::limits::{DIGIT_EXPIRY, DIGITS_MAX};
use crate::piece::Pcm;

/// Listens to the rx track.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// With its sample rate; made when the first samples come.
    detector: Option<(u32, DtmfDetector)>,
    /// Where the next sample belongs.
    end: Position,
    /// Presses that are over and not yet told.
    heard: VecDeque<DtmfDigit>,
    due: Option<Instant>,
}

impl Keys {
    /// Take samples of the track.
    pub(crate) fn samples(&mut self, now: Instant, pcm: Pcm<'_>) {
        if self.detector.as_ref().is_none_or(|(rate_hz, _)| *rate_hz != pcm.rate_hz) || pcm.at > self.end {
            self.finish();
            self.detector = DtmfDetector::new(pcm.rate_hz).ok().map(|detector| (pcm.rate_hz, detector));
        }
        self.end = pcm.at.saturating_add(wide(pcm.samples.len()).saturating_mul(tick_of(pcm.rate_hz)));
        let Some((_, detector)) = &mut self.detector else { return };
        let heard = &mut self.heard;
        let mut keep = |digit| {
            if heard.len() < DIGITS_MAX {
                heard.push_back(digit);
            }
        };
        if pcm.made_up {
            detector.lost(pcm.samples.len(), &mut keep);
        } else {
            detector.audio(pcm.samples, &mut keep);
        }
        self.due = if detector.holds() { now.checked_add(DIGIT_EXPIRY) } else { None };
    }

    /// The next press that is over.
    pub(crate) fn next(&mut self) -> Option<DtmfDigit> {
        self.heard.pop_front()
    }

    /// A press whose audio has stopped is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.due.take_if(|due| *due <= now).is_some() {
            self.finish();
        }
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn finish(&mut self) {
        self.due = None;
        if let Some((_, detector)) = &mut self.detector {
            let heard = &mut self.heard;
            detector.finish(&mut |digit| heard.push_back(digit));
        }
    }
}
