//! The Huffman code of strings (RFC 7541 §5.2 and appendix B).
//!
//! The decoder is a machine that takes four bits a step, made from the code by the compiler.

/// Appends the string that `coded` stands for. False when it has the code of EOS, or ends in padding that is no
/// beginning of EOS or longer than seven bits.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut state, mut refused) = (0_u8, 0);
    for &octet in coded {
        for nibble in [octet >> 4, octet & 15] {
            let Step { next, octet, flags } = MACHINE.steps[usize::from(state)][usize::from(nibble)];
            if flags & COMPLETES != 0 {
                out.push(octet);
            }
            refused |= flags & REFUSED;
            state = next;
        }
    }
    refused == 0 && MACHINE.may_end[usize::from(state)]
}

/// The length of the code of `string` in octets.
pub(super) fn encoded_len(string: &[u8]) -> usize {
    let bits: usize = string.iter().map(|&octet| usize::from(CODES[usize::from(octet)].1)).sum();
    bits.div_ceil(8)
}

/// Appends the code of `string`.
pub(super) fn encode(string: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &octet in string {
        let (code, len) = CODES[usize::from(octet)];
        bits = bits << len | u64::from(code);
        count += u32::from(len);
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff >> count)); // padding is the beginning of EOS, which is all ones
    }
}

struct Machine {
    steps: [[Step; 16]; 256],
    may_end: [bool; 256],
}

#[derive(Clone, Copy)]
struct Step {
    next: u8,
    octet: u8,
    flags: u8,
}

/// The step completes an octet; the shortest code has five bits, so no step completes two.
const COMPLETES: u8 = 1;
/// The step leads to EOS, which no string may have.
const REFUSED: u8 = 2;

static MACHINE: Machine = Machine::new();

impl Machine {
    const fn new() -> Self {
        let (tree, nodes) = tree();
        let mut machine =
            Self { steps: [[Step { next: 0, octet: 0, flags: REFUSED }; 16]; 256], may_end: [false; 256] };
        let mut node = 0;
        while node < nodes {
            let mut nibble = 0;
            while nibble < 16 {
                machine.steps[node][nibble] = step(&tree, node, nibble);
                nibble += 1;
            }
            node += 1;
        }
        // a string may end at the root, or up to seven ones below it
        let (mut node, mut depth) = (0, 0);
        while depth < 8 {
            machine.may_end[node] = true;
            node = tree[node][1] as usize;
            depth += 1;
        }
        machine
    }
}

/// The code as a tree: for each node and bit the next node, or -1 - octet at a leaf, or 0 where there is none but EOS.
const fn tree() -> ([[i16; 2]; 256], usize) {
    let mut tree = [[0_i16; 2]; 256];
    let mut nodes = 1;
    let mut octet = 0;
    while octet < 256 {
        let (code, len) = CODES[octet];
        let (mut node, mut bit) = (0, len);
        while bit > 0 {
            bit -= 1;
            let side = (code >> bit & 1) as usize;
            if bit == 0 {
                tree[node][side] = -(octet as i16) - 1;
            } else {
                if tree[node][side] == 0 {
                    tree[node][side] = nodes as i16;
                    nodes += 1;
                }
                node = tree[node][side] as usize;
            }
        }
        octet += 1;
    }
    (tree, nodes)
}

/// What four bits do at a node.
const fn step(tree: &[[i16; 2]; 256], mut node: usize, nibble: usize) -> Step {
    let (mut octet, mut flags, mut bit) = (0, 0, 4);
    while bit > 0 {
        bit -= 1;
        let next = tree[node][nibble >> bit & 1];
        if next > 0 {
            node = next as usize;
        } else if next < 0 {
            octet = (-next - 1) as u8;
            flags = COMPLETES;
            node = 0;
        } else {
            return Step { next: 0, octet: 0, flags: REFUSED };
        }
    }
    Step { next: node as u8, octet, flags }
}

/// Code and length in bits of each octet, and of EOS.
#[rustfmt::skip]
const CODES: [(u32, u8); 257] = [
    (0x1ff8, 13), (0x7fffd8, 23), (0xfffffe2, 28), (0xfffffe3, 28), (0xfffffe4, 28), (0xfffffe5, 28), (0xfffffe6, 28), (0xfffffe7, 28),
    (0xfffffe8, 28), (0xffffea, 24), (0x3ffffffc, 30), (0xfffffe9, 28), (0xfffffea, 28), (0x3ffffffd, 30), (0xfffffeb, 28), (0xfffffec, 28),
    (0xfffffed, 28), (0xfffffee, 28), (0xfffffef, 28), (0xffffff0, 28), (0xffffff1, 28), (0xffffff2, 28), (0x3ffffffe, 30), (0xffffff3, 28),
    (0xffffff4, 28), (0xffffff5, 28), (0xffffff6, 28), (0xffffff7, 28), (0xffffff8, 28), (0xffffff9, 28), (0xffffffa, 28), (0xffffffb, 28),
    (0x14, 6), (0x3f8, 10), (0x3f9, 10), (0xffa, 12), (0x1ff9, 13), (0x15, 6), (0xf8, 8), (0x7fa, 11),
    (0x3fa, 10), (0x3fb, 10), (0xf9, 8), (0x7fb, 11), (0xfa, 8), (0x16, 6), (0x17, 6), (0x18, 6),
    (0x0, 5), (0x1, 5), (0x2, 5), (0x19, 6), (0x1a, 6), (0x1b, 6), (0x1c, 6), (0x1d, 6),
    (0x1e, 6), (0x1f, 6), (0x5c, 7), (0xfb, 8), (0x7ffc, 15), (0x20, 6), (0xffb, 12), (0x3fc, 10),
    (0x1ffa, 13), (0x21, 6), (0x5d, 7), (0x5e, 7), (0x5f, 7), (0x60, 7), (0x61, 7), (0x62, 7),
    (0x63, 7), (0x64, 7), (0x65, 7), (0x66, 7), (0x67, 7), (0x68, 7), (0x69, 7), (0x6a, 7),
    (0x6b, 7), (0x6c, 7), (0x6d, 7), (0x6e, 7), (0x6f, 7), (0x70, 7), (0x71, 7), (0x72, 7),
    (0xfc, 8), (0x73, 7), (0xfd, 8), (0x1ffb, 13), (0x7fff0, 19), (0x1ffc, 13), (0x3ffc, 14), (0x22, 6),
    (0x7ffd, 15), (0x3, 5), (0x23, 6), (0x4, 5), (0x24, 6), (0x5, 5), (0x25, 6), (0x26, 6),
    (0x27, 6), (0x6, 5), (0x74, 7), (0x75, 7), (0x28, 6), (0x29, 6), (0x2a, 6), (0x7, 5),
    (0x2b, 6), (0x76, 7), (0x2c, 6), (0x8, 5), (0x9, 5), (0x2d, 6), (0x77, 7), (0x78, 7),
    (0x79, 7), (0x7a, 7), (0x7b, 7), (0x7ffe, 15), (0x7fc, 11), (0x3ffd, 14), (0x1ffd, 13), (0xffffffc, 28),
    (0xfffe6, 20), (0x3fffd2, 22), (0xfffe7, 20), (0xfffe8, 20), (0x3fffd3, 22), (0x3fffd4, 22), (0x3fffd5, 22), (0x7fffd9, 23),
    (0x3fffd6, 22), (0x7fffda, 23), (0x7fffdb, 23), (0x7fffdc, 23), (0x7fffdd, 23), (0x7fffde, 23), (0xffffeb, 24), (0x7fffdf, 23),
    (0xffffec, 24), (0xffffed, 24), (0x3fffd7, 22), (0x7fffe0, 23), (0xffffee, 24), (0x7fffe1, 23), (0x7fffe2, 23), (0x7fffe3, 23),
    (0x7fffe4, 23), (0x1fffdc, 21), (0x3fffd8, 22), (0x7fffe5, 23), (0x3fffd9, 22), (0x7fffe6, 23), (0x7fffe7, 23), (0xffffef, 24),
    (0x3fffda, 22), (0x1fffdd, 21), (0xfffe9, 20), (0x3fffdb, 22), (0x3fffdc, 22), (0x7fffe8, 23), (0x7fffe9, 23), (0x1fffde, 21),
    (0x7fffea, 23), (0x3fffdd, 22), (0x3fffde, 22), (0xfffff0, 24), (0x1fffdf, 21), (0x3fffdf, 22), (0x7fffeb, 23), (0x7fffec, 23),
    (0x1fffe0, 21), (0x1fffe1, 21), (0x3fffe0, 22), (0x1fffe2, 21), (0x7fffed, 23), (0x3fffe1, 22), (0x7fffee, 23), (0x7fffef, 23),
    (0xfffea, 20), (0x3fffe2, 22), (0x3fffe3, 22), (0x3fffe4, 22), (0x7ffff0, 23), (0x3fffe5, 22), (0x3fffe6, 22), (0x7ffff1, 23),
    (0x3ffffe0, 26), (0x3ffffe1, 26), (0xfffeb, 20), (0x7fff1, 19), (0x3fffe7, 22), (0x7ffff2, 23), (0x3fffe8, 22), (0x1ffffec, 25),
    (0x3ffffe2, 26), (0x3ffffe3, 26), (0x3ffffe4, 26), (0x7ffffde, 27), (0x7ffffdf, 27), (0x3ffffe5, 26), (0xfffff1, 24), (0x1ffffed, 25),
    (0x7fff2, 19), (0x1fffe3, 21), (0x3ffffe6, 26), (0x7ffffe0, 27), (0x7ffffe1, 27), (0x3ffffe7, 26), (0x7ffffe2, 27), (0xfffff2, 24),
    (0x1fffe4, 21), (0x1fffe5, 21), (0x3ffffe8, 26), (0x3ffffe9, 26), (0xffffffd, 28), (0x7ffffe3, 27), (0x7ffffe4, 27), (0x7ffffe5, 27),
    (0xfffec, 20), (0xfffff3, 24), (0xfffed, 20), (0x1fffe6, 21), (0x3fffe9, 22), (0x1fffe7, 21), (0x1fffe8, 21), (0x7ffff3, 23),
    (0x3fffea, 22), (0x3fffeb, 22), (0x1ffffee, 25), (0x1ffffef, 25), (0xfffff4, 24), (0xfffff5, 24), (0x3ffffea, 26), (0x7ffff4, 23),
    (0x3ffffeb, 26), (0x7ffffe6, 27), (0x3ffffec, 26), (0x3ffffed, 26), (0x7ffffe7, 27), (0x7ffffe8, 27), (0x7ffffe9, 27), (0x7ffffea, 27),
    (0x7ffffeb, 27), (0xffffffe, 28), (0x7ffffec, 27), (0x7ffffed, 27), (0x7ffffee, 27), (0x7ffffef, 27), (0x7fffff0, 27), (0x3ffffee, 26),
    (0x3fffffff, 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).then_some(out)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let octets: Vec<u8> = (0..=255).chain(0..=255).collect();
        for end in 0..octets.len() {
            let string = &octets[end / 2..end];
            let mut coded = Vec::new();
            encode(string, &mut coded);
            assert_eq!(coded.len(), encoded_len(string));
            assert_eq!(decoded(&coded).as_deref(), Some(string));
        }
    }

    #[test]
    fn padding_is_ones_and_shorter_than_an_octet() {
        assert_eq!(decoded(&[0b0001_1111]).as_deref(), Some(&b"a"[..]), "a is 00011");
        assert_eq!(decoded(&[0b0001_1110]), None, "padding with a zero");
        assert_eq!(decoded(&[0b0001_1111, 0xff]), None, "eleven bits of padding");
        assert_eq!(decoded(&[0xff]), None, "an octet of padding alone");
    }

    #[test]
    fn eos_is_refused() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[0b0001_1111, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
