#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|script: &[u8]| offhook_media::fuzzing::media_leg(Instant::now(), script));
