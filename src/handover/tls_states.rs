//! The TLS states of a batch, in memory that only the two workers have, and which of the two may seal.
//!
//! A record number that is used twice under one key gives the key for authentication away, and a message that says which
//! side owns a connection can be lost or come late. So that is decided by one word for each transfer, exchanged once:
//!
//! ```text
//! OFFERED ──the receiver has read the state──▶ TAKEN       the receiver may seal, the sender never again
//!    └──the sender goes on──▶ WITHDRAWN                    the sender may seal, the receiver never
//! ```
//! The side that loses the exchange drops its state. So whatever becomes of either process, of the link and of what was
//! acknowledged, at most one of them seals. A state is wiped here once its word is decided: a receiver that takes it has read
//! it before.
//!
//! A transfer whose client and whose servers speak TLS has several states, one after the other. The word of the first one
//! decides of all.
//!
//! The states are never part of a message: a message may pass through other processes and logs.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use crate::sys::SharedNumbers;
use crate::tls::TlsState;

/// The states of one batch, mapped by this process.
#[derive(Debug)]
pub struct SharedTlsStates {
    /// For each state its word, and then the state.
    numbers: SharedNumbers,
}

const OFFERED: u64 = 1;
const TAKEN: u64 = 2;
const WITHDRAWN: u64 = 3;
/// Numbers for each state.
const WIDTH: usize = 1 + TlsState::LENGTH.div_ceil(8);

impl SharedTlsStates {
    /// The sender's side: offers these states, which it keeps and does not use from now on.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn offer(states: &[&TlsState]) -> io::Result<Self> {
        let numbers = SharedNumbers::for_secrets(c"segue-tls", states.len() * WIDTH)?;
        for (index, state) in states.iter().enumerate() {
            let mut bytes = Zeroizing::new([0; WIDTH * 8 - 8]);
            if let Some(place) = bytes.first_chunk_mut() {
                state.write(place);
            }
            for (at, part) in bytes.as_chunks().0.iter().enumerate() {
                numbers.number(index * WIDTH + 1 + at).store(u64::from_ne_bytes(*part), Ordering::Relaxed);
            }
            numbers.number(index * WIDTH).store(OFFERED, Ordering::Release);
        }
        Ok(Self { numbers })
    }

    /// The receiver's side: so many states.
    ///
    /// # Errors
    /// When the file is not that of [`SharedTlsStates::offer`], or cannot be mapped.
    pub fn open(file: OwnedFd, states: usize) -> io::Result<Self> {
        Ok(Self { numbers: SharedNumbers::open_secrets(file, states * WIDTH)? })
    }

    /// What the sender wrote. It may not be used before [`SharedTlsStates::take`]. None when it is no state that this
    /// program knows.
    #[must_use]
    pub fn read(&self, index: usize) -> Option<Box<TlsState>> {
        let mut bytes = Zeroizing::new([0; WIDTH * 8 - 8]);
        for (at, part) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
            *part = self.numbers.number(index * WIDTH + 1 + at).load(Ordering::Relaxed).to_ne_bytes();
        }
        TlsState::read(bytes.first_chunk()?)
    }

    /// The receiver's side: whether the states of a transfer, which were read, may be used from now on.
    #[must_use]
    pub fn take(&self, states: Range<usize>) -> bool {
        self.decide(states, TAKEN)
    }

    /// The sender's side: whether its own states of a transfer may be used again.
    #[must_use]
    pub fn withdraw(&self, states: Range<usize>) -> bool {
        self.decide(states, WITHDRAWN)
    }

    /// For the receiver.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.numbers.file().as_fd()
    }

    fn decide(&self, states: Range<usize>, to: u64) -> bool {
        let word = self.numbers.number(states.start * WIDTH);
        let decided = word.compare_exchange(OFFERED, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        for at in states.flat_map(|state| state * WIDTH + 1..(state + 1) * WIDTH) {
            self.numbers.number(at).store(0, Ordering::Relaxed);
        }
        decided
    }
}

#[cfg(test)]
mod tests;
