//! The last thing that a serving generation said of what it knows: its replacement goes on from there when no process
//! is left to be asked. The bytes are opaque here; workers make and read them.
//!
//! They lie in one memory file that systemd stores too, so that they outlive a supervisor that is killed, and a restart
//! of the service. The file is written in place, because systemd would have to be told of each new one:
//!
//! ```text
//! 0      place and length of the bytes that count, as two numbers of 8 bytes in the byte order of the machine
//! ROOM   one place
//! 2 ROOM the other place
//! ```
//! The bytes go to the place that does not count; then the two numbers are written at once. Whenever the writer is
//! killed, what counts is whole.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;

use crate::control::payload::Payload;

/// The memory file, and how often its content was given out.
#[derive(Debug, Default)]
pub struct LastMemory {
    file: Option<File>,
    /// To how many generations it was given since one that serves wrote it.
    given: u32,
}

impl LastMemory {
    /// Goes on with a file that another supervisor wrote.
    #[must_use]
    pub fn found(file: Option<OwnedFd>) -> Self {
        Self { file: file.map(File::from), given: 0 }
    }

    /// Keeps what a generation knows, in the place of what was kept. Returns the file when it is a new one, which
    /// systemd does not store yet.
    ///
    /// # Errors
    /// When there is no memory or descriptor left, or `memory` is none or too large. What was kept is kept on.
    pub fn keep(&mut self, memory: &Payload) -> io::Result<Option<BorrowedFd<'_>>> {
        let bytes = memory.read()?;
        if bytes.len() as u64 > ROOM {
            return Err(io::Error::other("what the generation knows is too large"));
        }
        let is_new = self.file.is_none();
        if is_new {
            self.file = Some(rustix::fs::memfd_create(c"segue-memory", MemfdFlags::CLOEXEC)?.into());
        }
        let Some(file) = &self.file else { return Ok(None) };
        let place = match Head::read(file) {
            Ok(Head { place: ROOM, .. }) => 2 * ROOM,
            _ => ROOM,
        };
        file.write_all_at(&bytes, place)?;
        Head { place, length: bytes.len() as u64 }.write(file)?;
        self.given = 0;
        Ok(is_new.then(|| file.as_fd()))
    }

    /// What was kept, for a generation that starts. None when there is nothing, and none when several generations in a
    /// row were given it and did not come to serve: it may be the reason.
    pub fn give(&mut self) -> Option<Payload> {
        let bytes = self.file.as_ref().and_then(|file| read(file).ok())?;
        if self.given == MOST_GIVEN {
            return None;
        }
        self.given += 1;
        Payload::new(&bytes).ok()
    }

    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

/// Where the bytes are that count.
struct Head {
    place: u64,
    length: u64,
}

impl Head {
    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; 16];
        file.read_exact_at(&mut bytes, 0)?;
        let [place, length] = [&bytes[..8], &bytes[8..]].map(|half| half.try_into().map_or(0, u64::from_ne_bytes));
        match (place, length) {
            (ROOM | TWO_ROOMS, 0..=ROOM) => Ok(Self { place, length }),
            _ => Err(io::Error::other("nothing is kept here")),
        }
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.place.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.length.to_ne_bytes());
        // in one page, and so in one step for a process that is killed
        file.write_all_at(&bytes, 0)
    }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let Head { place, length } = Head::read(file)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, place)?;
    Ok(bytes)
}

/// The most bytes that are kept: ten times what ten thousand servers need. Places that are not written take no memory.
const ROOM: u64 = 32 << 20;
const TWO_ROOMS: u64 = 2 * ROOM;
/// To how many generations it is given that do not come to serve.
const MOST_GIVEN: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(text: &str) -> Payload {
        Payload::new(text.as_bytes()).expect("memfd")
    }

    fn given(memory: &mut LastMemory) -> Option<String> {
        let bytes = memory.give()?.read().expect("read");
        Some(String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn the_last_memory_is_given_and_the_file_is_new_only_once() {
        let mut memory = LastMemory::default();
        assert_eq!(given(&mut memory), None);
        assert!(memory.keep(&payload("one")).expect("kept").is_some());
        for text in ["two", "a longer one", ""] {
            assert!(memory.keep(&payload(text)).expect("kept").is_none());
            assert_eq!(given(&mut memory).as_deref(), Some(text));
        }
    }

    #[test]
    fn the_next_supervisor_finds_it_in_the_file() {
        let mut memory = LastMemory::default();
        memory.keep(&payload("known")).expect("kept");
        let file = memory.file().expect("a file").try_clone().expect("dup");
        drop(memory);
        let mut next = LastMemory::found(Some(file.into()));
        assert_eq!(given(&mut next).as_deref(), Some("known"));
        assert!(next.keep(&payload("more")).expect("kept").is_none(), "systemd has the file");
        let strange = rustix::fs::memfd_create(c"strange", MemfdFlags::CLOEXEC).expect("memfd");
        assert_eq!(given(&mut LastMemory::found(Some(strange))), None);
    }

    #[test]
    fn a_writer_that_is_killed_leaves_what_counted_before() {
        let mut memory = LastMemory::default();
        memory.keep(&payload("whole")).expect("kept");
        let file = memory.file().expect("a file");
        let Head { place, .. } = Head::read(file).expect("head");
        let other = if place == ROOM { TWO_ROOMS } else { ROOM };
        file.write_all_at(b"ha", other).expect("the first bytes of the next one");
        assert_eq!(given(&mut memory).as_deref(), Some("whole"));
    }

    #[test]
    fn what_several_generations_in_a_row_did_not_survive_is_not_given_again() {
        let mut memory = LastMemory::default();
        memory.keep(&payload("poison")).expect("kept");
        let times = std::iter::from_fn(|| given(&mut memory)).take(10).count();
        assert_eq!(times, 3);
        memory.keep(&payload("poison")).expect("kept");
        assert!(given(&mut memory).is_some(), "one that served wrote it");
    }

    #[test]
    fn what_is_no_sealed_memory_is_not_kept() {
        let (pipe, _writer) = rustix::pipe::pipe().expect("pipe");
        let mut memory = LastMemory::default();
        memory.keep(&Payload::from(pipe)).expect_err("a pipe");
        assert!(memory.file().is_none());
    }
}
