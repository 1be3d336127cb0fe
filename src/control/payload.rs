//! Bytes in a sealed memory file (memfd_create(2)): written once, then no process can change them, not even the
//! writer.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes that another process can keep or pass on without reading them.
#[derive(Debug)]
pub struct Payload {
    file: File,
}

impl Payload {
    /// Writes `bytes` into a new memory file and seals it.
    ///
    /// # Errors
    /// When there is no memory or no descriptor left.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(c"segue", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(fd);
        file.write_all(bytes)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(Self { file })
    }

    /// All the bytes. Does not move the file position, which every holder of the descriptor shares.
    ///
    /// When there are more than [`LARGEST`] bytes, or they cannot be read. When it is no sealed memory file: reading
    /// any other file could block.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        self.read_at_most(LARGEST)
    }

    /// The same, for at most so many bytes.
    ///
    /// # Errors
    /// As above.
    pub fn read_at_most(&self, most: u64) -> io::Result<Vec<u8>> {
        let seals = rustix::fs::fcntl_get_seals(&self.file)?;
        if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
            return Err(io::Error::other("the payload can be changed"));
        }
        let length = self.file.metadata()?.len();
        if length > most {
            return Err(io::Error::other("the payload is too large"));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// What no other payload has while this one is there, however often its descriptor was passed on; none when it
    /// cannot be looked at.
    #[must_use]
    pub fn identity(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(&self.file).ok().map(|about| (about.st_dev, about.st_ino))
    }

    /// A second descriptor of the same bytes.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.file.try_clone().map(|file| Self { file })
    }
}

/// The most bytes that a payload may have.
pub const LARGEST: u64 = 64 << 20;

impl From<OwnedFd> for Payload {
    fn from(fd: OwnedFd) -> Self {
        Self { file: File::from(fd) }
    }
}

impl From<Payload> for OwnedFd {
    fn from(payload: Payload) -> Self {
        payload.file.into()
    }
}

impl AsFd for Payload {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_can_be_read_many_times_and_never_changed() {
        let payload = Payload::new(b"as it was").expect("memfd");
        let second = payload.try_clone().expect("dup");
        assert_eq!(second.read().expect("read"), b"as it was");
        assert_eq!(payload.read().expect("read"), b"as it was");
        assert_eq!(payload.identity(), second.identity());
        assert_ne!(payload.identity(), Payload::new(b"as it was").expect("memfd").identity());
        assert!(payload.file.write_at(b"x", 0).is_err());
        assert!(payload.file.set_len(1).is_err());
    }
}
