//! The class `Engine`.

use std::path::PathBuf;

use offhook_io::{EngineConfig, ReconnectPlan, StreamTarget};
use offhook_media::{
    AppFormat, ForkParams, LegParams, OpusSettings, PlayParams, RecordingParams, SpeechParams, StreamParams,
    Strep,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::{
    self, Refusal, address, amr_modes, bad, byte_order, event, leg_format, leg_stats, ms, samples,
    stream_format, track,
};

/// Workers, the RTP port pool and all media legs of one process.
#[pyclass(frozen, module = "offhook._media")]
pub(crate) struct Engine {
    inner: offhook_io::Engine,
}

#[pymethods]
#[expect(clippy::too_many_arguments, reason = "the seam has keyword arguments")]
#[expect(clippy::needless_pass_by_value, reason = "Python gives values")]
#[expect(clippy::fn_params_excessive_bools, reason = "each is a keyword of the seam")]
#[expect(clippy::similar_names, reason = "RTP and RTCP are what they are called")]
impl Engine {
    #[new]
    #[pyo3(signature = (*, workers, bind_address, port_min, port_max, drain_ms=5000, ca_file=None, tls_verify=true))]
    fn new(
        py: Python<'_>,
        workers: usize,
        bind_address: &str,
        port_min: u16,
        port_max: u16,
        drain_ms: u64,
        ca_file: Option<PathBuf>,
        tls_verify: bool,
    ) -> PyResult<Self> {
        let bind_address =
            bind_address.parse().map_err(|_| bad(format!("{bind_address:?} is not an IP address")))?;
        let config = EngineConfig {
            workers,
            bind_address,
            port_min,
            port_max,
            drain: ms(drain_ms),
            ca_file,
            tls_verify,
        };
        let inner = py.detach(|| offhook_io::Engine::start(&config)).map_err(Refusal::from)?;
        Ok(Self { inner })
    }

    /// File descriptor that is readable while events wait.
    fn fileno(&self) -> i32 {
        self.inner.fileno()
    }

    /// Empty the wake pipe, then take every waiting event.
    fn poll_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.inner.poll_events().into_iter().map(|item| event(py, item)).collect()
    }

    /// Bind the ports of a new leg.
    #[pyo3(signature = (leg_id, *, rtcp_mux))]
    fn open_leg(&self, py: Python<'_>, leg_id: u64, rtcp_mux: bool) -> Result<(u16, u16), Refusal> {
        Ok(py.detach(|| self.inner.open_leg(leg_id, rtcp_mux))?)
    }

    /// Say what offer and answer agreed on.
    #[pyo3(signature = (leg_id, *, codec, payload_type, clock_rate_hz, ptime_ms, dtmf_payload_type, remote_rtp,
        remote_rtcp, rtcp_mux, sending=true, receiving=true, silence_when_idle=false, keepalive_ms=5000,
        media_timeout_ms=0, sample_rate_hz=0, octet_align=false, amr_mode_set=Vec::new(), opus_fec=false,
        opus_max_bitrate=0, dtmf_clock_rate_hz=8000, inband_dtmf="auto"))]
    fn connect_leg(
        &self,
        leg_id: u64,
        codec: &str,
        payload_type: u8,
        clock_rate_hz: u32,
        ptime_ms: u32,
        dtmf_payload_type: Option<u8>,
        remote_rtp: &str,
        remote_rtcp: &str,
        rtcp_mux: bool,
        sending: bool,
        receiving: bool,
        silence_when_idle: bool,
        keepalive_ms: u64,
        media_timeout_ms: u64,
        sample_rate_hz: u32,
        octet_align: bool,
        amr_mode_set: Vec<u8>,
        opus_fec: bool,
        opus_max_bitrate: u32,
        dtmf_clock_rate_hz: u32,
        inband_dtmf: &str,
    ) -> Result<(), Refusal> {
        let params = LegParams {
            format: leg_format(codec, clock_rate_hz, sample_rate_hz, octet_align)?,
            opus: OpusSettings {
                bitrate_bps: (opus_max_bitrate > 0).then_some(opus_max_bitrate),
                inband_fec: opus_fec,
                ..OpusSettings::default()
            },
            amr_modes: amr_modes(&amr_mode_set)?,
            payload_type,
            clock_rate_hz,
            ptime_ms,
            dtmf_payload_type,
            dtmf_clock_rate_hz,
            inband_dtmf: convert::inband_dtmf(inband_dtmf)?,
            remote_rtp: address(remote_rtp)?,
            remote_rtcp: address(remote_rtcp)?,
            rtcp_mux,
            sending,
            receiving,
            silence_when_idle,
            keepalive: ms(keepalive_ms),
            media_timeout: (media_timeout_ms > 0).then(|| ms(media_timeout_ms)),
        };
        Ok(self.inner.connect_leg(leg_id, params)?)
    }

    /// Let the far ends of two legs hear each other.
    #[pyo3(signature = (leg_id, other_leg_id, *, keys=true, other_keys=true))]
    fn bridge(&self, leg_id: u64, other_leg_id: u64, keys: bool, other_keys: bool) -> Result<(), Refusal> {
        Ok(self.inner.bridge(leg_id, other_leg_id, keys, other_keys)?)
    }

    /// End what `bridge` began.
    fn unbridge(&self, leg_id: u64) -> Result<(), Refusal> {
        Ok(self.inner.unbridge(leg_id)?)
    }

    /// Close every tap, then the leg.
    fn close_leg(&self, leg_id: u64) -> Result<(), Refusal> {
        Ok(self.inner.close_leg(leg_id)?)
    }

    /// Copy RTP byte for byte to UDP targets.
    #[pyo3(signature = (leg_id, tap_id, *, rx, tx, strep_leg_id=None, strep_b_leg=false))]
    fn add_fork(
        &self,
        leg_id: u64,
        tap_id: u64,
        rx: Option<&str>,
        tx: Option<&str>,
        strep_leg_id: Option<&[u8]>,
        strep_b_leg: bool,
    ) -> Result<(), Refusal> {
        let strep = match strep_leg_id {
            None => None,
            Some(bytes) => {
                let leg_id = bytes.try_into().map_err(|_| bad("strep_leg_id must have 16 bytes"))?;
                Some(Strep { leg_id, b_leg: strep_b_leg })
            }
        };
        let params = ForkParams { rx: rx.map(address).transpose()?, tx: tx.map(address).transpose()?, strep };
        Ok(self.inner.add_fork(leg_id, tap_id, params)?)
    }

    /// Open a WebSocket and stream to it.
    #[pyo3(signature = (leg_id, tap_id, *, url, addresses, headers, rx, tx, codec, sample_rate_hz, frame_ms, stream_id,
        connected_json, start_json, stop_json, connect_timeout_ms, connect_retry_ms, buffer_ms=5000, ping_ms=20000,
        fill_gaps=true, app_codec=None, app_sample_rate_hz=8000, l16_byte_order="little", reconnect_ms=vec![],
        reconnect_total_ms=10000, app_heard="self", binary_media=false))]
    fn add_stream(
        &self,
        leg_id: u64,
        tap_id: u64,
        url: String,
        addresses: Vec<String>,
        headers: Vec<(String, String)>,
        rx: bool,
        tx: bool,
        codec: &str,
        sample_rate_hz: u32,
        frame_ms: u32,
        stream_id: String,
        connected_json: String,
        start_json: String,
        stop_json: String,
        connect_timeout_ms: u64,
        connect_retry_ms: Vec<u64>,
        buffer_ms: u32,
        ping_ms: u64,
        fill_gaps: bool,
        app_codec: Option<&str>,
        app_sample_rate_hz: u32,
        l16_byte_order: &str,
        reconnect_ms: Vec<u64>,
        reconnect_total_ms: u64,
        app_heard: &str,
        binary_media: bool,
    ) -> Result<(), Refusal> {
        let l16 = byte_order(l16_byte_order)?;
        let app_format = |codec| match codec {
            "MP3" => Ok(AppFormat::Mp3),
            _ => stream_format(codec, app_sample_rate_hz, l16, "app_sample_rate_hz").map(AppFormat::Raw),
        };
        let params = StreamParams {
            rx,
            tx,
            format: stream_format(codec, sample_rate_hz, l16, "sample_rate_hz")?,
            app_format: app_codec.map(app_format).transpose()?,
            app_heard: convert::app_heard(app_heard)?,
            binary_media,
            frame_ms,
            stream_id,
            connected_json,
            start_json,
            stop_json,
            buffer_ms,
            fill_gaps,
        };
        let target = StreamTarget {
            url,
            addresses: addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?,
            headers,
            connect_timeout: ms(connect_timeout_ms),
            connect_retries: connect_retry_ms.into_iter().map(ms).collect(),
            reconnect: ReconnectPlan {
                pauses: reconnect_ms.into_iter().map(ms).collect(),
                total: ms(reconnect_total_ms),
            },
            ping: ms(ping_ms),
        };
        Ok(self.inner.add_stream(leg_id, tap_id, params, target)?)
    }

    /// Send the start frame, then media.
    fn begin_stream(&self, leg_id: u64, tap_id: u64) -> Result<(), Refusal> {
        Ok(self.inner.begin_stream(leg_id, tap_id)?)
    }

    /// Decode one track to s16le mono in chunks.
    #[pyo3(signature = (leg_id, tap_id, *, track, sample_rate_hz, chunk_ms, skip_own=false))]
    fn add_speech(
        &self,
        leg_id: u64,
        tap_id: u64,
        track: &str,
        sample_rate_hz: u32,
        chunk_ms: u32,
        skip_own: bool,
    ) -> Result<(), Refusal> {
        let params = SpeechParams { track: self::track(track)?, sample_rate_hz, chunk_ms, skip_own };
        Ok(self.inner.add_speech(leg_id, tap_id, params)?)
    }

    /// Write both tracks or one to a new WAV file.
    #[pyo3(signature = (leg_id, tap_id, *, path, rx, tx, dual, sample_rate_hz, max_ms=0, silence_timeout_ms=0,
        trim_silence=false))]
    fn add_recording(
        &self,
        leg_id: u64,
        tap_id: u64,
        path: PathBuf,
        rx: bool,
        tx: bool,
        dual: bool,
        sample_rate_hz: u32,
        max_ms: u64,
        silence_timeout_ms: u64,
        trim_silence: bool,
    ) -> Result<(), Refusal> {
        let params =
            RecordingParams { rx, tx, dual, sample_rate_hz, max_ms, silence_timeout_ms, trim_silence };
        Ok(self.inner.add_recording(leg_id, tap_id, params, path)?)
    }

    /// Leave out of a recording what is heard from now on.
    fn pause_recording(&self, leg_id: u64, tap_id: u64) -> Result<(), Refusal> {
        Ok(self.inner.pause_recording(leg_id, tap_id)?)
    }

    /// Go on with a recording.
    fn resume_recording(&self, leg_id: u64, tap_id: u64) -> Result<(), Refusal> {
        Ok(self.inner.resume_recording(leg_id, tap_id)?)
    }

    /// End a tap.
    #[pyo3(signature = (leg_id, tap_id, *, reason, hangup_cause=None))]
    fn remove_tap(
        &self,
        leg_id: u64,
        tap_id: u64,
        reason: &str,
        hangup_cause: Option<&str>,
    ) -> Result<(), Refusal> {
        Ok(self.inner.remove_tap(leg_id, tap_id, reason, hangup_cause)?)
    }

    /// Queue s16le mono audio for the far end.
    #[pyo3(signature = (leg_id, play_id, *, pcm, sample_rate_hz, loops=1, overlay=false))]
    fn play(
        &self,
        leg_id: u64,
        play_id: u64,
        pcm: &[u8],
        sample_rate_hz: u32,
        loops: u32,
        overlay: bool,
    ) -> Result<(), Refusal> {
        let params = PlayParams { pcm: samples(pcm)?, sample_rate_hz, loops, overlay };
        Ok(self.inner.play(leg_id, play_id, params)?)
    }

    /// End a play.
    fn stop_play(&self, leg_id: u64, play_id: u64) -> Result<(), Refusal> {
        Ok(self.inner.stop_play(leg_id, play_id)?)
    }

    /// Send RFC 4733 telephone-events.
    #[pyo3(signature = (leg_id, *, digits, duration_ms, gap_ms))]
    fn send_digits(&self, leg_id: u64, digits: &str, duration_ms: u32, gap_ms: u32) -> Result<(), Refusal> {
        Ok(self.inner.send_digits(leg_id, digits, duration_ms, gap_ms)?)
    }

    /// Counters of a leg and its taps now.
    fn stats<'py>(&self, py: Python<'py>, leg_id: u64) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.inner.stats(leg_id)).map_err(Refusal::from)?;
        leg_stats(py, &stats)
    }

    /// Process-wide counters.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.inner.counters() {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    /// Close every leg and stop the workers.
    fn shutdown(&self, py: Python<'_>) {
        py.detach(|| self.inner.shutdown());
    }
}
