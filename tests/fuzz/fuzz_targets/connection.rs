//! A client connection under any bytes at any time ends, and what it writes is HTTP/1.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| segue::fuzzing::connection(data));
