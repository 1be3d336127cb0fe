//! Reads the files of a configuration, and says who could not.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::load::{PREFIX, SourceFile, VARIABLES};
use super::problem::{Place, Problem, Severity};

/// The files of a configuration, as far as they can be read.
pub struct Files {
    /// The main file; empty when it can't be read.
    pub main: SourceFile,
    /// The files of `conf.d` that can be.
    pub conf_d: Vec<SourceFile>,
    /// One problem for each file that can't.
    pub unreadable: Vec<Problem>,
}

/// Reads `main`, and every `conf.d/*.toml` beside it in the order of their names.
pub fn files(main: &Path) -> Files {
    let mut unreadable = Vec::new();
    // the main file may come through a pipe, as from a shell that makes it
    let mut read = |path: &Path, may_be_pipe| {
        check_kind(path, may_be_pipe).and_then(|()| read_file(path)).map_err(|error| unreadable.push(error)).ok()
    };
    let main_file = read(main, true);
    let conf_d = match fragments(main) {
        Ok(paths) => paths.iter().filter_map(|path| read(path, false)).collect(),
        Err(error) => {
            unreadable.push(error);
            Vec::new()
        }
    };
    let nothing = || SourceFile { path: main.display().to_string(), text: String::new() };
    Files {
        main: main_file.unwrap_or_else(nothing),
        conf_d,
        unreadable: unreadable.into_iter().map(Unreadable::into_problem).collect(),
    }
}

/// A file or directory that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {path}")]
struct Unreadable {
    path: PathBuf,
    #[source]
    error: io::Error,
    /// Where it stops to be text.
    place: Option<Place>,
}

/// What never ends, or waits for somebody who writes to it, is not read.
fn check_kind(path: &Path, may_be_pipe: bool) -> Result<(), Unreadable> {
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) }; // reading it will tell why
    let kind = found.file_type();
    if kind.is_file() || kind.is_dir() || kind.is_fifo() && may_be_pipe {
        return Ok(());
    }
    Err(Unreadable { path: path.to_owned(), error: io::Error::other("it is no file"), place: None })
}

fn read_file(path: &Path) -> Result<SourceFile, Unreadable> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Unreadable { path: path.to_owned(), error, place: None })?;
    match String::from_utf8(bytes) {
        // What Windows puts at the front of a file is no part of its first line.
        Ok(text) => {
            Ok(SourceFile { path: name, text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text) })
        }
        Err(fault) => {
            let (from, text) = (fault.utf8_error().valid_up_to(), String::from_utf8_lossy(fault.as_bytes()));
            let place = Some(Place::new(&name, &text, from..from + char::REPLACEMENT_CHARACTER.len_utf8()));
            let error = io::Error::new(io::ErrorKind::InvalidData, fault.utf8_error());
            Err(Unreadable { path: path.to_owned(), error, place })
        }
    }
}

fn fragments(main: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Unreadable { path: directory, error, place: None }),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Unreadable { path: directory.clone(), error, place: None })?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Unreadable {
    fn into_problem(self) -> Problem {
        let (reason, help) = match self.error.kind() {
            io::ErrorKind::NotFound if self.path.is_symlink() => {
                ("it is a link to a file that is not there".to_owned(), Some("make the file, or take the link away"))
            }
            io::ErrorKind::NotFound => (
                "there is no such file".to_owned(),
                Some("name the file with --config; the package brings /etc/segue/segue.toml"),
            ),
            io::ErrorKind::PermissionDenied => (
                format!("{} may not read it", user()),
                Some("let this user read it, and enter every directory on the way to it"),
            ),
            io::ErrorKind::InvalidData => ("it is not UTF-8 text".to_owned(), Some("save it in the encoding UTF-8")),
            io::ErrorKind::IsADirectory => ("it is a directory".to_owned(), None),
            io::ErrorKind::NotADirectory => ("it is no directory, or lies in none".to_owned(), None),
            _ => (self.error.to_string(), None),
        };
        let message = format!("can't read {}: {reason}", self.path.display());
        let place = self.place;
        Problem { help: help.map(str::to_owned), place, ..Problem::new(Severity::Error, "", message) }
    }
}

/// Who we are, as a person would look it up.
fn user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    match name {
        Some(name) => format!("the user {name} (uid {uid})"),
        None => format!("the user with uid {uid}"),
    }
}

/// Our variables out of `all`; a value that nobody will look at may be a secret, and stays out.
pub fn variables(all: std::env::VarsOs) -> BTreeMap<String, String> {
    let text = all.map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    text.filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| {
            let known = VARIABLES.iter().any(|(known, _)| *known == name);
            (name, if known { value } else { String::new() })
        })
        .collect()
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
        assert!(said.iter().all(|message| message.ends_with("it is no file")), "{said:?}");
    }
}
