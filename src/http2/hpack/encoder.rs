//! Writing of field blocks (RFC 7541 §6).

use super::static_table::{self, STATIC};
use super::table::DynamicTable;
use super::{huffman, integer};

/// The largest table that this side uses, whatever the peer allows: it is memory for each connection.
const MOST: usize = 4096;
/// Places for hashes of entries.
const SLOTS: usize = 64;

/// The state of the encoder of one connection.
///
/// A block may begin with a change of the size to 0, which empties the table at both ends. So a connection can move to
/// another process without its table: [`HpackEncoder::restored`].
#[derive(Debug)]
pub struct HpackEncoder {
    table: DynamicTable,
    /// By the place of a field ([`slot`]): the number of its entry, that is how many were inserted with it; 0 where there is none.
    slots: Option<Box<[u32; SLOTS]>>,
    /// Sizes that the next block says: the smallest since the last block, and the last (RFC 7541 §4.2).
    pending: Option<(usize, usize)>,
}

impl Default for HpackEncoder {
    fn default() -> Self {
        Self { table: DynamicTable::new(MOST), slots: None, pending: None }
    }
}

impl HpackEncoder {
    /// An encoder that continues another one without its table, whose size may be `max_size`.
    #[must_use]
    pub fn restored(max_size: usize) -> Self {
        let max_size = max_size.min(MOST);
        Self { table: DynamicTable::new(max_size), slots: None, pending: Some((0, max_size)) }
    }

    /// The size that the table may have.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.table.max_size()
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, limit: usize) {
        let size = limit.min(MOST);
        if size != self.table.max_size() || self.pending.is_some() {
            self.pending = Some((self.pending.map_or(size, |(least, _)| least.min(size)), size));
            self.table.resize(size);
        }
    }

    /// Empties the table, and gives its memory back.
    pub fn clear(&mut self) {
        if !self.table.is_empty() {
            *self = Self::restored(self.table.max_size());
        }
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.pending.take() {
            if least < last {
                integer::put(out, 0x20, 5, least);
            }
            integer::put(out, 0x20, 5, last);
        }
    }

    /// Appends `:status`, which comes first (RFC 9113 §8.3).
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
                out.extend_from_slice(&[0x08, 3, digit(100), digit(10), digit(1)]);
                return;
            }
        };
        integer::put(out, 0x80, 7, index);
    }

    /// Appends a field; `name` is in lower case.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        if !self.repeat(out, name, value) {
            self.literal(out, name, value);
        }
    }

    /// Appends a field, whose name is in any case, if the table has it. Most fields of a response are those of the one
    /// before.
    pub(in crate::http2) fn repeat(&self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
        let Some(slots) = &self.slots else { return false };
        let number = slots[slot(name, value)];
        let age = self.table.inserted().wrapping_sub(number) as usize;
        let is_there = number != 0
            && self.table.get(age).is_some_and(|(known, same)| same == value && known.eq_ignore_ascii_case(name));
        if is_there {
            integer::put(out, 0x80, 7, STATIC.len() + 1 + age);
        }
        is_there
    }

    /// Appends a field that the table does not have; `name` is in lower case.
    pub(in crate::http2) fn literal(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let (index, comes_again) = static_table::of_name(name);
        let is_inserted = comes_again && (name.len() + value.len() + 32) * 2 <= self.table.max_size();
        if is_inserted {
            self.table.insert(name, value);
            self.slots.get_or_insert_with(|| Box::new([0; SLOTS]))[slot(name, value)] = self.table.inserted();
            integer::put(out, 0x40, 6, index);
        } else {
            // never indexed, not by intermediaries either (RFC 7541 §7.1.3)
            let is_secret = matches!(name, b"set-cookie" | b"cookie" | b"authorization" | b"proxy-authorization");
            integer::put(out, if is_secret { 0x10 } else { 0 }, 4, index);
        }
        let string = if is_inserted { huffman_string } else { plain_string };
        if index == 0 {
            string(out, name);
        }
        string(out, value);
    }
}

/// As it is. The Huffman code saves an octet of five or so, and takes 20 instructions for each: of three tags and lengths
/// in a response that was a twentieth of all work. HAProxy uses it for nothing.
fn plain_string(out: &mut Vec<u8>, string: &[u8]) {
    integer::put(out, 0, 7, string.len());
    out.extend_from_slice(string);
}

/// With the Huffman code where that is shorter. What is kept in the table is sent once.
fn huffman_string(out: &mut Vec<u8>, string: &[u8]) {
    let len = huffman::encoded_len(string);
    if len < string.len() {
        integer::put(out, 0x80, 7, len);
        huffman::encode(string, out);
    } else {
        plain_string(out, string);
    }
}

/// The place of a field, by its value and what is the same of its name in any case.
fn slot(name: &[u8], value: &[u8]) -> usize {
    let ends = [name.first(), name.last()].map(|octet| u64::from(octet.map_or(0, |octet| octet | 0x20)));
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let mut hash = mix(ends[0] << 8 | ends[1], (name.len() as u64) << 32 | value.len() as u64);
    let (words, rest) = value.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let rest = rest.iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
    (mix(hash, rest) >> 32) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::super::decoder::{HpackDecoder, Strings};
    use super::*;

    fn decoded(decoder: &mut HpackDecoder, block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut fields = Vec::new();
        let take = |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec()));
        decoder.decode(block, &mut Strings::default(), take).expect("a block");
        fields
    }

    fn fields(round: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let field = |i| (format!("x-{}", (round * 7 + i) % 40).into(), format!("value {}", (round * i) % 50).into());
        (0..12).map(field).chain([(b"set-cookie".to_vec(), b"a=b".to_vec())]).collect()
    }

    fn block(encoder: &mut HpackEncoder, fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        fields.iter().for_each(|(name, value)| encoder.field(&mut block, name, value));
        block
    }

    #[test]
    fn a_decoder_reads_what_was_written_over_changes_of_the_size_and_moves() {
        let (mut encoder, mut decoder) = (HpackEncoder::default(), HpackDecoder::new(4096));
        for round in 0..500 {
            match round % 29 {
                7 => encoder.set_limit(100),
                8 => encoder.set_limit(4096),
                13 => (encoder.set_limit(0), encoder.set_limit(1000)).1,
                17 => encoder = HpackEncoder::restored(encoder.max_size()),
                19 => encoder.clear(),
                _ => {}
            }
            let wanted = fields(round);
            assert_eq!(decoded(&mut decoder, &block(&mut encoder, &wanted)), wanted, "{round}");
        }
    }

    #[test]
    fn what_comes_again_is_one_octet() {
        let mut encoder = HpackEncoder::default();
        let field = [(b"server".to_vec(), b"a server with a long name".to_vec())];
        assert!(block(&mut encoder, &field).len() > 10);
        assert_eq!(block(&mut encoder, &field).len(), 1);
        let mut out = Vec::new();
        assert!(encoder.repeat(&mut out, b"Server", b"a server with a long name") && out.len() == 1, "in any case");
        for (name, value) in
            [("server", "a server with a long nama"), ("Serves", "a server with a long name"), ("", "")]
        {
            assert!(!encoder.repeat(&mut out, name.as_bytes(), value.as_bytes()), "{name}: {value}");
        }
    }

    #[test]
    fn no_table_of_the_peer_is_used_when_it_has_none() {
        let mut encoder = HpackEncoder::default();
        encoder.set_limit(0);
        let mut decoder = HpackDecoder::new(0);
        for _ in 0..2 {
            let wanted = fields(1);
            assert_eq!(decoded(&mut decoder, &block(&mut encoder, &wanted)), wanted);
            assert!(decoder.table().is_empty());
        }
    }

    #[test]
    fn cookies_are_never_indexed() {
        let mut out = Vec::new();
        HpackEncoder::default().field(&mut out, b"set-cookie", b"secret");
        assert_eq!(out[0] & 0xf0, 0x10);
        out.clear();
        HpackEncoder::default().field(&mut out, b"date", b"today");
        assert_eq!(out[0] & 0xc0, 0x40);
    }

    #[test]
    fn every_status_has_its_three_digits() {
        for status in 100..=999 {
            let (mut out, mut encoder) = (Vec::new(), HpackEncoder::default());
            encoder.status(&mut out, status);
            let wanted = (b":status".to_vec(), status.to_string().into_bytes());
            assert_eq!(decoded(&mut HpackDecoder::new(4096), &out), [wanted]);
        }
    }
}
