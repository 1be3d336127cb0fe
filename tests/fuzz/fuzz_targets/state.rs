//! JSON from another process or version is refused, or means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| segue::fuzzing::state(data));
