//! Values of the engine as Python values, and errors as `MediaError`.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_io::{EngineError, Event, What};
use offhook_media::{
    AppHeard, ByteOrder, Format, InbandDtmf, LegStats, OPUS_RATES_HZ, TapKind, TapStats, Track,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::MediaError;

/// An engine error on its way to Python.
pub(crate) struct Refusal(EngineError);

impl From<EngineError> for Refusal {
    fn from(err: EngineError) -> Self {
        Self(err)
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        MediaError::new_err(refusal.0.to_string())
    }
}

pub(crate) fn bad(text: impl Into<String>) -> Refusal {
    Refusal(EngineError::bad(text))
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, Refusal> {
    let parsed = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    parsed.ok_or_else(|| bad(format!("{text:?} is not an address of the form ip:port")))
}

/// Who hears an application.
pub(crate) fn app_heard(name: &str) -> Result<AppHeard, Refusal> {
    match name {
        "self" => Ok(AppHeard::Own),
        "opposite" => Ok(AppHeard::Other),
        "opposite_only" => Ok(AppHeard::OtherOnly),
        "both" => Ok(AppHeard::Both),
        _ => Err(bad(format!("app_heard is self, opposite, opposite_only or both, not {name:?}"))),
    }
}

/// The format of a leg, by the names of SDP; a rate of zero is the one the codec has by itself.
pub(crate) fn leg_format(
    name: &str,
    clock_rate_hz: u32,
    sample_rate_hz: u32,
    octet_align: bool,
) -> Result<Format, Refusal> {
    let unknown = || bad(format!("the media core does not speak codec {name:?}"));
    Ok(match (Format::from_name(name, None).ok_or_else(unknown)?, sample_rate_hz) {
        (Format::L16 { .. }, _) => Format::L16 { sample_rate_hz: clock_rate_hz, byte_order: ByteOrder::Big },
        (Format::Opus { .. }, 0) => Format::Opus { sample_rate_hz: 48_000 },
        (Format::Opus { .. }, wanted_hz) => {
            // The next one that is not below: a far end may play at 12000 (RFC 7587 6.1).
            let sample_rate_hz = OPUS_RATES_HZ.into_iter().find(|rate_hz| *rate_hz >= wanted_hz);
            Format::Opus { sample_rate_hz: sample_rate_hz.unwrap_or(48_000) }
        }
        (Format::AmrWb { .. }, _) => Format::AmrWb { octet_align },
        (other, _) => other,
    })
}

/// The format of a stream, one way.
pub(crate) fn stream_format(
    name: &str,
    sample_rate_hz: u32,
    l16: ByteOrder,
    rate_name: &'static str,
) -> Result<Format, Refusal> {
    if Format::from_name(name, None).is_none() {
        return Err(bad(format!("the media core does not speak codec {name:?}")));
    }
    match Format::from_name(name, Some(sample_rate_hz)) {
        Some(Format::L16 { sample_rate_hz, .. }) => Ok(Format::L16 { sample_rate_hz, byte_order: l16 }),
        Some(format) => Ok(format),
        None => Err(bad(format!("{rate_name} is out of range"))),
    }
}

pub(crate) fn byte_order(name: &str) -> Result<ByteOrder, Refusal> {
    match name {
        "little" => Ok(ByteOrder::Little),
        "big" => Ok(ByteOrder::Big),
        _ => Err(bad(format!("{name:?} is not a byte order: little or big"))),
    }
}

/// The bits of a set of AMR-WB modes.
pub(crate) fn amr_modes(modes: &[u8]) -> Result<u16, Refusal> {
    modes.iter().try_fold(0, |bits, mode| match mode {
        0..=8 => Ok(bits | 1 << mode),
        _ => Err(bad("amr_mode_set is out of range")),
    })
}

pub(crate) fn track(name: &str) -> Result<Track, Refusal> {
    match name {
        "rx" => Ok(Track::Rx),
        "tx" => Ok(Track::Tx),
        _ => Err(bad(format!("{name:?} is not a track: rx or tx"))),
    }
}

pub(crate) fn inband_dtmf(name: &str) -> Result<InbandDtmf, Refusal> {
    match name {
        "auto" => Ok(InbandDtmf::Auto),
        "on" => Ok(InbandDtmf::On),
        "off" => Ok(InbandDtmf::Off),
        _ => Err(bad(format!("inband_dtmf is auto, on or off, not {name:?}"))),
    }
}

pub(crate) const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// `bytes` of s16le samples as numbers.
pub(crate) fn samples(pcm: &[u8]) -> Result<Vec<i16>, Refusal> {
    let (pairs, rest) = pcm.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
    } else {
        Err(bad("s16le audio has an even number of bytes"))
    }
}

pub(crate) fn leg_stats<'py>(py: Python<'py>, stats: &LegStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in stats.counters() {
        dict.set_item(name, value)?;
    }
    dict.set_item("drift_ppm", stats.drift_ppm)?;
    let taps = PyDict::new(py);
    for (tap, stats) in &stats.taps {
        taps.set_item(tap.0, tap_stats(py, stats)?)?;
    }
    dict.set_item("taps", taps)?;
    Ok(dict)
}

pub(crate) fn tap_stats<'py>(py: Python<'py>, stats: &TapStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let kind = match stats.kind {
        TapKind::Fork => "fork",
        TapKind::Stream => "stream",
        TapKind::Speech => "speech",
        TapKind::Recording => "recording",
    };
    dict.set_item("kind", kind)?;
    for (name, value) in stats.counters() {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// The tuple of `_media.pyi` for an event.
pub(crate) fn event(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    let Event { leg, tap, what } = event;
    match what {
        What::MediaStarted { ssrc, source } => {
            ("media_started", leg, tap, ssrc, source.to_string()).into_pyobject(py)
        }
        What::MediaTimeout => ("media_timeout", leg, tap).into_pyobject(py),
        What::Digit { digit, at_ms, duration_ms } => {
            ("digit", leg, tap, digit, at_ms, duration_ms).into_pyobject(py)
        }
        What::StreamConnected => ("stream_connected", leg, tap).into_pyobject(py),
        What::StreamReconnecting { detail } => ("stream_reconnecting", leg, tap, detail).into_pyobject(py),
        What::StreamReconnected { tries } => ("stream_reconnected", leg, tap, tries).into_pyobject(py),
        What::StreamFailed { reason, detail } => {
            ("stream_failed", leg, tap, reason, detail).into_pyobject(py)
        }
        What::StreamClosed { reason, stats } => {
            ("stream_closed", leg, tap, reason, tap_stats(py, &stats)?).into_pyobject(py)
        }
        What::RecordingClosed { reason, detail, duration_ms, size_bytes, stats } => {
            ("recording_closed", leg, tap, reason, detail, duration_ms, size_bytes, tap_stats(py, &stats)?)
                .into_pyobject(py)
        }
        What::TapClosed { stats } => ("tap_closed", leg, tap, tap_stats(py, &stats)?).into_pyobject(py),
        What::Audio { at_ms, pcm } => ("audio", leg, tap, at_ms, PyBytes::new(py, &pcm)).into_pyobject(py),
        What::PlayStarted => ("play_started", leg, tap).into_pyobject(py),
        What::PlayEnded { played_ms, completed } => {
            ("play_ended", leg, tap, played_ms, completed).into_pyobject(py)
        }
        What::LegClosed { stats } => ("leg_closed", leg, tap, leg_stats(py, &stats)?).into_pyobject(py),
        What::LegFailed { message } => ("leg_failed", leg, tap, message).into_pyobject(py),
    }
}
