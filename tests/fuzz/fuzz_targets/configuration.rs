//! The check of a configuration ends, and the effective configuration means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| segue::fuzzing::configuration(data));
