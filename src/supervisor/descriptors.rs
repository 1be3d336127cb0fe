//! Descriptors that stay open when this process continues as another program. The state names them by their numbers.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

use crate::sys;

/// Notes what has to stay open.
#[derive(Debug, Default)]
pub struct Carrier<'a> {
    list: Vec<BorrowedFd<'a>>,
}

/// The descriptors that stayed open, until a part takes them. The rest is closed.
#[derive(Debug, Default)]
pub struct Inherited {
    left: BTreeMap<RawFd, OwnedFd>,
}

impl<'a> Carrier<'a> {
    /// Notes that `fd` has to stay open; returns its number.
    pub fn carry(&mut self, fd: &'a (impl AsFd + ?Sized)) -> RawFd {
        self.carry_borrowed(fd.as_fd())
    }

    /// The same.
    pub fn carry_borrowed(&mut self, fd: BorrowedFd<'a>) -> RawFd {
        let number = fd.as_raw_fd();
        if !self.list.iter().any(|one| one.as_raw_fd() == number) {
            self.list.push(fd);
        }
        number
    }

    /// The numbers of all of them.
    #[must_use]
    pub fn numbers(&self) -> Vec<RawFd> {
        self.list.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Whether they stay open or are closed on exec, which is how they are at any other time.
    ///
    /// # Errors
    /// The error of `fcntl(2)`.
    pub fn stay_open(&self, stay: bool) -> std::io::Result<()> {
        let flags = if stay { FdFlags::empty() } else { FdFlags::CLOEXEC };
        self.list.iter().try_for_each(|fd| Ok(rustix::io::fcntl_setfd(fd, flags)?))
    }
}

impl Inherited {
    /// Takes every descriptor that was left open under these numbers, and sets close-on-exec again. A number that is
    /// not open is skipped: the part that wants it reports it as missing.
    #[must_use]
    pub fn claim(numbers: &[RawFd]) -> Self {
        let left = numbers.iter().filter_map(|number| Some((*number, sys::inherited(*number).ok()?)));
        Self { left: left.collect() }
    }

    /// The descriptor with this number, the first time that it is asked for.
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.left.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;
    use crate::control::payload::Payload;

    fn closes_on_exec(fd: impl AsFd) -> bool {
        rustix::io::fcntl_getfd(fd).expect("flags").contains(FdFlags::CLOEXEC)
    }

    #[test]
    fn descriptors_stay_open_only_between_the_two_calls() {
        let payload = Payload::new(b"").expect("memfd");
        let mut carrier = Carrier::default();
        let number = carrier.carry(&payload);
        assert_eq!(carrier.carry(&payload), number);
        assert_eq!(carrier.numbers(), [number]);
        assert!(closes_on_exec(&payload));
        carrier.stay_open(true).expect("fcntl");
        assert!(!closes_on_exec(&payload));
        carrier.stay_open(false).expect("fcntl");
        assert!(closes_on_exec(&payload));
    }

    #[test]
    fn what_was_left_open_is_taken_once_and_closed_on_exec_again() {
        let payload = Payload::new(b"text").expect("memfd");
        rustix::io::fcntl_setfd(&payload, FdFlags::empty()).expect("fcntl");
        let number = OwnedFd::from(payload).into_raw_fd();
        let mut inherited = Inherited::claim(&[number, RawFd::MAX]);
        let taken = inherited.take(number).expect("there");
        assert!(closes_on_exec(&taken));
        assert_eq!(Payload::from(taken).read().expect("read"), b"text");
        assert!(inherited.take(number).is_none() && inherited.take(RawFd::MAX).is_none());
    }
}
