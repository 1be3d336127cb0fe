//! What processes need of the kernel, and crates do not offer or not whole: signals as readable events, sockets that
//! never block, descriptors in the poller; and what is quicker without a second look: an allocator, field values. The
//! only file with `unsafe` in it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use bytes::Bytes;
use http::HeaderValue;
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// mimalloc as the program's allocator.
///
/// What needs no more alignment than every block has takes the short way in; asking for an alignment costs several
/// times as much, and the `mimalloc` crate always asks.
#[derive(Debug)]
pub struct Allocator;

/// The alignment that mimalloc gives to a block without being asked: 16, or 8 to blocks below 16 bytes.
fn is_natural(layout: Layout) -> bool {
    layout.align() <= 16 && layout.align() <= layout.size()
}

// SAFETY: mimalloc's functions keep the contract of malloc and free, and `is_natural` asks for an alignment wherever
// a block would not have it by itself; a block may be freed and resized whichever way it was made.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above; sizes are not 0, the caller promises that.
        unsafe {
            if is_natural(layout) {
                libmimalloc_sys::mi_malloc(layout.size()).cast()
            } else {
                libmimalloc_sys::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if is_natural(layout) {
                libmimalloc_sys::mi_zalloc(layout.size()).cast()
            } else {
                libmimalloc_sys::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller promises that `block` came from here.
        unsafe { libmimalloc_sys::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if layout.align() <= 16 && layout.align() <= size {
                libmimalloc_sys::mi_realloc(block.cast(), size).cast()
            } else {
                libmimalloc_sys::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

/// Signals that arrive as reads of a descriptor instead of interrupting the program.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks `signals` for this thread and all that it starts later, and opens a descriptor (signalfd(2)) that
    /// becomes readable when one of them arrives. Call it before any other thread exists: a thread that does not
    /// block a signal is interrupted by it.
    ///
    /// # Errors
    /// Whatever `signalfd(2)` says.
    pub fn open(signals: &[Signal]) -> io::Result<Self> {
        let set = block(signals)?;
        // SAFETY: `set` was filled by sigemptyset and sigaddset; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just made this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The next signal that arrived, none when there is none.
    ///
    /// # Errors
    /// Whatever `read(2)` says but `EAGAIN`.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` is writable and `size` bytes long.
        let got = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if got < 0 {
            let fault = io::Error::last_os_error();
            let nothing = fault.kind() == io::ErrorKind::WouldBlock;
            return if nothing { Ok(None) } else { Err(fault) };
        }
        if got.unsigned_abs() != size {
            return Ok(None);
        }
        // SAFETY: the kernel filled the whole structure, whose fields are integers.
        let info = unsafe { info.assume_init() };
        Ok(Signal::from_named_raw(info.ssi_signo.cast_signed()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has the runtime of this thread watch `fd` for something to read.
///
/// # Errors
/// When the poller does not take it.
pub fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open as long as it lives and always names the same file; the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Keeps `signals` from having any effect on this thread and those that it starts later.
///
/// # Errors
/// Whatever `pthread_sigmask(3)` says.
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    block(signals).map(drop)
}

/// The field value that starts at `from` in `head`, without the white space around it (RFC 9110 §5.5), and where it
/// ends: at the first control character but tab. It is a slice of `head`.
///
/// `http` would look at each byte once more.
///
/// # Panics
/// When `head` ends before `from`.
#[must_use]
pub fn field_value_at(head: &Bytes, from: usize) -> (HeaderValue, usize) {
    let len = field_value_len(&head[from..]);
    let mut text = &head[from..from + len];
    let mut start = from;
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
        start += 1;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    let value = head.slice(start..start + text.len());
    // SAFETY: `field_value_len` has seen that none of these bytes is one that `HeaderValue` refuses.
    (unsafe { HeaderValue::from_maybe_shared_unchecked(value) }, from + len)
}

/// How many of the first bytes may stand in a field value.
#[must_use]
pub fn field_value_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    let found = words.iter().enumerate().find_map(|(at, word)| Some(8 * at + first_control(*word)?));
    match found {
        Some(at) if bytes[at] != b'\t' => at,
        Some(tab) => tab + allowed(&bytes[tab..]),
        None => bytes.len() - rest.len() + allowed(rest),
    }
}

/// The same, one byte after the other.
fn allowed(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte >= b' ' && **byte != 0x7f || **byte == b'\t').count()
}

/// Where the first control character stands in eight bytes; tab is one.
fn first_control(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(word);
    let del = word ^ (ONES * 0x7f);
    // the highest bit of a byte is set if the byte is below the subtrahend, or if the one before it has borrowed from
    // it: so the first one that is set tells the truth
    let below = (word.wrapping_sub(ONES * 0x20) & !word) | (del.wrapping_sub(ONES) & !del);
    let controls = below & (ONES * 0x80);
    (controls != 0).then(|| controls.trailing_zeros() as usize / 8)
}

/// Asserts `O_NONBLOCK` on `socket`. The flag belongs to the socket itself, not to the descriptor: any unit that names
/// the socket without `NonBlocking=yes` takes it away from everybody, so it is asserted again before each hand-over.
///
/// # Errors
/// Whatever `fcntl(2)` says.
pub fn never_block(socket: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&socket)?;
    if !flags.contains(rustix::fs::OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// Goes on as another program: execv(2) with the environment of this one. Returns only when that fails, and then nothing
/// changed.
///
/// `std` has the same, but gives this process the signal mask and the handlers of a new one first: a signal that comes
/// then kills it.
pub fn execute(program: &CStr, arguments: &[CString]) -> io::Error {
    let pointers: Vec<_> = arguments.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: `program` and each of `arguments` end with a nul, and the list of them with a null pointer.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// The descriptor `number` that the program before left open when it went on as this one; it is closed on exec from now
/// on.
///
/// # Errors
/// When there is none, or it is closed on exec: then it was opened here, or was taken before.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for the flags of whatever has the number.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::other("not a descriptor that the program before left open"));
    }
    // SAFETY: whatever this program opens is closed on exec from the start, so nobody here owns the descriptor; and it
    // cannot be taken twice, for the same reason.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

fn block(signals: &[Signal]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised just above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: `set` is an initialised set; an invalid signal number only makes the call fail.
        unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) };
    }
    // SAFETY: `set` is initialised; a null pointer says that the old mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(set),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_once() {
        let signals = Signals::open(&[Signal::WINCH]).expect("signalfd");
        assert_eq!(signals.next().expect("read"), None);
        // SAFETY: sends a blocked signal to this thread only.
        assert_eq!(unsafe { libc::raise(libc::SIGWINCH) }, 0);
        assert_eq!(signals.next().expect("read"), Some(Signal::WINCH));
        assert_eq!(signals.next().expect("read"), None);
    }

    #[test]
    fn a_descriptor_is_inherited_once_and_only_if_it_was_left_open() {
        let own: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").into();
        inherited(own.as_raw_fd()).expect_err("opened here");
        inherited(1).expect_err("standard output");
        inherited(RawFd::MAX).expect_err("none");
        rustix::io::fcntl_setfd(&own, rustix::io::FdFlags::empty()).expect("fcntl");
        let number = std::os::fd::IntoRawFd::into_raw_fd(own);
        let taken = inherited(number).expect("left open");
        assert_eq!(rustix::io::fcntl_getfd(&taken).expect("flags"), rustix::io::FdFlags::CLOEXEC);
        inherited(number).expect_err("taken");
    }

    #[test]
    fn a_program_that_cannot_be_executed_changes_nothing() {
        let fault = execute(c"/", &[c"/".to_owned()]);
        assert_eq!(fault.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn field_values_are_those_of_http() {
        for (len, at) in (0..20).flat_map(|len| (0..len).map(move |at| (len, at))) {
            for byte in 0..=u8::MAX {
                let mut text = vec![b'~'; len];
                text[at] = byte;
                let (value, end) = field_value_at(&text.clone().into(), 0);
                let is_value = HeaderValue::from_bytes(&text).is_ok();
                assert_eq!(end, if is_value { len } else { at }, "{byte} at {at} of {len}");
                assert_eq!(value.as_bytes(), text[..end].trim_ascii());
            }
        }
    }

    #[test]
    fn a_field_value_is_cut_out_of_a_head_without_its_white_space() {
        let head = Bytes::from_static(b"a: \tb c \t\r\nd:\t\r\n");
        let (value, end) = field_value_at(&head, 2);
        assert_eq!((value.as_bytes(), end), (&b"b c"[..], 9));
        assert_eq!(field_value_at(&head, 13), (HeaderValue::from_static(""), 14));
        assert_eq!(field_value_at(&head, head.len()), (HeaderValue::from_static(""), head.len()));
    }

    #[test]
    fn a_socket_that_blocks_is_made_not_to() {
        let socket: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").into();
        never_block(&socket).expect("fcntl");
        assert!(rustix::fs::fcntl_getfl(&socket).expect("flags").contains(rustix::fs::OFlags::NONBLOCK));
    }
}
