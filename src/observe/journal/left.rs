//! Records that a process had no time to write, for another process to write: entries in sealed memory.
//!
//! ```text
//! MAGIC, form, count      8 bytes each
//! length, entry …         4 bytes and as many as they say, once for each record
//! ```
//! An entry is a journald datagram or a line of text, so it means the same to every version of the program.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;

use super::socket::{self, BURST};

/// What the entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryForm {
    /// Datagrams for journald.
    Journald = 1,
    /// Lines.
    Text = 2,
}

/// Entries, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<usize>,
}

impl Entries {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The bytes appended since the last call are one entry.
    pub(super) fn end_one(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// The progress of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Entries that need no other try: written, or given up.
    pub(super) through: usize,
    /// How many of them were written.
    pub(super) written: usize,
}

/// Records that were not written.
#[derive(Debug)]
pub struct LeftRecords {
    file: File,
    form: u64,
    /// Where the next entry begins.
    at: u64,
    /// Where the last one ends.
    end: u64,
    /// How many there are from `at` on.
    count: u64,
}

impl LeftRecords {
    /// Reads what another process left.
    ///
    /// # Errors
    /// When it has another format.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let number = |at: usize| header[8 * at..][..8].try_into().map_or(0, u64::from_le_bytes);
        let end = file.metadata()?.len();
        let count = number(2);
        if &header[..8] != MAGIC || end > MOST + HEADER as u64 || count > end / 4 {
            return Err(io::Error::other("these are no records"));
        }
        Ok(Self { form: number(1), file, at: HEADER as u64, end, count })
    }

    /// The same, with the first of them written already: see [`LeftRecords::position`].
    ///
    /// # Errors
    /// When it has another format.
    pub fn open_at(fd: OwnedFd, (at, count): (u64, u64)) -> io::Result<Self> {
        let left = Self::open(fd)?;
        if at < left.at || at > left.end || count > left.count {
            return Err(io::Error::other("these are other records"));
        }
        Ok(Self { at, count, ..left })
    }

    /// Where the next entry begins, and how many there are from there on.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        (self.at, self.count)
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end - self.at
    }

    pub(super) fn is_of(&self, form: EntryForm) -> bool {
        self.form == form as u64
    }

    /// Writes as many of the entries as there is room for. `fill` appends some more of them each time, until it
    /// appends none.
    ///
    /// # Errors
    /// When there is no memory or descriptor left for any.
    pub(super) fn write(form: EntryForm, mut fill: impl FnMut(&mut Entries)) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create(c"segue-records", flags)?);
        file.write_all_at(&[0; HEADER], 0)?;
        let (mut end, mut count) = (HEADER as u64, 0);
        let mut some = Entries::default();
        loop {
            some.clear();
            fill(&mut some);
            let bytes = some.bytes.len() + some.len() * LENGTH;
            // what was written before stays valid where there is no memory for more
            if bytes == 0 || end + bytes as u64 > MOST || write_some(&file, end, &some).is_err() {
                break;
            }
            end += bytes as u64;
            count += some.len() as u64;
        }
        file.set_len(end)?;
        file.write_all_at(&[*MAGIC, (form as u64).to_le_bytes(), u64::to_le_bytes(count)].concat(), 0)?;
        socket::seal(&file)?;
        Ok(Self { file, form: form as u64, at: HEADER as u64, end, count })
    }

    /// The next of them, at most a burst; none at the end. Unreadable entries are skipped and counted.
    pub(super) fn next(&mut self, into: &mut Entries) -> u64 {
        into.clear();
        while into.len() < BURST && self.count > 0 {
            match self.read_one(&mut into.bytes) {
                Ok(bytes) => {
                    into.end_one();
                    self.at += bytes;
                    self.count -= 1;
                }
                Err(_) => {
                    into.bytes.truncate(into.ends.last().copied().unwrap_or(0));
                    self.at = self.end;
                    return std::mem::take(&mut self.count);
                }
            }
        }
        0
    }

    /// The last of `entries`, this many, were not written.
    pub(super) fn rewind(&mut self, entries: &Entries, unwritten: usize) {
        let bytes: usize = entries.iter().skip(entries.len() - unwritten).map(|entry| entry.len() + LENGTH).sum();
        self.at -= bytes as u64;
        self.count += unwritten as u64;
    }

    fn read_one(&self, into: &mut Vec<u8>) -> io::Result<u64> {
        let mut length = [0; LENGTH];
        self.file.read_exact_at(&mut length, self.at)?;
        let length = u32::from_le_bytes(length) as usize;
        let from = self.at + LENGTH as u64;
        if from + length as u64 > self.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = into.len();
        into.resize(before + length, 0);
        self.file.read_exact_at(&mut into[before..], from)?;
        Ok((LENGTH + length) as u64)
    }
}

impl AsFd for LeftRecords {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn write_some(mut file: &File, at: u64, entries: &Entries) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    let mut out = BufWriter::new(file);
    for entry in entries.iter() {
        out.write_all(&(entry.len() as u32).to_le_bytes())?;
        out.write_all(entry)?;
    }
    out.flush()
}

const MAGIC: &[u8; 8] = b"segue-rc";
const HEADER: usize = 24;
const LENGTH: usize = 4;
/// The most bytes of entries: a full queue, and more.
pub(super) const MOST: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(texts: &[&str]) -> Entries {
        let mut entries = Entries::default();
        for text in texts {
            entries.bytes.extend_from_slice(text.as_bytes());
            entries.end_one();
        }
        entries
    }

    fn again(left: &LeftRecords) -> OwnedFd {
        left.as_fd().try_clone_to_owned().expect("dup")
    }

    #[test]
    fn what_was_left_is_read_by_another_process_from_where_it_was_written() {
        let mut parts = [entries(&["a", "bb"]), entries(&["ccc"])].into_iter();
        let left =
            LeftRecords::write(EntryForm::Text, |some| *some = parts.next().unwrap_or_default()).expect("memory");
        assert!(left.count() == 3 && left.is_of(EntryForm::Text) && !left.is_of(EntryForm::Journald));
        let mut theirs = LeftRecords::open(again(&left)).expect("records");
        let mut read = Entries::default();
        assert_eq!(theirs.next(&mut read), 0);
        assert_eq!(read.iter().collect::<Vec<_>>(), [&b"a"[..], b"bb", b"ccc"]);
        theirs.rewind(&read, 2);
        let mut third = LeftRecords::open_at(again(&left), theirs.position()).expect("records");
        assert_eq!((third.count(), third.next(&mut read)), (2, 0));
        assert_eq!(read.iter().collect::<Vec<_>>(), [&b"bb"[..], b"ccc"]);
        assert_eq!((third.next(&mut read), read.len()), (0, 0));
    }

    #[test]
    fn what_is_something_else_is_refused_and_what_is_broken_is_counted() {
        let memory = |bytes: &[u8]| {
            let file = File::from(rustix::fs::memfd_create(c"test", MemfdFlags::CLOEXEC).expect("memfd"));
            file.write_all_at(bytes, 0).expect("write");
            OwnedFd::from(file)
        };
        assert!(LeftRecords::open(memory(b"")).is_err());
        assert!(LeftRecords::open(memory(&[0; 100])).is_err());
        let header = [*MAGIC, 1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
        let broken = [&header[..], &1_u32.to_le_bytes(), b"x", &u32::MAX.to_le_bytes()].concat();
        let mut left = LeftRecords::open(memory(&broken)).expect("a header");
        let mut read = Entries::default();
        assert_eq!((left.next(&mut read), read.len(), left.count()), (1, 1, 0));
    }
}
