//! Records of a TLS connection, and what is between them: what is opened was sealed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| segue::fuzzing::records(data));
