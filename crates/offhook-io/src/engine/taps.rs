//! The taps of a leg: forks, streams, speech and recordings.

use std::path::PathBuf;

use offhook_media::limits::TAPS_MAX;
use offhook_media::{ForkParams, RecordingParams, SpeechParams, StreamParams, TapId};

use super::{Engine, StreamTarget, refused};
use crate::connect::Destination;
use crate::error::EngineError;
use crate::limits::{RECONNECT_TOTAL_MAX, RECONNECT_TRIES_MAX};
use crate::mailbox::Command;
use crate::ws::{StreamUrl, check_headers};

impl Engine {
    /// Copy RTP byte for byte to UDP targets.
    ///
    /// # Errors
    /// When leg or tap do not fit, or neither target is given.
    pub fn add_fork(&self, leg: u64, tap: u64, params: ForkParams) -> Result<(), EngineError> {
        if params.rx.is_none() && params.tx.is_none() {
            return Err(EngineError::bad("a fork needs a target for rx or tx"));
        }
        self.add_tap(leg, tap, Command::AddFork { leg, tap: TapId(tap), params })
    }

    /// Open a stream: a socket to the application, its connected frame, then what is streamed.
    ///
    /// # Errors
    /// When leg or tap do not fit, the URL is none, or a header cannot be sent.
    pub fn add_stream(
        &self,
        leg: u64,
        tap: u64,
        params: StreamParams,
        target: StreamTarget,
    ) -> Result<(), EngineError> {
        params.check(self.format(leg)).map_err(refused)?;
        let url = StreamUrl::parse(&target.url)
            .ok_or_else(|| EngineError::bad("the stream URL must be a ws:// or wss:// URL"))?;
        check_headers(&target.headers).map_err(|err| EngineError::BadArgument(err.to_string()))?;
        if target.addresses.is_empty() {
            return Err(EngineError::bad("a stream needs an address to connect to"));
        }
        if target.reconnect.pauses.len() > RECONNECT_TRIES_MAX || target.reconnect.total > RECONNECT_TOTAL_MAX
        {
            let most = RECONNECT_TOTAL_MAX.as_secs();
            return Err(EngineError::bad(format!(
                "a lost stream may be tried again {RECONNECT_TRIES_MAX} times within {most} s at most"
            )));
        }
        if !params.rx && !params.tx {
            return Err(EngineError::bad("a stream needs the rx or the tx track"));
        }
        let destination = Destination {
            url,
            addresses: target.addresses,
            headers: target.headers,
            timeout: target.connect_timeout,
            retries: target.connect_retries,
            reconnect: target.reconnect,
        };
        let command = Command::AddStream {
            leg,
            tap: TapId(tap),
            params: Box::new(params),
            destination: Box::new(destination),
            ping: target.ping,
        };
        self.add_tap(leg, tap, command)
    }

    /// Send the start frame, then media.
    ///
    /// # Errors
    /// When leg or tap are unknown.
    pub fn begin_stream(&self, leg: u64, tap: u64) -> Result<(), EngineError> {
        let registry = self.registry();
        registry.known_tap(leg, tap)?;
        self.post(&registry, leg, Command::BeginStream { leg, tap: TapId(tap) })
    }

    /// Decode one track for a recogniser.
    ///
    /// # Errors
    /// When leg or tap do not fit.
    pub fn add_speech(&self, leg: u64, tap: u64, params: SpeechParams) -> Result<(), EngineError> {
        params.check(self.format(leg)).map_err(refused)?;
        self.add_tap(leg, tap, Command::AddSpeech { leg, tap: TapId(tap), params })
    }

    /// Write both tracks or one to a new WAV file, whose folder exists.
    ///
    /// # Errors
    /// When leg or tap do not fit, or a parameter is out of range. What the disk says comes as an event.
    pub fn add_recording(
        &self,
        leg: u64,
        tap: u64,
        params: RecordingParams,
        path: PathBuf,
    ) -> Result<(), EngineError> {
        params.check(self.format(leg)).map_err(refused)?;
        self.add_tap(leg, tap, Command::AddRecording { leg, tap: TapId(tap), params, path })
    }

    /// Leave out of a recording what is heard from now on.
    ///
    /// # Errors
    /// When leg or tap are unknown.
    pub fn pause_recording(&self, leg: u64, tap: u64) -> Result<(), EngineError> {
        let registry = self.registry();
        registry.known_tap(leg, tap)?;
        self.post(&registry, leg, Command::PauseRecording { leg, tap: TapId(tap) })
    }

    /// Go on with a recording.
    ///
    /// # Errors
    /// When leg or tap are unknown.
    pub fn resume_recording(&self, leg: u64, tap: u64) -> Result<(), EngineError> {
        let registry = self.registry();
        registry.known_tap(leg, tap)?;
        self.post(&registry, leg, Command::ResumeRecording { leg, tap: TapId(tap) })
    }

    /// End a tap. `reason` is told to the application.
    ///
    /// # Errors
    /// When leg or tap are unknown. A tap whose end was not polled yet is known still.
    pub fn remove_tap(
        &self,
        leg: u64,
        tap: u64,
        reason: &str,
        hangup_cause: Option<&str>,
    ) -> Result<(), EngineError> {
        let registry = self.registry();
        registry.known_tap(leg, tap)?;
        let command = Command::RemoveTap {
            leg,
            tap: TapId(tap),
            reason: reason.to_owned(),
            hangup_cause: hangup_cause.map(str::to_owned),
        };
        match self.post(&registry, leg, command) {
            // Everything ends already.
            Err(EngineError::LegClosing(_)) => Ok(()),
            other => other,
        }
    }

    fn add_tap(&self, leg: u64, tap: u64, command: Command) -> Result<(), EngineError> {
        let mut registry = self.registry();
        let entry = registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if entry.taps.contains(&tap) {
            return Err(EngineError::TapExists { leg, tap });
        }
        if entry.taps.len() >= TAPS_MAX {
            return Err(EngineError::TooManyTaps { leg, max: TAPS_MAX });
        }
        self.post(&registry, leg, command)?;
        if let Some(entry) = registry.legs.get_mut(&leg) {
            entry.taps.insert(tap);
        }
        Ok(())
    }
}
