//! The Python door to the media core: the module `offhook._media`.
//!
//! It turns Python arguments into the engine's types and events into tuples, and knows nothing else.
//! What each call promises is written in `src/offhook/_media.pyi`.

mod convert;
mod engine;
mod sound;

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

pyo3::create_exception!(_media, MediaError, pyo3::exceptions::PyException, "A refused call.");

/// The native media core of Offhook.
#[pymodule(gil_used = false)]
mod _media {
    #[pymodule_export]
    use super::MediaError;
    #[pymodule_export]
    use super::decode_sound;
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::sound::SoundDecoder;
    #[pymodule_export]
    use super::transcodable;
    #[pymodule_export]
    use super::version;
    #[pymodule_export]
    use super::wav_to_mp3;
}

/// Version of the native core.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Encode a WAV file that a recording has made; gives back the length of the mp3 file.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python gives values")]
fn wav_to_mp3(py: Python<'_>, wav: PathBuf, mp3: PathBuf) -> PyResult<u64> {
    py.detach(|| offhook_io::wav_to_mp3(&wav, &mp3)).map_err(|err| MediaError::new_err(err.to_string()))
}

/// Whether this system can decode and encode a codec, by its name in SDP.
#[pyfunction]
fn transcodable(codec: &str) -> bool {
    offhook_media::Format::from_name(codec, None).is_some_and(offhook_media::Format::transcodable)
}

/// Decode a wav or mp3 file to s16le mono, without the interpreter's lock.
#[pyfunction]
#[pyo3(signature = (data, *, max_samples))]
fn decode_sound<'py>(
    py: Python<'py>,
    data: &[u8],
    max_samples: usize,
) -> PyResult<(Bound<'py, PyBytes>, u32)> {
    let decoded = py.detach(|| {
        let sound = offhook_media::decode_sound(data, max_samples)?;
        let bytes: Vec<u8> = sound.pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        Ok((bytes, sound.sample_rate_hz))
    });
    let (bytes, sample_rate_hz) =
        decoded.map_err(|error: offhook_media::SoundError| MediaError::new_err(error.to_string()))?;
    Ok((PyBytes::new(py, &bytes), sample_rate_hz))
}
