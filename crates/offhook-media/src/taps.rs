//! The taps of one leg, by id, in the order they were added.

use std::time::{Duration, Instant};

use crate::clock::Position;
use crate::fork::ForkTap;
use crate::keys::Keys;
use crate::limits::TAPS_MAX;
use crate::params::{Refused, TapId, Track};
use crate::piece::{Far, Hearing, Pcm, Piece};
use crate::playout::Playout;
use crate::recording::RecordingTap;
use crate::sink::{Event, Sink};
use crate::speech::SpeechTap;
use crate::stats::TapStats;
use crate::stream::StreamTap;

/// Any copy of a leg's audio.
#[derive(Debug)]
pub(crate) enum Tap {
    Fork(Box<ForkTap>),
    Stream(Box<StreamTap>),
    Speech(Box<SpeechTap>),
    Recording(Box<RecordingTap>),
}

impl Tap {
    fn stats(&self) -> TapStats {
        match self {
            Self::Fork(fork) => fork.stats,
            Self::Stream(stream) => stream.stats(),
            Self::Speech(speech) => speech.stats(),
            Self::Recording(recording) => recording.stats(),
        }
    }

    fn close(&mut self, here: Position, reason: &str, sink: &mut impl Sink) {
        match self {
            Self::Fork(_) => {}
            Self::Stream(stream) => stream.close(reason, sink),
            Self::Speech(speech) => speech.flush(sink),
            Self::Recording(recording) => recording.close(here, reason, sink),
        }
    }
}

/// All taps of a leg: at most `TAPS_MAX`, so a list is the fastest map.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    list: Vec<(TapId, Tap)>,
    rx: Hearing,
    tx: Hearing,
    /// There while the tones of keys are listened for.
    pub(crate) keys: Option<Box<Keys>>,
}

impl Taps {
    /// Whether another tap of this id may be added.
    pub(crate) fn check_free(&self, tap: TapId) -> Result<(), Refused> {
        if self.list.iter().any(|(id, _)| *id == tap) {
            return Err(Refused::TapExists);
        }
        if self.list.len() >= TAPS_MAX {
            return Err(Refused::TooManyTaps);
        }
        Ok(())
    }

    /// Add a tap for which `check_free` said yes.
    pub(crate) fn add(&mut self, tap: TapId, what: Tap) {
        self.list.push((tap, what));
    }

    /// A packet as it is on the wire.
    pub(crate) fn packet(&mut self, track: Track, datagram: &[u8], sink: &mut impl Sink) {
        for (_, tap) in &mut self.list {
            if let Tap::Fork(fork) = tap {
                fork.packet(track, datagram, sink);
            }
        }
    }

    /// Audio of a track, in order; of tx also what the other leg said in it. It is decoded once, and only
    /// if somebody wants samples.
    pub(crate) fn audio(
        &mut self,
        now: Instant,
        track: Track,
        piece: Piece<'_>,
        far: Far<'_>,
        sink: &mut impl Sink,
    ) {
        let part = matches!(far, Far::Part(_));
        let mut decode = track == Track::Rx && self.keys.is_some();
        for (_, tap) in &mut self.list {
            match tap {
                Tap::Stream(stream) => decode |= stream.audio(track, piece, sink),
                Tap::Speech(speech) => decode |= speech.track == track && !(part && speech.skip_own),
                Tap::Recording(recording) => decode |= recording.wants(track),
                Tap::Fork(_) => {}
            }
        }
        if let Far::Part(samples) = far
            && !samples.is_empty()
        {
            let rate_hz = piece.format.sample_rate_hz();
            let pcm = Pcm { at: piece.at, rate_hz, samples, made_up: false };
            for (_, tap) in &mut self.list {
                if let Tap::Speech(speech) = tap
                    && speech.skip_own
                    && speech.track == track
                {
                    speech.samples(now, pcm, sink);
                }
            }
        }
        let hearing = match track {
            Track::Rx => &mut self.rx,
            Track::Tx => &mut self.tx,
        };
        if !decode {
            return hearing.rest();
        }
        let list = &mut self.list;
        let mut keys = self.keys.as_deref_mut().filter(|_| track == Track::Rx);
        hearing.take(piece, &mut |pcm| {
            if let Some(keys) = &mut keys {
                keys.samples(now, pcm);
            }
            for (_, tap) in &mut *list {
                match tap {
                    Tap::Stream(stream) => stream.samples(track, pcm, sink),
                    Tap::Speech(speech) if speech.track == track && !(part && speech.skip_own) => {
                        speech.samples(now, pcm, sink);
                    }
                    Tap::Recording(recording) if recording.wants(track) => recording.samples(track, pcm),
                    Tap::Speech(_) | Tap::Fork(_) | Tap::Recording(_) => {}
                }
            }
        });
    }

    /// Payloads of both tracks that could not be decoded.
    pub(crate) const fn undecodable(&self) -> u64 {
        self.rx.undecodable.saturating_add(self.tx.undecodable)
    }

    /// A key the far end has pressed.
    pub(crate) fn digit(&mut self, digit: char, occurred_at: Duration, sink: &mut impl Sink) {
        for (_, tap) in &mut self.list {
            if let Tap::Stream(stream) = tap {
                stream.digit(digit, occurred_at, sink);
            }
        }
    }

    pub(crate) fn recording(&mut self, tap: TapId) -> Result<&mut RecordingTap, Refused> {
        self.list
            .iter_mut()
            .find_map(|(id, what)| match what {
                Tap::Recording(recording) if *id == tap => Some(&mut **recording),
                _ => None,
            })
            .ok_or(Refused::NoSuchTap)
    }

    pub(crate) fn stream(&mut self, tap: TapId) -> Result<&mut StreamTap, Refused> {
        self.list
            .iter_mut()
            .find_map(|(id, what)| match what {
                Tap::Stream(stream) if *id == tap => Some(&mut **stream),
                _ => None,
            })
            .ok_or(Refused::NoSuchTap)
    }

    /// End a tap, and its voice with it.
    pub(crate) fn remove(
        &mut self,
        tap: TapId,
        (here, reason): (Position, &str),
        playout: &mut Playout,
        sink: &mut impl Sink,
    ) -> Result<(), Refused> {
        let place = self.list.iter().position(|(id, _)| *id == tap).ok_or(Refused::NoSuchTap)?;
        let (_, what) = self.list.remove(place);
        end(tap, what, (here, reason), playout, sink);
        Ok(())
    }

    pub(crate) fn close_all(
        &mut self,
        (here, reason): (Position, &str),
        playout: &mut Playout,
        sink: &mut impl Sink,
    ) {
        for (tap, what) in self.list.drain(..) {
            end(tap, what, (here, reason), playout, sink);
        }
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        here: Position,
        playout: &mut Playout,
        sink: &mut impl Sink,
    ) {
        if let Some(keys) = &mut self.keys {
            keys.handle_timeout(now);
        }
        for (_, tap) in &mut self.list {
            match tap {
                Tap::Speech(speech) => speech.handle_timeout(now, here, sink),
                Tap::Recording(recording) => recording.handle_timeout(now, here, sink),
                Tap::Fork(_) | Tap::Stream(_) => {}
            }
        }
        while let Some((tap, reason)) = self.ended() {
            // It was found a moment ago.
            let _ = self.remove(tap, (here, reason), playout, sink);
        }
    }

    /// A recording that has ended by itself.
    fn ended(&self) -> Option<(TapId, &'static str)> {
        self.list.iter().find_map(|(id, tap)| match tap {
            Tap::Recording(recording) => recording.ended().map(|reason| (*id, reason)),
            _ => None,
        })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let speech = self.list.iter().filter_map(|(_, tap)| match tap {
            Tap::Speech(speech) => speech.poll_timeout(),
            Tap::Recording(recording) => recording.poll_timeout(),
            Tap::Fork(_) | Tap::Stream(_) => None,
        });
        speech.chain(self.keys.as_ref().and_then(|keys| keys.poll_timeout())).min()
    }

    pub(crate) fn stats(&self, playout: &Playout) -> Vec<(TapId, TapStats)> {
        let of_tap = |(tap, what): &(TapId, Tap)| {
            let mut stats = what.stats();
            playout.count_voice(*tap, &mut stats);
            (*tap, stats)
        };
        self.list.iter().map(of_tap).collect()
    }
}

fn end(
    tap: TapId,
    mut what: Tap,
    (here, reason): (Position, &str),
    playout: &mut Playout,
    sink: &mut impl Sink,
) {
    what.close(here, reason, sink);
    let mut stats = what.stats();
    playout.remove_voice(tap, &mut stats);
    sink.event(Event::TapClosed { tap, stats });
}
