//! Integers with a prefix (RFC 7541 §5.1).

use super::Malformed;

/// Takes an integer with a prefix of `bits` bits off `block`. Refuses what is above 2^28 + 254: no index, length or size
/// of a table is.
pub(super) fn take(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let most = (1_usize << bits) - 1;
    let value = usize::from(octet(block)?) & most;
    if value < most {
        return Ok(value);
    }
    let mut value = value;
    for shift in [0, 7, 14, 21] {
        let next = octet(block)?;
        value += usize::from(next & 127) << shift;
        if next < 128 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn octet(block: &mut &[u8]) -> Result<u8, Malformed> {
    let (&octet, rest) = block.split_first().ok_or(Malformed)?;
    *block = rest;
    Ok(octet)
}

/// Appends an integer with a prefix of `bits` bits; `first` are the bits before the prefix.
pub(super) fn put(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendix C.1.
    #[test]
    fn the_examples_of_the_rfc() {
        for (value, bits, coded) in [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42])] {
            let mut out = Vec::new();
            put(&mut out, 0, bits, value);
            assert_eq!(out, coded);
            assert_eq!(take(&mut &out[..], bits), Ok(value));
        }
    }

    #[test]
    fn every_integer_up_to_the_bound_is_read_back() {
        for bits in 4..=7 {
            for value in (0..70_000).chain([1 << 20, 1 << 24, (1 << 28) - 1]) {
                let mut out = Vec::new();
                put(&mut out, 0, bits, value);
                assert_eq!(take(&mut &out[..], bits), Ok(value));
            }
        }
    }

    #[test]
    fn a_longer_or_a_cut_integer_is_malformed() {
        assert_eq!(take(&mut &[127, 255, 255, 255, 255, 1][..], 7), Err(Malformed));
        assert_eq!(take(&mut &[127, 128][..], 7), Err(Malformed));
        assert_eq!(take(&mut &[][..], 7), Err(Malformed));
    }
}
