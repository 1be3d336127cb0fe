//! What the fuzz target `records` calls, and a fact with fewer steps.

use super::super::suite::{KEY, SECRET};
use super::*;

/// Two ends of a connection. The input says what one of them seals, what comes between its records, which bytes change on
/// the way, when keys change, and when the other end moves to another process. What that end opens was sealed, in that order,
/// and what it answers is opened.
pub fn run(input: &[u8]) {
    let Some((&first, mut input)) = input.split_first() else { return };
    let version = if first & 1 == 0 { Version::Tls12 } else { Version::Tls13 };
    let suite = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Chacha20Poly1305][usize::from(first >> 1) % 3];
    let (mut here, mut peer) = (end(version, suite, [7, 9]), end(version, suite, [9, 7]));
    let (mut wire, mut sent, mut got) = (Vec::new(), Vec::new(), Vec::new());
    while let [step, length, rest @ ..] = input {
        let (bytes, after) = rest.split_at(usize::from(*length).min(rest.len()));
        input = after;
        match (step % 6, bytes) {
            (0, _) if peer.seal(&[IoSlice::new(bytes)], &mut wire).is_ok() => sent.extend_from_slice(bytes),
            (1, [kind, content @ ..]) if peer.seal_record(*kind, &[content], &mut wire).is_ok() => {
                let mut inner = [content, &[*kind]].concat();
                while version == Version::Tls13 && inner.last() == Some(&0) {
                    inner.pop(); // padding: the type is the last byte before it (RFC 8446 §5.4)
                }
                if inner.pop() == Some(DATA) {
                    sent.extend_from_slice(&inner);
                }
            }
            (2, _) => wire.extend_from_slice(bytes),
            (3, [at, change, ..]) => wire.iter_mut().skip(usize::from(*at)).take(1).for_each(|byte| *byte ^= change),
            (4, _) => peer.state.owes_key_update = version == Version::Tls13,
            (5, _) => here = moved(here),
            _ => {}
        }
        if step & 0x80 != 0 {
            continue; // more comes in one piece
        }
        let (mut answer, mut taken) = (Vec::new(), 0);
        let ended = loop {
            let length = match here.length(&wire[taken..]) {
                Ok(Some(length)) if taken + length <= wire.len() => length,
                Ok(_) => break None, // the rest of it is to come
                Err(error) => break Some(error),
            };
            let record = &mut wire[taken..taken + length];
            taken += length;
            match here.open(record, &mut answer) {
                Ok(OpenedRecord::Data(data)) => got.extend_from_slice(&record[data]),
                Ok(OpenedRecord::Nothing) => {}
                Ok(OpenedRecord::Closed) => return,
                Err(error) => break Some(error),
            }
        };
        assert!(sent.starts_with(&got), "something was opened that was not sealed");
        if let Some(error) = ended {
            here.fail(error, &mut answer);
            return;
        }
        wire.drain(..taken);
        let mut answered = 0;
        while let Ok(Some(length)) = peer.length(&answer[answered..]) {
            peer.open(&mut answer[answered..answered + length], &mut wire).expect("an answer can be opened");
            answered += length;
        }
        assert_eq!(answered, answer.len(), "an answer is whole records");
    }
}

fn end(version: Version, suite: Suite, secrets: [u8; 2]) -> Records {
    let mut state = TlsState::new(version, suite);
    let TlsState { reading, writing, .. } = &mut *state;
    for (direction, secret) in [reading, writing].into_iter().zip(secrets) {
        match version {
            Version::Tls13 => direction.set_secret(suite, &[secret; SECRET], 0).expect("expanded"),
            Version::Tls12 => {
                direction.key = [secret; KEY];
                direction.iv = std::array::from_fn(|at| at as u8);
            }
        }
    }
    Records::new(state).expect("keys")
}

/// Writes the state as bytes and goes on from those, as another process does.
fn moved(records: Records) -> Records {
    let mut bytes = [0; TlsState::LENGTH];
    records.park().write(&mut bytes);
    Records::new(TlsState::read(&bytes).expect("a state")).expect("keys")
}
