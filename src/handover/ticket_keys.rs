//! The keys of session tickets on their way to the next generation, in memory that only the two workers have: whatever opens
//! a ticket may read what was sent over the connections that it resumed, so the keys are part of no message.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use crate::sys::SharedNumbers;

/// The keys, mapped by this process. Wiped when dropped by either.
#[derive(Debug)]
pub struct SharedTicketKeys {
    numbers: SharedNumbers,
    count: usize,
}

/// The most numbers that are read: more keys than any generation has.
const MOST: usize = 1 << 10;

impl SharedTicketKeys {
    /// The sender's side, with the bytes of [`crate::tls::TicketKeys`], which are whole numbers.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let (parts, _) = bytes.as_chunks::<8>();
        let numbers = SharedNumbers::for_secrets(c"segue-tickets", parts.len())?;
        for (at, part) in parts.iter().enumerate() {
            numbers.number(at).store(u64::from_ne_bytes(*part), Ordering::Relaxed);
        }
        Ok(Self { numbers, count: parts.len() })
    }

    /// The receiver's side: so many bytes.
    ///
    /// # Errors
    /// When the file is not that of [`SharedTicketKeys::new`], or cannot be mapped.
    pub fn open(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        let count = (bytes / 8).min(MOST);
        Ok(Self { numbers: SharedNumbers::open_secrets(file, count)?, count })
    }

    /// The bytes.
    #[must_use]
    pub fn read(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.count * 8));
        for at in 0..self.count {
            bytes.extend_from_slice(&self.numbers.number(at).load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes
    }

    /// For the receiver.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.numbers.file().as_fd()
    }
}

impl Drop for SharedTicketKeys {
    fn drop(&mut self) {
        (0..self.count).for_each(|at| self.numbers.number(at).store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_and_are_wiped_by_the_first_side_that_is_done() {
        let bytes: Vec<u8> = (0..112).collect();
        let sent = SharedTicketKeys::new(&bytes).expect("memory");
        let file = || sent.file().try_clone_to_owned().expect("a descriptor");
        let received = SharedTicketKeys::open(file(), bytes.len()).expect("memory");
        assert_eq!(*received.read(), bytes);
        drop(received);
        assert_eq!(*sent.read(), [0; 112]);
        SharedTicketKeys::open(file(), 8000).expect_err("more than there is");
    }
}
