//! The last state that a serving generation reported: its replacement continues from there when no process is left to
//! be asked. The bytes are opaque here; workers make and read them.
//!
//! They lie in a file of the run directory, so that they outlive a supervisor that is killed, and a restart of the
//! service (`RuntimeDirectoryPreserve=restart`). The directory is in memory (/run), so a write waits for no disk.
//!
//! ```text
//! 0      place and length of the bytes that count, as two numbers of 8 bytes in the byte order of the machine
//! ROOM   one place
//! 2 ROOM the other place
//! ```
//! New bytes go to the place that is not valid; then both numbers are written in one step. The valid bytes are whole
//! at whatever moment the writer is killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::control::payload::Payload;

/// The file, and how often its content was given out.
#[derive(Debug, Default)]
pub struct LastState {
    /// None before there is anything to keep.
    file: Option<File>,
    /// How many generations got it since one that serves wrote it.
    given: u32,
}

impl LastState {
    /// Opens the file in `run_dir`, which may be that of the program before; makes it if it is missing. Content from
    /// long ago is ignored. Where no file can be made, the content is lost when this process ends.
    #[must_use]
    pub fn open(run_dir: &Path) -> Self {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(run_dir.join(NAME), flags, Mode::from_raw_mode(0o600)).ok().map(File::from);
        let file = file.filter(|file| file.metadata().is_ok_and(|about| about.is_file()));
        if let Some(file) = file.as_ref().filter(|file| !is_fresh(file)) {
            let _ = file.set_len(0); // if it fails, only old content stays valid
        }
        Self { file, given: 0 }
    }

    /// Replaces the content with what a generation knows.
    ///
    /// # Errors
    /// When there is no memory or descriptor left, or `state` is none or too large. The old content stays.
    pub fn keep(&mut self, state: &Payload) -> io::Result<()> {
        let bytes = state.read_at_most(ROOM)?;
        if self.file.is_none() {
            self.file = Some(rustix::fs::memfd_create(c"segue-last-state", MemfdFlags::CLOEXEC)?.into());
        }
        let Some(file) = &self.file else { return Ok(()) };
        let place = match Header::read(file) {
            Ok(Header { place: ROOM, .. }) => TWO_ROOMS,
            _ => ROOM,
        };
        file.write_all_at(&bytes, place)?;
        Header { place, length: bytes.len() as u64 }.write(file)?;
        self.given = 0;
        Ok(())
    }

    /// The content, for a generation that starts. None when there is nothing, and none when several generations in a
    /// row got it and did not come to serve: it may be the reason.
    pub fn give(&mut self) -> Option<Payload> {
        let bytes = self.file.as_ref().and_then(|file| read(file).ok())?;
        if self.given == MOST_GIVEN {
            return None;
        }
        self.given += 1;
        Payload::new(&bytes).ok()
    }
}

/// Where the valid bytes are.
struct Header {
    place: u64,
    length: u64,
}

impl Header {
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

/// Whether it was written by a supervisor that ended a moment ago: one that serves writes each second.
fn is_fresh(file: &File) -> bool {
    let written = file.metadata().and_then(|about| about.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < FRESH))
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let Header { place, length } = Header::read(file)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, place)?;
    Ok(bytes)
}

/// The most bytes that are kept: ten times what ten thousand servers need. Places that are not written take no memory.
const ROOM: u64 = 32 << 20;
/// Its name in the run directory.
pub const NAME: &str = "last-memory";
/// A restart takes no longer.
const FRESH: Duration = Duration::from_secs(120);
const TWO_ROOMS: u64 = 2 * ROOM;
/// How many generations get it without coming to serve.
const MOST_GIVEN: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(text: &str) -> Payload {
        Payload::new(text.as_bytes()).expect("memfd")
    }

    fn given(last: &mut LastState) -> Option<String> {
        let bytes = last.give()?.read().expect("read");
        Some(String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn the_last_memory_is_given() {
        let mut last = LastState::default();
        assert_eq!(given(&mut last), None);
        for text in ["one", "two", "a longer one", ""] {
            last.keep(&payload(text)).expect("kept");
            assert_eq!(given(&mut last).as_deref(), Some(text));
        }
    }

    #[test]
    fn the_next_supervisor_finds_it_in_the_run_directory_but_not_what_is_old() {
        let run_dir = tempfile::tempdir().expect("directory");
        let mut last = LastState::open(run_dir.path());
        assert_eq!(given(&mut last), None);
        last.keep(&payload("known")).expect("kept");
        drop(last);
        let mut next = LastState::open(run_dir.path());
        assert_eq!(given(&mut next).as_deref(), Some("known"));
        let old = std::time::SystemTime::now() - 2 * FRESH;
        next.file.as_ref().expect("a file").set_modified(old).expect("utimes");
        assert_eq!(given(&mut LastState::open(run_dir.path())), None);
    }

    #[test]
    fn what_is_no_file_of_ours_is_not_read() {
        let run_dir = tempfile::tempdir().expect("directory");
        std::fs::write(run_dir.path().join(NAME), "something else, and long enough").expect("write");
        assert_eq!(given(&mut LastState::open(run_dir.path())), None);
        let run_dir = tempfile::tempdir().expect("directory");
        std::os::unix::fs::symlink("/etc/passwd", run_dir.path().join(NAME)).expect("a link");
        let mut last = LastState::open(run_dir.path());
        last.keep(&payload("known")).expect("kept elsewhere");
        assert_eq!(given(&mut last).as_deref(), Some("known"));
    }

    #[test]
    fn a_writer_that_is_killed_leaves_what_counted_before() {
        let mut last = LastState::default();
        last.keep(&payload("whole")).expect("kept");
        let file = last.file.as_ref().expect("a file");
        let Header { place, .. } = Header::read(file).expect("head");
        let other = if place == ROOM { TWO_ROOMS } else { ROOM };
        file.write_all_at(b"ha", other).expect("the first bytes of the next one");
        assert_eq!(given(&mut last).as_deref(), Some("whole"));
    }

    #[test]
    fn what_several_generations_in_a_row_did_not_survive_is_not_given_again() {
        let mut last = LastState::default();
        last.keep(&payload("poison")).expect("kept");
        let times = std::iter::from_fn(|| given(&mut last)).take(10).count();
        assert_eq!(times, 3);
        last.keep(&payload("poison")).expect("kept");
        assert!(given(&mut last).is_some(), "one that served wrote it");
    }

    #[test]
    fn what_is_no_sealed_memory_is_not_kept() {
        let (pipe, _writer) = rustix::pipe::pipe().expect("pipe");
        let mut last = LastState::default();
        last.keep(&Payload::from(pipe)).expect_err("a pipe");
        assert!(last.file.is_none());
    }
}
