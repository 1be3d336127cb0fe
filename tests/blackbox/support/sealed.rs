//! What debug builds note of the TLS records that they seal, in the file that `SEGUE_SEALED_NUMBERS` names.

use std::collections::HashSet;
use std::path::Path;

/// Asserts that no number was sealed twice under one key, in the file `numbers` of this folder; gives how many there are.
#[track_caller]
pub fn assert_no_number_twice(folder: &Path) -> usize {
    let text = std::fs::read_to_string(folder.join("numbers")).expect("a debug build notes what it seals");
    let mut seen = HashSet::new();
    for line in text.lines() {
        assert!(seen.insert(line), "sealed twice: {line}");
    }
    assert!(!seen.is_empty());
    seen.len()
}
