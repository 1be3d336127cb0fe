//! For tests, in debug builds alone: a file in which every record number that is sealed is a line, with a fingerprint of
//! its key. A line is written before the record is sealed, and survives the process. A line that is there twice is a number
//! that was used twice.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};

use crate::tls::suite::{IV, KEY};

/// Names the file; without it nothing is written.
const VARIABLE: &str = "SEGUE_SEALED_NUMBERS";

static SEALED: OnceLock<Option<File>> = OnceLock::new();

pub(super) fn note(key: &[u8; KEY], iv: &[u8; IV], number: u64) {
    let open = || File::options().append(true).create(true).open(std::env::var_os(VARIABLE)?).ok();
    let Some(mut file) = SEALED.get_or_init(open).as_ref() else { return };
    let fingerprint = digest(&SHA256, &[&key[..], iv].concat());
    let fingerprint: String = fingerprint.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    // one write, so that lines of several processes do not mix
    let _ = file.write_all(format!("{fingerprint} {number}\n").as_bytes());
}
