//! `segue debug`: exchanges of one client or one site, while they go on.
//!
//! ```text
//!   workers, supervisor ──socket──▶ the reader's thread ──queue, 1 MiB──▶ the main thread ──▶ standard output
//! ```
//! The thread reads at once whatever comes, so that a terminal that is stopped for a while, or the reader of a pipe, loses
//! nothing of what fits into the queue, and is told how much it lost of the rest.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::diff::ask_what_serves;
use super::reload::{not_asked, unexpected};
use super::status::TIMEOUT;
use super::{DebugArguments, complain};
use crate::config::{Config, closest};
use crate::control::debug::{DebugFilter, DebugRequest, shows};
use crate::control::request::{ControlReply, Wish, ask_with};
use crate::message::authority::Host;
use crate::observe::{Plain, Plural};
use crate::route::{Facts, HostTable};

/// Longer than any packet of lines.
const PACKET: usize = 32 * 1024;

/// Bytes of lines that wait for standard output.
const MOST_WAITING: usize = 1024 * 1024;

/// How many sites a hint names.
const SITES: usize = 8;

/// Prints the lines until the time is over, the output is closed or the service ends.
#[must_use]
pub fn run(arguments: DebugArguments) -> ExitCode {
    let DebugArguments { run_dir, client, site, lasts } = arguments;
    let run_dir = run_dir.path();
    let site = match site.map(|site| known_site(&run_dir, &site)).transpose() {
        Ok(site) => site,
        Err(code) => return code,
    };
    let filter = DebugFilter { client, site };
    let shown = shown(&filter);
    let (lines, generations) = match open(&run_dir, DebugRequest { filter, lasts }) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let queue = Arc::new(LineQueue::default());
    let silent = wait_until_shown(&lines, &generations, &queue);
    if !silent.is_empty() {
        eprintln!("segue: {} does not answer, and may show nothing", named(&silent));
    }
    let (generations, for_time) = (named(&generations), humantime::format_duration(lasts));
    eprintln!("segue: {generations} shows exchanges {shown}, for {for_time}; Ctrl-C ends it");
    let (filled, until) = (queue.clone(), Instant::now() + lasts);
    let reader = std::thread::spawn(move || filled.end(read(&lines, &filled, until)));
    let printed = print(&queue);
    match printed {
        Ok(count) => {
            let _ = reader.join(); // it has ended: the queue says so
            eprintln!("segue: {}, {}", queue.why(), Plural(count, "line"));
            if count == 0 {
                eprintln!("hint: {NOTHING}");
            }
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS, // as in `segue debug | head`
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

const NOTHING: &str = "no such exchange opened meanwhile; a client behind another proxy is known by the address of that proxy, \
    unless `trusted_proxies` of the listener has it";

/// Has the service show exchanges: the end of the socket where the lines come, and the generations that show theirs.
fn open(run_dir: &Path, request: DebugRequest) -> Result<(OwnedFd, Vec<u64>), ExitCode> {
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (lines, theirs) = pair.map_err(|error| {
        complain(&io::Error::from(error));
        ExitCode::FAILURE
    })?;
    // the end of the last process that has the other end is the end of the lines: this one must not have it
    match ask_with(run_dir, Wish::Debug(request), &[theirs.as_fd()], TIMEOUT) {
        Ok((ControlReply::Debugging { generations }, _)) => Ok((lines, generations)),
        Ok((reply, _)) => Err(unexpected(&reply)),
        Err(error) => Err(not_asked(&error)),
    }
}

/// Waits until each of these generations has said that it shows its exchanges, but [`TIMEOUT`] at most; other lines that
/// come meanwhile go to the queue. Gives those that have not said it.
fn wait_until_shown(lines: &OwnedFd, generations: &[u64], queue: &LineQueue) -> Vec<u64> {
    let (mut silent, mut buffer) = (generations.to_vec(), vec![0; PACKET]);
    let until = Instant::now() + TIMEOUT;
    while !silent.is_empty() {
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match rustix::event::poll(&mut [PollFd::new(lines, PollFlags::IN)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok((len @ 1.., _)) = rustix::net::recv(lines, &mut buffer[..], RecvFlags::DONTWAIT) else { break };
        let said = String::from_utf8_lossy(&buffer[..len]);
        match silent.iter().position(|one| said.trim_end() == shows(*one)) {
            Some(one) => drop(silent.remove(one)),
            None => queue.push(&buffer[..len]),
        }
    }
    silent
}

fn shown(filter: &DebugFilter) -> String {
    let client = filter.client.map(|net| match net.prefix_len() == net.max_prefix_len() {
        true => format!("of {}", net.addr()),
        false => format!("of {net}"),
    });
    let site = filter.site.as_ref().map(|site| format!("for {}", Plain(site)));
    client.into_iter().chain(site).collect::<Vec<_>>().join(" ")
}

fn named(generations: &[u64]) -> String {
    let numbers: Vec<_> = generations.iter().map(u64::to_string).collect();
    format!("generation {}", numbers.join(", generation "))
}

/// The site of this name, or the host, if a site of the configuration that serves answers to it.
fn known_site(run_dir: &Path, given: &str) -> Result<String, ExitCode> {
    let (served, sources) = ask_what_serves(run_dir).ok_or(ExitCode::FAILURE)?;
    let Some(config) = sources.check().config else {
        return Ok(given.to_owned()); // another version's: the workers know their sites
    };
    let names: Vec<String> = config.sites.iter().map(|site| site.host.to_string()).collect();
    if let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(given)) {
        return Ok(name.clone());
    }
    let close = closest(given, names.iter().map(String::as_str));
    match answering(&config, given) {
        Some((host, site)) => {
            let meant = close.map(|close| format!("; for the site {close:?}, say --site {close}")).unwrap_or_default();
            eprintln!("segue: to the host {host} the site {:?} answers{meant}", names[site]);
            Ok(host)
        }
        None => {
            eprintln!("segue: no site of generation {} answers to {:?}", served.generation, given);
            eprintln!("hint: {}", instead(close, &names));
            Err(ExitCode::FAILURE)
        }
    }
}

/// The host that is given, and the index of the site that answers to it.
fn answering(config: &Config, given: &str) -> Option<(String, usize)> {
    let host = Host::parse(given).ok()?.name.into_owned();
    let site = HostTable::new(config.sites.iter().map(|site| &site.host)).find(&Facts { host: Some(&host) })?;
    Some((host, site))
}

fn instead(close: Option<&str>, names: &[String]) -> String {
    if let Some(close) = close {
        return format!("did you mean {close:?}?");
    }
    let mut shown: Vec<String> = names.iter().take(SITES).map(|name| format!("{name:?}")).collect();
    if names.len() > SITES {
        shown.push(format!("{} more", names.len() - SITES));
    }
    match &shown[..] {
        [] => "it has no sites; connections in TCP mode are shown by --client".to_owned(),
        [one] => format!("its site is {one}"),
        all => format!("its sites are {}", all.join(", ")),
    }
}

/// Why no line comes any more.
#[derive(Clone, Copy, Debug)]
enum LinesEnd {
    TimeOver,
    ServiceEnded,
    OutputClosed,
}

/// Reads lines into the queue until no more come.
fn read(lines: &OwnedFd, queue: &LineQueue, until: Instant) -> LinesEnd {
    let (mut buffer, output) = (vec![0; PACKET], io::stdout());
    loop {
        match rustix::net::recv(lines, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return LinesEnd::ServiceEnded,
            Ok((len, _)) => {
                queue.push(&buffer[..len]);
                continue;
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => {}
            Err(_) => return LinesEnd::ServiceEnded,
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return LinesEnd::TimeOver; // once all that came before is read
        }
        // without events in the request, poll(2) reports only that the reader of a pipe has closed it
        let mut watched = [PollFd::new(lines, PollFlags::IN), PollFd::new(&output, PollFlags::empty())];
        let timeout = Timespec::try_from(left + Duration::from_millis(1)).ok();
        if rustix::event::poll(&mut watched, timeout.as_ref()).is_ok() && !watched[1].revents().is_empty() {
            return LinesEnd::OutputClosed;
        }
    }
}

/// Prints what is in the queue until its end; gives the number of lines.
fn print(queue: &LineQueue) -> io::Result<u64> {
    let mut count = 0;
    while let Some(text) = queue.take() {
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
        count += text.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    Ok(count)
}

/// Lines that wait for standard output.
#[derive(Debug, Default)]
struct LineQueue {
    waiting: Mutex<WaitingLines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitingLines {
    text: Vec<u8>,
    /// Lines for which there was no room.
    lost: u64,
    end: Option<LinesEnd>,
}

impl WaitingLines {
    /// Says how many lines are missing at this place.
    fn own_up(&mut self) {
        if self.lost > 0 {
            let lines = Plural(std::mem::take(&mut self.lost), "line");
            self.text.extend(format!("-- {lines} lost here: the output does not keep up\n").bytes());
        }
    }
}

impl LineQueue {
    fn lock(&self) -> std::sync::MutexGuard<'_, WaitingLines> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        if waiting.text.len() + lines.len() > MOST_WAITING {
            waiting.lost += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            return;
        }
        waiting.own_up();
        waiting.text.extend_from_slice(lines);
        self.changed.notify_one();
    }

    fn end(&self, end: LinesEnd) {
        let mut waiting = self.lock();
        waiting.own_up();
        waiting.end = Some(end);
        self.changed.notify_one();
    }

    /// All that waits, once there is anything; `None` at the end.
    fn take(&self) -> Option<Vec<u8>> {
        let empty = |waiting: &mut WaitingLines| waiting.text.is_empty() && waiting.end.is_none();
        let mut waiting = self.changed.wait_while(self.lock(), empty).unwrap_or_else(PoisonError::into_inner);
        (!waiting.text.is_empty()).then(|| std::mem::take(&mut waiting.text))
    }

    /// Why it has ended, in words.
    fn why(&self) -> &'static str {
        match self.lock().end {
            Some(LinesEnd::ServiceEnded) => "the service has ended",
            Some(LinesEnd::OutputClosed) => "the output is closed",
            Some(LinesEnd::TimeOver) | None => "the time is over",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_does_not_keep_up_loses_lines_and_says_how_many() {
        let queue = LineQueue::default();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..MOST_WAITING / 1024 + 3 {
            queue.push(&line);
        }
        assert_eq!(queue.take().map(|text| text.len()), Some(MOST_WAITING));
        queue.push(b"next\n");
        let told = "-- 3 lines lost here: the output does not keep up\nnext\n";
        assert_eq!(queue.take().as_deref(), Some(told.as_bytes()));
        queue.end(LinesEnd::TimeOver);
        assert_eq!((queue.take(), queue.why()), (None, "the time is over"));
    }

    #[test]
    fn lines_lost_before_the_end_are_owned_up_to_at_the_end() {
        let queue = LineQueue::default();
        queue.push(&[b'\n'; MOST_WAITING]);
        queue.push(b"lost\n");
        queue.end(LinesEnd::ServiceEnded);
        let text = queue.take().expect("lines");
        assert!(text.ends_with(b"-- 1 line lost here: the output does not keep up\n"));
        assert!(queue.take().is_none());
    }

    #[test]
    fn a_site_is_known_by_its_name_or_by_a_host_that_it_answers_to() {
        let config = "[site.'*.example.com']\nto = ['127.0.0.1:9']\n[site.'example.org']\nto = ['127.0.0.1:9']\n";
        let config = Config::from_toml(config).expect("a configuration");
        let (host, site) = answering(&config, "WWW.example.com:80").expect("a site");
        assert_eq!((host.as_str(), config.sites[site].host.to_string().as_str()), ("www.example.com", "*.example.com"));
        assert_eq!(answering(&config, "example.net"), None);
        assert_eq!(answering(&config, "http://example.org/"), None);
        let names = ["example.org".to_owned()];
        assert_eq!(instead(closest("exmaple.org", ["example.org"]), &names), "did you mean \"example.org\"?");
        assert_eq!(instead(None, &names), "its site is \"example.org\"");
        assert!(instead(None, &[]).contains("no sites"));
    }

    #[test]
    fn what_is_shown_is_said_in_words() {
        let filter = |client: Option<&str>, site: Option<&str>| DebugFilter {
            client: client.map(|net| net.parse().expect("a network")),
            site: site.map(str::to_owned),
        };
        assert_eq!(shown(&filter(Some("10.0.0.7/32"), None)), "of 10.0.0.7");
        assert_eq!(shown(&filter(Some("10.0.0.0/8"), Some("a.example"))), "of 10.0.0.0/8 for a.example");
        assert_eq!(named(&[7, 8]), "generation 7, generation 8");
    }
}
