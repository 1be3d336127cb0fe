//! Reading of field blocks (RFC 7541 §6).

use super::static_table::STATIC;
use super::table::DynamicTable;
use super::{Malformed, huffman, integer};

/// The state of the decoder of one connection.
#[derive(Debug)]
pub struct HpackDecoder {
    table: DynamicTable,
    /// What our SETTINGS_HEADER_TABLE_SIZE allows.
    limit: usize,
}

/// Buffers for one string each, which a thread lends to every decoder in turn.
#[derive(Debug, Default)]
pub struct Strings {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl HpackDecoder {
    /// A decoder for a peer that may use a table of at most `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { table: DynamicTable::new(limit), limit }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &DynamicTable {
        &self.table
    }

    /// The table as a field block that makes it out of an empty one.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut block = Vec::new();
        integer::put(&mut block, 0x20, 5, self.table.max_size());
        for (name, value) in (0..self.table.len()).rev().filter_map(|index| self.table.get(index)) {
            block.push(0x40);
            for string in [name, value] {
                integer::put(&mut block, 0, 7, string.len());
                block.extend_from_slice(string);
            }
        }
        block.shrink_to_fit(); // an idle connection keeps it
        block
    }

    /// Takes over a table that [`HpackDecoder::save`] gave. False when that was something else.
    #[must_use]
    pub fn restore(&mut self, saved: &[u8]) -> bool {
        self.decode(saved, &mut Strings::default(), |_, _| {}).is_ok()
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.table.shrink();
    }

    /// Calls `take` with name and value of each field of a whole block. A field can be as long as the largest block, and a
    /// block of one octet a field has many: `take` bounds what it keeps.
    ///
    /// # Errors
    /// When the block is malformed; the state of the decoder is of no use then (RFC 9113 §4.3: COMPRESSION_ERROR).
    pub fn decode(
        &mut self,
        mut block: &[u8],
        strings: &mut Strings,
        mut take: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut is_begun = false;
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer::take(&mut block, 7)?;
                let (name, value) = self.indexed(index)?;
                take(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = integer::take(&mut block, 5)?;
                // a change stands at the beginning of a block (RFC 7541 §4.2)
                if is_begun || size > self.limit {
                    return Err(Malformed);
                }
                self.table.resize(size);
                continue;
            } else {
                self.literal(first, &mut block, strings, &mut take)?;
            }
            is_begun = true;
        }
        Ok(())
    }

    fn literal(
        &mut self,
        first: u8,
        block: &mut &[u8],
        strings: &mut Strings,
        take: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let is_inserted = first & 0x40 != 0;
        let index = integer::take(block, if is_inserted { 6 } else { 4 })?;
        let name = match index {
            0 => string(block, &mut strings.name)?,
            index if index <= STATIC.len() => STATIC[index - 1].0,
            index => {
                strings.name.clear(); // a copy, since the insertion may evict the entry
                strings.name.extend_from_slice(self.indexed(index)?.0);
                &strings.name
            }
        };
        let value = string(block, &mut strings.value)?;
        take(name, value);
        if is_inserted {
            self.table.insert(name, value);
        }
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        match index {
            0 => Err(Malformed),
            index if index <= STATIC.len() => Ok(STATIC[index - 1]),
            index => self.table.get(index - STATIC.len() - 1).ok_or(Malformed),
        }
    }
}

fn string<'s, 'b: 's>(block: &mut &'b [u8], buffer: &'s mut Vec<u8>) -> Result<&'s [u8], Malformed> {
    let is_coded = block.first().ok_or(Malformed)? & 0x80 != 0;
    let len = integer::take(block, 7)?;
    let (string, rest) = block.split_at_checked(len).ok_or(Malformed)?;
    *block = rest;
    if !is_coded {
        return Ok(string);
    }
    buffer.clear();
    if huffman::decode(string, buffer) { Ok(buffer) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        text.chunks(2).map(pair).collect()
    }

    fn decode(decoder: &mut HpackDecoder, block: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut fields = Vec::new();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        decoder.decode(block, &mut Strings::default(), |name, value| {
            fields.push(format!("{}: {}", text(name), text(value)));
        })?;
        Ok(fields)
    }

    /// RFC 7541, appendices C.3 and C.4: the same requests, without and with the Huffman code.
    #[test]
    fn the_requests_of_the_rfc() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = HpackDecoder::new(4096);
            let mut last = Vec::new();
            for block in blocks {
                last = decode(&mut decoder, &hex(block)).expect("a block");
            }
            let wanted = [":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com"];
            assert_eq!(last, [&wanted[..], &["custom-key: custom-value"]].concat());
            assert_eq!(decoder.table().size(), 164);
            assert_eq!(decoder.table().get(2), Some((&b":authority"[..], &b"www.example.com"[..])));
        }
    }

    /// RFC 7541, appendix C.6: responses with a table of 256 octets, from which entries are evicted.
    #[test]
    fn the_responses_of_the_rfc() {
        let mut decoder = HpackDecoder::new(256);
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                     29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        assert_eq!(decode(&mut decoder, &hex(first)).expect("a block")[0], ":status: 302");
        assert_eq!(decode(&mut decoder, &hex("4883 640e ffc1 c0bf")).expect("a block")[0], ":status: 307");
        assert_eq!((decoder.table().len(), decoder.table().size()), (4, 222));
    }

    #[test]
    fn malformed_blocks_are_refused() {
        for (block, why) in [
            ("80", "index 0"),
            ("be", "an entry that is not there"),
            ("7f ffff ffff ff01", "an index without end"),
            ("40 05 6162", "a name that is cut"),
            ("3f e11f 3f e21f", "a size above the limit"),
            ("82 20", "a size behind a field"),
            ("40 81 ff 00", "padding of a whole octet"),
        ] {
            assert_eq!(decode(&mut HpackDecoder::new(4096), &hex(block)), Err(Malformed), "{why}");
        }
    }

    #[test]
    fn a_name_that_its_own_insertion_evicts_is_read_rightly() {
        let mut decoder = HpackDecoder::new(40);
        assert_eq!(decode(&mut decoder, b"\x40\x01a\x011").expect("a block"), ["a: 1"]);
        // index 62 with a new value: the old entry goes
        assert_eq!(decode(&mut decoder, b"\x7e\x012").expect("a block"), ["a: 2"]);
        assert_eq!(decoder.table().get(0), Some((&b"a"[..], &b"2"[..])));
    }
}
