//! Kernel interfaces that no crate offers, or not completely: signals as readable events, sockets that never block,
//! descriptors in the poller, memory that outlives a process, an allocator. The only file with `unsafe` in it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::BytesMut;
use listenfd::ListenFd;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::RecvFlags;
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The version of the package, which `debian/rules` writes into this section when the program is linked: packages of the
/// same sources are compiled once. Zeros elsewhere.
#[used]
#[unsafe(link_section = ".segue.version")]
static PACKAGE_VERSION: [u8; 64] = [0; 64];

/// The version that the program reports: the package's when it belongs to one, else the crate's.
#[must_use]
pub fn version() -> &'static str {
    // the compiler must not take it for the zeros that stand here
    let written = std::hint::black_box(&PACKAGE_VERSION);
    let length = written.iter().position(|byte| *byte == 0).unwrap_or(written.len());
    match str::from_utf8(&written[..length]) {
        Ok("") | Err(_) => env!("CARGO_PKG_VERSION"),
        Ok(version) => version,
    }
}

/// mimalloc as the program's allocator.
///
/// The short path serves every alignment that each block has anyway; asking for an alignment costs several times as
/// much, and the `mimalloc` crate always asks.
#[derive(Debug)]
pub struct Allocator;

/// The alignment of a block of mimalloc without a request: 16, or 8 for blocks below 16 bytes.
fn is_natural(layout: Layout) -> bool {
    layout.align() <= 16 && layout.align() <= layout.size()
}

// SAFETY: mimalloc's functions keep the contract of malloc and free, and `is_natural` asks for an alignment wherever
// a block would not have it by default; a block may be freed and resized by any of them.
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

/// Has the allocator look through what this thread freed, and give back to the kernel what of it has been free for the
/// purge delay (`MIMALLOC_PURGE_DELAY`): what is found free in one call can go in the next.
pub fn collect_free_memory() {
    unsafe extern "C" {
        // libmimalloc-sys declares it only with a feature that takes another crate along
        fn mi_collect(force: bool);
    }
    // SAFETY: declared as in mimalloc.h; may be called by any thread at any time, and blocks that are in use stay.
    unsafe { mi_collect(false) }
}

/// Reads what a socket holds into the spare capacity of `buffer`, and appends it; never waits. Safe code would have to
/// fill that capacity with zeros before each read, which was an eighth of the CPU of an upload.
///
/// # Errors
/// The error of `recv(2)`, `WouldBlock` when nothing is there.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    let (_, read) = rustix::net::recv(socket, buffer.spare_capacity_mut(), RecvFlags::DONTWAIT)?;
    // SAFETY: the kernel has written so many bytes to the spare capacity, from its beginning.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}

/// How many bytes more the kernel takes for a socket before it has to wait for the other end: the free part of its
/// send buffer in `SO_MEMINFO` (`linux/sock_diag.h`). The kernel counts its own overhead too, so this is less than
/// the count of bytes that fit.
///
/// # Errors
/// The error of `getsockopt(2)`.
pub fn send_room(socket: BorrowedFd<'_>) -> io::Result<usize> {
    const ALLOCATED: usize = 2;
    const LIMIT: usize = 3;
    const QUEUED: usize = 5;
    let mut numbers = [0_u32; 9];
    let mut len = size_of::<[u32; 9]>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `numbers`, which is as long.
    let failed = unsafe {
        let numbers = numbers.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, numbers, &raw mut len)
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(numbers[LIMIT].saturating_sub(numbers[ALLOCATED].max(numbers[QUEUED])) as usize)
}

/// How many bytes a TCP socket was given and has not sent yet (tcp(7), `SIOCOUTQNSD`); those that wait for an
/// acknowledgement are not among them.
///
/// # Errors
/// The error of `ioctl(2)`; every socket but TCP's has one.
pub fn unsent(socket: BorrowedFd<'_>) -> io::Result<usize> {
    const SIOCOUTQNSD: libc::Ioctl = 0x894B;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `bytes`.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD, &raw mut bytes) } {
        0 => Ok(usize::try_from(bytes).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What no process can do to a file of secrets.
const OF_SECRETS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Numbers in memory that other processes can read as a file, also after this one was killed.
#[derive(Debug)]
pub struct SharedNumbers {
    numbers: NonNull<AtomicU64>,
    count: usize,
    file: File,
}

// SAFETY: the memory is reached by atomic operations alone, and stays mapped until the drop.
unsafe impl Send for SharedNumbers {}
// SAFETY: as above.
unsafe impl Sync for SharedNumbers {}

impl SharedNumbers {
    /// So many of them, at least one; all of them 0.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn new(count: usize) -> io::Result<Self> {
        let count = count.max(1);
        let file = File::from(rustix::fs::memfd_create(c"segue-statistics", MemfdFlags::CLOEXEC)?);
        file.set_len((count * size_of::<AtomicU64>()) as u64)?;
        Self::map(file, count)
    }

    /// The same, in a file of this name whose size no process can change, and in memory that is not swapped as far as
    /// `RLIMIT_MEMLOCK` lets it.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn for_secrets(name: &CStr, count: usize) -> io::Result<Self> {
        let count = count.max(1);
        let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len((count * size_of::<AtomicU64>()) as u64)?;
        rustix::fs::fcntl_add_seals(&file, OF_SECRETS)?;
        Self::map(file, count)?.locked()
    }

    /// So many numbers, in the file of another process that made it by [`SharedNumbers::for_secrets`].
    ///
    /// # Errors
    /// When it is no such file, has fewer numbers, or cannot be mapped.
    pub fn open_secrets(file: OwnedFd, count: usize) -> io::Result<Self> {
        let (file, count) = (File::from(file), count.max(1));
        // what is behind the end of a mapped file ends the process that looks there
        let is_fixed = rustix::fs::fcntl_get_seals(&file)?.contains(OF_SECRETS);
        if !is_fixed || file.metadata()?.len() < (count * size_of::<AtomicU64>()) as u64 {
            return Err(io::Error::other("memory of another size"));
        }
        Self::map(file, count)?.locked()
    }

    fn locked(self) -> io::Result<Self> {
        // SAFETY: inside the mapping. A process that may lock nothing goes on: the secrets are short-lived.
        let _ = unsafe { libc::mlock(self.numbers.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
        Ok(self)
    }

    fn map(file: File, count: usize) -> io::Result<Self> {
        let bytes = count * size_of::<AtomicU64>();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, at a place that the kernel chooses; the file has the size.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, file.as_raw_fd(), 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let numbers = NonNull::new(page.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { numbers, count, file })
    }

    /// The number of this index; the first one, when there are not so many.
    #[must_use]
    pub fn number(&self, index: usize) -> &AtomicU64 {
        let index = if index < self.count { index } else { 0 };
        // SAFETY: inside the mapping, which is aligned to pages and lives as long as `self`.
        unsafe { self.numbers.add(index).as_ref() }
    }

    /// The file from which another process reads them, in the byte order of the machine. Bytes that are written
    /// behind them can be read there too.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// One number of them. It is found once, and keeps the memory.
#[derive(Debug)]
pub struct SharedNumber {
    at: NonNull<AtomicU64>,
    _numbers: Arc<SharedNumbers>,
}

// SAFETY: the number is reached by atomic operations alone, and stays mapped as long as this has its numbers.
unsafe impl Send for SharedNumber {}
// SAFETY: as above.
unsafe impl Sync for SharedNumber {}

impl SharedNumber {
    /// That of this index; the first one, when there are not so many.
    #[must_use]
    pub fn new(numbers: Arc<SharedNumbers>, index: usize) -> Self {
        Self { at: NonNull::from(numbers.number(index)), _numbers: numbers }
    }
}

impl Deref for SharedNumber {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        // SAFETY: it came from a reference, and what that pointed to is mapped until `self` is dropped.
        unsafe { self.at.as_ref() }
    }
}

impl Drop for SharedNumbers {
    fn drop(&mut self) {
        // SAFETY: `map` mapped it with this size, and no reference is left.
        let _ = unsafe { libc::munmap(self.numbers.as_ptr().cast(), self.count * size_of::<AtomicU64>()) }; // cannot fail
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
    /// The error of `signalfd(2)`.
    pub fn open(signals: &[Signal]) -> io::Result<Self> {
        let set = block(signals)?;
        // SAFETY: `set` was filled by sigemptyset and sigaddset; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just made this descriptor, and it has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The next signal that arrived, if any.
    ///
    /// # Errors
    /// The error of `read(2)`, except `EAGAIN`.
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

/// Registers `fd` with the runtime of this thread for read readiness.
///
/// # Errors
/// When the poller does not take it.
pub fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open as long as it lives and always names the same file; the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Blocks every signal for this thread and those that it starts later, except those that report a broken program, and
/// KILL and STOP. [`Signals`] reads the ones with a meaning. A limit that is hit (XFSZ, XCPU), a terminal (TSTP,
/// TTIN, TTOU), a habit from nginx or HAProxy (QUIT, USR1, WINCH …) or a timer must not end or stop a process that
/// serves.
///
/// # Errors
/// The error of `pthread_sigmask(3)`.
pub fn ignore_signals() -> io::Result<()> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set that it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised just above.
    let mut set = unsafe { set.assume_init() };
    for signal in OF_FAULTS {
        // SAFETY: `set` is an initialised set; an invalid signal number only makes the call fail.
        unsafe { libc::sigdelset(&raw mut set, signal.as_raw()) };
    }
    block_set(&set)
}

/// Has `command` start with no signal blocked: a process inherits which ones its parent blocks, also those that [`Signals`]
/// of the parent reads.
pub fn unblock_signals(command: &mut Command) -> &mut Command {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: initialised just above.
    let none: libc::sigset_t = unsafe { none.assume_init() };
    // SAFETY: between fork and exec this calls nothing but pthread_sigmask, which is safe there (signal-safety(7)), with a
    // set that is initialised; a null pointer says that the old mask is not wanted.
    unsafe {
        command.pre_exec(move || {
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code)),
            }
        })
    }
}

/// The signals for a fault of the process itself, and ABRT, with which the supervisor ends a worker that hangs.
const OF_FAULTS: [Signal; 7] =
    [Signal::ILL, Signal::TRAP, Signal::ABORT, Signal::BUS, Signal::FPE, Signal::SEGV, Signal::SYS];

/// Sets `O_NONBLOCK` on `socket`. The flag belongs to the socket itself, not to the descriptor: any unit that names
/// the socket without `NonBlocking=yes` clears it for all holders, so it is set again before each hand-over.
///
/// # Errors
/// The error of `fcntl(2)`.
pub fn never_block(socket: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&socket)?;
    if !flags.contains(rustix::fs::OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// The process at the other end of a unix socket, as it was when it connected.
#[derive(Clone, Copy, Debug)]
pub struct PeerCredentials {
    /// Its process; 0 when it is in none of the namespaces below this one.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// See [`PeerCredentials`] (SO_PEERCRED, unix(7)). rustix has it too, and takes a process of 0 for none that can be.
///
/// # Errors
/// The error of `getsockopt(2)`.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `found`, which has as many and is right with any content.
    let done = unsafe {
        let place = (&raw mut found).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut length)
    };
    match done {
        0 => Ok(PeerCredentials { pid: u32::try_from(found.pid).unwrap_or(0), uid: found.uid, gid: found.gid }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The supplementary groups of the process at the other end of a unix socket, as it had them when it connected
/// (SO_PEERGROUPS, unix(7)).
///
/// # Errors
/// The error of `getsockopt(2)`.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = (groups.len() * size_of::<libc::gid_t>()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `groups`, which has as many, and then how many there are.
        let done = unsafe {
            let place = groups.as_mut_ptr().cast();
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, place, &raw mut length)
        };
        let count = length as usize / size_of::<libc::gid_t>();
        if done == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Continues as another program: execv(2) with the environment of this one. Returns only when that fails, and then
/// nothing has changed.
///
/// `std` has the same, but first gives this process the signal mask and the handlers of a new one: a signal that
/// comes then kills it.
pub fn execute(program: &CStr, arguments: &[CString]) -> io::Error {
    let pointers: Vec<_> = arguments.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: `program` and each of `arguments` end with a nul, and the list of them with a null pointer.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// The descriptor `number` that the program before left open when it continued as this one; it is closed on exec from
/// now on.
///
/// # Errors
/// When there is none, or it is closed on exec: then this program opened it, or has taken it before.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for the flags of whatever has the number.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::other("not a descriptor that the program before left open"));
    }
    // SAFETY: every descriptor that this program opens is closed on exec from the start, so this one has no owner
    // here; and it cannot be taken twice, for the same reason.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// The descriptor at `index` of those that systemd passed, whatever it is; listenfd checks sockets alone.
#[must_use]
pub fn take_passed(passed: &mut ListenFd, index: usize) -> Option<OwnedFd> {
    let number = passed.take_raw_fd(index).ok().flatten()?;
    // SAFETY: listenfd gives each number once, and it had no other owner.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
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
    block_set(&set)?;
    Ok(set)
}

fn block_set(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` is initialised; a null pointer says that the old mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::from_ref(set), std::ptr::null_mut()) } {
        0 => Ok(()),
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
    fn a_command_starts_with_no_signal_blocked() {
        use std::os::unix::process::ExitStatusExt;
        let _signals = Signals::open(&[Signal::USR1]).expect("signalfd");
        let run = |command: &mut Command| command.args(["-c", "kill -USR1 $$"]).status().expect("a shell").signal();
        assert_eq!(run(&mut Command::new("/bin/sh")), None, "blocked signals are inherited");
        assert_eq!(run(unblock_signals(&mut Command::new("/bin/sh"))), Some(libc::SIGUSR1));
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
    fn a_socket_that_blocks_is_made_not_to() {
        let socket: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").into();
        never_block(&socket).expect("fcntl");
        assert!(rustix::fs::fcntl_getfl(&socket).expect("flags").contains(rustix::fs::OFlags::NONBLOCK));
    }
}
