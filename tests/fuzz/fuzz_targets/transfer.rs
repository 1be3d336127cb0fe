//! A batch of connections that is understood packs to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| segue::fuzzing::transfer(data));
