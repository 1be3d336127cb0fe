//! What debug builds note of the TLS records that they seal, in the file that `SEGUE_SEALED_NUMBERS` names.

use std::path::Path;

/// The numbers that were sealed so far, under all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub numbers: usize,
    /// How many of them were sealed before under the same key.
    pub twice: usize,
}

impl Sealed {
    /// Those in the file `numbers` of this folder.
    #[track_caller]
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("numbers")).expect("a debug build notes what it seals");
        Self::count(&text)
    }

    // a long run seals millions, so a line is kept as two numbers
    fn count(text: &str) -> Self {
        let read = |line: &str| {
            let (key, number) = line.split_once(' ')?;
            Some((u64::from_str_radix(key, 16).ok()?, number.parse::<u64>().ok()?))
        };
        let lines = text.lines().map(|line| read(line).unwrap_or_else(|| panic!("no number: {line:?}")));
        let mut all: Vec<_> = lines.collect();
        let numbers = all.len();
        all.sort_unstable();
        all.dedup();
        Self { numbers, twice: numbers - all.len() }
    }
}

/// Asserts that no number was sealed twice under one key, in the file `numbers` of this folder; gives how many there are.
#[track_caller]
pub fn assert_no_number_twice(folder: &Path) -> usize {
    let sealed = Sealed::read(folder);
    assert_eq!(sealed.twice, 0, "numbers that were sealed twice, of {}", sealed.numbers);
    assert!(sealed.numbers > 0);
    sealed.numbers
}

#[test]
fn a_number_is_counted_twice_only_under_the_same_key() {
    let text = "00000000000000ab 1\nffffffffffffffff 1\n00000000000000ab 2\n00000000000000ab 1\n";
    assert_eq!(Sealed::count(text), Sealed { numbers: 4, twice: 1 });
}
