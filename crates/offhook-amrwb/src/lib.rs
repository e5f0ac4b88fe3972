//! AMR-WB (3GPP TS 26.171) by opencore-amrwb and vo-amrwbenc, if the system has them.
//!
//! Nothing is linked: both libraries are looked for when the first coder is made, once a process.
//! Frames are those of the storage format (RFC 4867 5.3): a header byte with the frame type and a
//! quality bit, then the speech bits. What comes from outside is checked here before C sees it.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

/// Samples of one frame: 20 ms at 16 kHz.
pub const FRAME_SAMPLES: usize = 320;
/// Most bytes of one frame, with its header.
pub const FRAME_BYTES: usize = 61;
/// Bytes after the header by frame type: nine modes, then comfort noise.
const SPEECH_BYTES: [usize; 10] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5];
/// Highest mode, 23.85 kbit/s.
const HIGHEST_MODE: u8 = 8;
/// Header of a frame that was lost on the way, for which the decoder makes something up.
const LOST: u8 = 14 << 3;
/// Header of a frame that was not sent.
const NO_DATA: u8 = 15 << 3;
/// Room given to the C side, beyond the longest frame, in bytes.
const ROOM: usize = 128;

#[cfg(target_os = "macos")]
const NAMES: [&str; 2] = ["libopencore-amrwb.0.dylib", "libvo-amrwbenc.0.dylib"];
#[cfg(windows)]
const NAMES: [&str; 2] = ["libopencore-amrwb-0.dll", "libvo-amrwbenc-0.dll"];
#[cfg(not(any(target_os = "macos", windows)))]
const NAMES: [&str; 2] = ["libopencore-amrwb.so.0", "libvo-amrwbenc.so.0"];

type Init = unsafe extern "C" fn() -> *mut c_void;
type Exit = unsafe extern "C" fn(*mut c_void);
type Decode = unsafe extern "C" fn(*mut c_void, *const u8, *mut i16, c_int);
type Encode = unsafe extern "C" fn(*mut c_void, c_int, *const i16, *mut u8, c_int) -> c_int;

/// The functions of one library, which stays loaded until the process ends.
struct Functions<Work> {
    init: Init,
    work: Work,
    exit: Exit,
}

/// Load one library and find its three functions.
///
/// # Safety
/// The library's functions `names` must have the types of [`Init`], `Work` and [`Exit`].
unsafe fn load<Work: Copy>(library: &str, names: [&str; 3]) -> Option<Functions<Work>> {
    // SAFETY: loading runs the library's initialisers; these two libraries of plain tables and
    // functions have none. They come from the system's own library path, which we trust as much
    // as the loader that started us does.
    let library = unsafe { Library::new(library) }.ok()?;
    // Never unloaded, so that the function pointers stay good.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: the caller vouches for the type.
    let init: Symbol<'_, Init> = unsafe { library.get(names[0]) }.ok()?;
    // SAFETY: as above.
    let work: Symbol<'_, Work> = unsafe { library.get(names[1]) }.ok()?;
    // SAFETY: as above.
    let exit: Symbol<'_, Exit> = unsafe { library.get(names[2]) }.ok()?;
    Some(Functions { init: *init, work: *work, exit: *exit })
}

fn decoding() -> Option<&'static Functions<Decode>> {
    static FUNCTIONS: OnceLock<Option<Functions<Decode>>> = OnceLock::new();
    let names = ["D_IF_init", "D_IF_decode", "D_IF_exit"];
    // SAFETY: these are the signatures of opencore-amrwb's dec_if.h, the same in every release.
    FUNCTIONS.get_or_init(|| unsafe { load(NAMES[0], names) }).as_ref()
}

fn encoding() -> Option<&'static Functions<Encode>> {
    static FUNCTIONS: OnceLock<Option<Functions<Encode>>> = OnceLock::new();
    let names = ["E_IF_init", "E_IF_encode", "E_IF_exit"];
    // SAFETY: these are the signatures of vo-amrwbenc's enc_if.h, the same in every release.
    FUNCTIONS.get_or_init(|| unsafe { load(NAMES[1], names) }).as_ref()
}

/// Whether this system can decode AMR-WB.
pub fn can_decode() -> bool {
    decoding().is_some()
}

/// Whether this system can encode AMR-WB.
pub fn can_encode() -> bool {
    encoding().is_some()
}

/// The state of one coder on the C side.
struct State {
    state: NonNull<c_void>,
    exit: Exit,
}

// SAFETY: the state is a block of memory of its own, used by one thread at a time because every
// use takes `&mut`; neither library keeps anything by thread.
unsafe impl Send for State {}

impl State {
    fn new<Work>(functions: &Functions<Work>) -> Option<Self> {
        // SAFETY: takes nothing and gives a new state, or null without memory.
        let state = NonNull::new(unsafe { (functions.init)() })?;
        Some(Self { state, exit: functions.exit })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: made by `init` of the same library, and never used again.
        unsafe { (self.exit)(self.state.as_ptr()) }
    }
}

/// Decodes the frames of one track in order.
pub struct Decoder {
    state: State,
    decode: Decode,
}

impl Decoder {
    /// A decoder, if the system has opencore-amrwb.
    pub fn new() -> Option<Self> {
        let functions = decoding()?;
        Some(Self { state: State::new(functions)?, decode: functions.work })
    }

    /// The samples of one frame in storage format.
    ///
    /// A frame that is damaged, too short, or of no known type is made up, as a lost one is.
    pub fn decode(&mut self, frame: &[u8]) -> [i16; FRAME_SAMPLES] {
        let mut bits = [0; ROOM];
        for (to, &from) in bits.iter_mut().zip(checked(frame)) {
            *to = from;
        }
        let mut pcm = [0; FRAME_SAMPLES];
        // SAFETY: the state is a live one of this library. `bits` holds a frame of a known type
        // and is longer than any; `pcm` holds the 320 samples the decoder writes.
        unsafe { (self.decode)(self.state.state.as_ptr(), bits.as_ptr(), pcm.as_mut_ptr(), 0) };
        pcm
    }

    /// The samples of a frame that did not come.
    pub fn conceal(&mut self) -> [i16; FRAME_SAMPLES] {
        self.decode(&[LOST])
    }
}

/// The frame if the decoder may see it, else that of a loss.
fn checked(frame: &[u8]) -> &[u8] {
    let Some(&header) = frame.first() else { return &[LOST] };
    let (kind, good) = (header >> 3 & 15, header & 4 != 0);
    match SPEECH_BYTES.get(usize::from(kind)) {
        Some(bytes) if good => frame.get(..=*bytes).unwrap_or(&[LOST]),
        None if kind == NO_DATA >> 3 => &[NO_DATA],
        _ => &[LOST],
    }
}

/// Encodes one track in order.
pub struct Encoder {
    state: State,
    encode: Encode,
}

impl Encoder {
    /// An encoder, if the system has vo-amrwbenc.
    pub fn new() -> Option<Self> {
        let functions = encoding()?;
        Some(Self { state: State::new(functions)?, encode: functions.work })
    }

    /// Append one frame in storage format to `frame`; `mode` is 0 (6.6 kbit/s) to 8 (23.85 kbit/s).
    pub fn encode(&mut self, mode: u8, pcm: &[i16; FRAME_SAMPLES], frame: &mut Vec<u8>) {
        let mode = c_int::from(mode.min(HIGHEST_MODE));
        // A copy, for the C side is free to take the samples for its own room.
        let pcm = *pcm;
        let mut bits = [0; ROOM];
        let (state, encode) = (self.state.state.as_ptr(), self.encode);
        // SAFETY: the state is a live one of this library, the mode one it has. `pcm` holds the
        // 320 samples it reads; `bits` is longer than any frame it writes.
        let length = unsafe { encode(state, mode, pcm.as_ptr(), bits.as_mut_ptr(), 0) };
        frame.extend(bits.iter().take(usize::try_from(length).unwrap_or(0).min(FRAME_BYTES)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reaches_the_decoder_only_whole_and_of_a_known_type() {
        let whole = |kind: u8, good: bool| {
            let mut frame = vec![7; FRAME_BYTES];
            frame[0] = kind << 3 | u8::from(good) << 2;
            frame
        };
        for (kind, &bytes) in (0_u8..).zip(&SPEECH_BYTES) {
            let frame = whole(kind, true);
            assert_eq!(checked(&frame), &frame[..=bytes]);
            assert_eq!(checked(&frame[..bytes]), [LOST], "type {kind}, too short");
            assert_eq!(checked(&whole(kind, false)), [LOST], "type {kind}, damaged");
        }
        for kind in 10..15 {
            assert_eq!(checked(&whole(kind, true)), [LOST]);
        }
        assert_eq!(checked(&whole(15, true)), [NO_DATA]);
        assert_eq!(checked(&[]), [LOST]);
    }

    #[test]
    fn decoding_takes_any_frames_in_any_order() {
        let Some(mut decoder) = Decoder::new() else { return eprintln!("skipped: no opencore-amrwb") };
        let mut noise = 1_u32;
        for length in (0..=FRAME_BYTES + 3).cycle().take(2000) {
            let mut frame: Vec<u8> = Vec::with_capacity(length);
            for _ in 0..length {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                frame.push(noise.to_le_bytes()[3]);
            }
            decoder.decode(&frame);
            decoder.conceal();
        }
    }

    #[test]
    fn every_mode_makes_frames_of_its_length() {
        let Some(mut encoder) = Encoder::new() else { return eprintln!("skipped: no vo-amrwbenc") };
        for mode in 0..=HIGHEST_MODE {
            let mut frame = Vec::new();
            encoder.encode(mode, &[100; FRAME_SAMPLES], &mut frame);
            assert_eq!(frame.len(), 1 + SPEECH_BYTES[usize::from(mode)], "mode {mode}");
            assert_eq!(checked(&frame), frame);
        }
    }
}
