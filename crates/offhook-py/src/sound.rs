//! Sound that is decoded as it comes.

use std::sync::{Mutex, PoisonError};

use offhook_media::{SoundError, SoundFormat};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::MediaError;

/// Decodes and resamples sound that comes in any pieces.
#[pyclass(module = "offhook._media", frozen)]
pub(crate) struct SoundDecoder {
    inner: Mutex<offhook_media::SoundDecoder>,
}

#[pymethods]
impl SoundDecoder {
    #[new]
    #[pyo3(signature = (format, *, to_hz, sample_rate_hz = 0, mix = true))]
    fn new(format: &str, to_hz: u32, sample_rate_hz: u32, mix: bool) -> PyResult<Self> {
        let format = SoundFormat::from_name(format).ok_or_else(|| MediaError::new_err("no such format"))?;
        let decoder =
            offhook_media::SoundDecoder::new(format, sample_rate_hz, to_hz, mix).map_err(refusal)?;
        Ok(Self { inner: Mutex::new(decoder) })
    }

    /// Samples per second of what comes in, once that is known.
    #[getter]
    fn sample_rate_hz(&self) -> Option<u32> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).sample_rate_hz()
    }

    /// The samples that these bytes complete, for each channel.
    fn push<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.work(py, |decoder| decoder.push(data))
    }

    /// The samples that waited for more.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.work(py, offhook_media::SoundDecoder::finish)
    }
}

impl SoundDecoder {
    fn work<'py>(
        &self,
        py: Python<'py>,
        work: impl FnOnce(&mut offhook_media::SoundDecoder) -> Result<Vec<Vec<i16>>, SoundError> + Send,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let channels: Vec<Vec<u8>> = py
            .detach(|| {
                let mut decoder = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                let channels = work(&mut decoder)?;
                Ok(channels
                    .iter()
                    .map(|pcm| pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect())
                    .collect())
            })
            .map_err(refusal)?;
        Ok(channels.iter().map(|bytes| PyBytes::new(py, bytes)).collect())
    }
}

fn refusal(error: SoundError) -> PyErr {
    MediaError::new_err(error.to_string())
}
