//! Bytes of which each is known in advance from a key and its position.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Lost;

/// How far around a wrong byte is looked for where it came from.
const NEIGHBOURHOOD: u64 = 512 << 10;
/// So many bytes are one place and no other.
const SAMPLE: usize = 16;

/// An endless sequence of bytes that no other key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub key: u64,
}

impl Content {
    /// The sequence of a key that nobody has had before.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { key: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// What is answered to a request with this key: other bytes than were sent, so that an echo is no answer.
    pub fn answer(self) -> Self {
        Self { key: !self.key }
    }

    /// `length` bytes from position `at`.
    pub fn bytes(self, at: u64, length: usize) -> Vec<u8> {
        let first = at / 8;
        let skipped = (at % 8) as usize;
        let words = (skipped + length).div_ceil(8) as u64;
        let mut bytes: Vec<u8> = (first..first + words).flat_map(|word| self.word(word).to_le_bytes()).collect();
        bytes.drain(..skipped);
        bytes.truncate(length);
        bytes
    }

    /// Whether `bytes` are those from position `at`.
    pub fn check(self, at: u64, bytes: &[u8]) -> Result<(), Lost> {
        let right = self.bytes(at, bytes.len());
        if right == bytes {
            return Ok(());
        }
        let wrong = right.iter().zip(bytes).position(|(right, got)| right != got).unwrap_or_default();
        Err(Lost::new(self.explain(at + wrong as u64, &bytes[wrong..])))
    }

    // where wrong bytes come from tells most about why they are there
    fn explain(self, at: u64, bytes: &[u8]) -> String {
        let sample = &bytes[..bytes.len().min(SAMPLE)];
        let from = at.saturating_sub(NEIGHBOURHOOD);
        let around = self.bytes(from, 2 * NEIGHBOURHOOD as usize);
        let found = (sample.len() == SAMPLE).then(|| around.windows(SAMPLE).position(|window| window == sample));
        match found.flatten().map(|place| from + place as u64) {
            Some(place) if place < at => format!("bytes {place} and up came twice, at {at} again"),
            Some(place) => format!("{} bytes are missing at {at}", place - at),
            None => format!("foreign bytes at {at}"),
        }
    }

    // splitmix64 (Steele, Lea, Flood 2014) over key and position
    fn word(self, index: u64) -> u64 {
        mix(mix(self.key).wrapping_add(index))
    }
}

/// Numbers that look like chance and are the same in each run.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A number out of this range.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(1);
        range.start + mix(self.0) % (range.end - range.start).max(1)
    }
}

fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[test]
fn wrong_content_is_noticed_and_explained() {
    let content = Content::new();
    let whole = content.bytes(3, 1000);
    assert!(content.check(3, &whole).is_ok() && content.check(13, &whole[10..]).is_ok());
    let explained = |bytes: &[u8]| content.check(3, bytes).expect_err("wrong").to_string();
    assert_eq!(explained(&[&whole[..500], &whole[400..]].concat()), "bytes 403 and up came twice, at 503 again");
    assert_eq!(explained(&[&whole[..500], &whole[600..]].concat()), "100 bytes are missing at 503");
    assert_eq!(explained(&[&whole[..500], &Content::new().bytes(0, 500)].concat()), "foreign bytes at 503");
}
