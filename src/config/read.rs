//! Reads the files of a configuration, and explains why one can't be read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use serde::{Deserialize, Serialize};

use super::problem::{FilePosition, Problem, Severity};

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As it was opened.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The files of a configuration, as far as they can be read.
pub struct Files {
    /// The main file; empty when it can't be read.
    pub main: SourceFile,
    /// The files of `conf.d` that can be.
    pub conf_d: Vec<SourceFile>,
    /// Other names in `conf.d` that may be intended for it; a directory ends in a slash.
    pub left_out: Vec<String>,
    /// One problem for each file that can't.
    pub unreadable: Vec<Problem>,
}

/// Reads `main`, and every `conf.d/*.toml` beside it in the order of their names.
pub fn files(main: &Path) -> Files {
    let mut unreadable = Vec::new();
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let (fragments, left_out) = fragments(&directory).unwrap_or_else(|error| {
        unreadable.push(not_readable(&directory, &error));
        Default::default()
    });
    // the main file may be a pipe, as a shell makes for <(command)
    let mut read = |path: &Path, may_be_pipe| {
        let bytes = bytes(path, may_be_pipe).map_err(|error| Box::new(not_readable(path, &error)));
        bytes.and_then(|bytes| text(path, bytes)).map_err(|problem| unreadable.push(*problem)).ok()
    };
    let main_file = read(main, true);
    let conf_d = fragments.iter().filter_map(|path| read(path, false)).collect();
    let nothing = || SourceFile { path: main.display().to_string(), text: String::new() };
    Files { main: main_file.unwrap_or_else(nothing), conf_d, left_out, unreadable }
}

/// The warning about something in `conf.d` that is not read.
#[must_use]
pub fn not_read(path: &str) -> Problem {
    let (directory, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("conf.d", path));
    let shown = name.trim_start_matches('.');
    let stem = Path::new(shown).file_stem().and_then(OsStr::to_str).unwrap_or(shown);
    let rename = format!("rename it to `{stem}.toml`, or move it elsewhere");
    let (why, help) = match path.ends_with('/') {
        true => ("it is a directory", format!("files count that stand in {directory} itself, and end in `.toml`")),
        false if name.starts_with('.') => ("its name begins with a dot", rename),
        false => ("its name does not end in `.toml`", rename),
    };
    let message = format!("{} is not read: {why}", path.trim_end_matches('/'));
    Problem::new(Severity::Warning, message, help)
}

/// The content of a file. Devices, sockets and pipes of `conf.d` are not read: they may have no end.
fn bytes(path: &Path, may_be_pipe: bool) -> io::Result<Vec<u8>> {
    match std::fs::metadata(path).map(|found| found.file_type()) {
        Ok(kind) if kind.is_fifo() && may_be_pipe => from_pipe(path),
        Ok(kind) if kind.is_fifo() => Err(io::Error::other("it is a pipe, not a file")),
        Ok(kind) if kind.is_socket() => Err(io::Error::other("it is a socket, not a file")),
        Ok(kind) if !kind.is_file() && !kind.is_dir() => Err(io::Error::other("it is a device, not a file")),
        _ => std::fs::read(path), // which says what is wrong
    }
}

/// Everything up to the end of a pipe. There is a deadline, since a pipe without a writer has no end.
fn from_pipe(path: &Path) -> io::Result<Vec<u8>> {
    let mut pipe =
        File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    let until = Instant::now() + PIPE_DEADLINE;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        if rustix::event::poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::Error::other(format!("it is a pipe without an end for {} s", PIPE_DEADLINE.as_secs())));
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// For all that comes through a pipe: less than the time that a worker has to start.
const PIPE_DEADLINE: Duration = Duration::from_secs(10);

fn text(path: &Path, bytes: Vec<u8>) -> Result<SourceFile, Box<Problem>> {
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        // The byte order mark that Windows puts first is no part of the first line.
        Ok(text) => {
            Ok(SourceFile { path: name, text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text) })
        }
        Err(fault) => {
            let (from, text) = (fault.utf8_error().valid_up_to(), String::from_utf8_lossy(fault.as_bytes()));
            let place = Some(FilePosition::new(&name, &text, from..from + char::REPLACEMENT_CHARACTER.len_utf8()));
            Err(Box::new(Problem { place, ..not_readable(path, &io::ErrorKind::InvalidData.into()) }))
        }
    }
}

/// The files of `conf.d` that count, in the order of their names, and other names there that may be intended for it.
fn fragments(directory: &Path) -> io::Result<(Vec<PathBuf>, Vec<String>)> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        entries => entries?,
    };
    let (mut paths, mut left_out) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with('.') && name.ends_with(".toml") {
            paths.push(path);
        } else if !is_kept_aside(&name) {
            let slash = if path.is_dir() { "/" } else { "" };
            left_out.push(format!("{}{slash}", path.display()));
        }
    }
    paths.sort();
    left_out.sort();
    Ok((paths, left_out))
}

/// Whether the name says that the file is not in use: files that editors, package managers and version control leave.
fn is_kept_aside(name: &str) -> bool {
    const FRONTS: [&str; 4] = [".#", "#", ".git", "README"];
    const ENDS: &str = "~ .swp .swo .swx .tmp .bak .orig .rej .old .save .off .disabled .example .sample .md .txt";
    let of_package_manager = [".dpkg-", ".ucf-", ".rpm"].iter().any(|mark| name.contains(mark));
    of_package_manager
        || FRONTS.iter().any(|front| name.starts_with(front))
        || ENDS.split(' ').any(|end| name.ends_with(end))
}

/// The problem with a file or directory that can't be read.
fn not_readable(path: &Path, error: &io::Error) -> Problem {
    let (other, denied) = (error.to_string(), format!("{} may not read it", user()));
    let (reason, help) = match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            ("it is a link to a file that is not there", "make the file, or take the link away")
        }
        io::ErrorKind::NotFound => {
            ("there is no such file", "name the file with --config; the package brings /etc/segue/segue.toml")
        }
        io::ErrorKind::PermissionDenied => {
            (denied.as_str(), "let this user read it, and enter every directory on the way to it")
        }
        io::ErrorKind::InvalidData => ("it is not UTF-8 text", "save it in the encoding UTF-8"),
        io::ErrorKind::IsADirectory => ("it is a directory", "name the file in it, as in /etc/segue/segue.toml"),
        io::ErrorKind::NotADirectory => ("it is no directory, or lies in none", "look at the path"),
        io::ErrorKind::Other => (other.as_str(), "name a file; an empty one is a configuration without any site"),
        _ => (other.as_str(), ""),
    };
    let message = format!("can't read {}: {reason}", path.display());
    Problem {
        help: Some(help.to_owned()).filter(|help| !help.is_empty()),
        ..Problem::new(Severity::Error, message, "")
    }
}

fn user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    match user_name() {
        Some(name) => format!("the user {name} (uid {uid})"),
        None => format!("the user with uid {uid}"),
    }
}

/// The name of the user of this thread, as it stands in passwd(5).
#[must_use]
pub fn user_name() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_never_end_is_not_read() {
        let directory = tempfile::tempdir().expect("directory");
        let main = directory.path().join("segue.toml");
        let conf_d = directory.path().join("conf.d");
        std::fs::create_dir(&conf_d).expect("conf.d");
        std::fs::write(&main, "").expect("file");
        std::os::unix::fs::symlink("/dev/zero", conf_d.join("zero.toml")).expect("link");
        let pipe = conf_d.join("pipe.toml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("pipe");
        let Files { conf_d: read, unreadable, .. } = files(&main);
        let said: Vec<_> = unreadable.into_iter().map(|problem| problem.message).collect();
        assert!(read.is_empty() && said.len() == 2, "{said:?}");
        assert!(said[0].ends_with("it is a pipe, not a file"), "{said:?}");
        assert!(said[1].ends_with("it is a device, not a file"), "{said:?}");
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let directory = tempfile::tempdir().expect("directory");
        let main = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &main, Mode::RUSR | Mode::WUSR).expect("pipe");
        let writer = main.clone();
        let writer = std::thread::spawn(move || std::fs::write(writer, "x".repeat(100_000)));
        let read = files(&main);
        assert!(read.unreadable.is_empty() && read.main.text.len() == 100_000, "{:?}", read.unreadable);
        writer.join().expect("a thread").expect("written");
    }

    #[test]
    fn what_is_left_out_of_conf_d_is_told_unless_its_name_says_so() {
        let directory = tempfile::tempdir().expect("directory");
        let conf_d = directory.path().join("conf.d");
        std::fs::create_dir_all(conf_d.join("more")).expect("directories");
        let meant = [".a.toml", "b.conf", "c.TOML", "d"];
        let aside = ["e.toml~", ".f.toml.swp", ".#g.toml", "h.toml.dpkg-dist", "README.md", ".gitignore", "i.toml.bak"];
        for name in meant.iter().chain(&aside) {
            std::fs::write(conf_d.join(name), "").expect("file");
        }
        let left_out = files(&directory.path().join("segue.toml")).left_out;
        let told: Vec<_> = left_out.iter().map(|path| not_read(path)).collect();
        let helps: Vec<_> = told.iter().filter_map(|problem| problem.help.as_deref()?.split('`').nth(1)).collect();
        assert_eq!(helps, ["a.toml", "b.toml", "c.toml", "d.toml", ".toml"], "{told:?}");
    }
}
