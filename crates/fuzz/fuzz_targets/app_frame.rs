#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| offhook_media::fuzzing::app_frame(text));
