//! Reads the files of a configuration, and says who could not.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::load::{PREFIX, SourceFile, VARIABLES};
use super::problem::{Problem, Severity};

/// Reads `main`, and every `conf.d/*.toml` beside it in the order of their names.
///
/// # Errors
/// One problem for each file that can't be read.
pub fn files(main: &Path) -> Result<(SourceFile, Vec<SourceFile>), Vec<Problem>> {
    let mut unreadable = Vec::new();
    let mut read = |path: &Path| read_file(path).map_err(|error| unreadable.push(error)).ok();
    let main_file = read(main);
    let conf_d = match fragments(main) {
        Ok(paths) => paths.iter().filter_map(|path| read(path)).collect(),
        Err(error) => {
            unreadable.push(error);
            Vec::new()
        }
    };
    match main_file {
        Some(main) if unreadable.is_empty() => Ok((main, conf_d)),
        _ => Err(unreadable.into_iter().map(Unreadable::into_problem).collect()),
    }
}

/// A file or directory that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {path}")]
struct Unreadable {
    path: PathBuf,
    #[source]
    error: io::Error,
}

fn read_file(path: &Path) -> Result<SourceFile, Unreadable> {
    let text = std::fs::read_to_string(path).map_err(|error| Unreadable { path: path.to_owned(), error })?;
    Ok(SourceFile { path: path.display().to_string(), text })
}

fn fragments(main: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Unreadable { path: directory, error }),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Unreadable { path: directory.clone(), error })?.path();
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
            io::ErrorKind::NotFound => (
                "there is no such file".to_owned(),
                Some("name the file with --config; the package brings /etc/segue/segue.toml"),
            ),
            io::ErrorKind::PermissionDenied => (
                format!("{} may not read it", user()),
                Some("let this user read it, and enter every directory on the way to it"),
            ),
            io::ErrorKind::InvalidData => ("it is not UTF-8 text".to_owned(), None),
            io::ErrorKind::IsADirectory => ("it is a directory".to_owned(), None),
            _ => (self.error.to_string(), None),
        };
        let message = format!("can't read {}: {reason}", self.path.display());
        Problem { help: help.map(str::to_owned), ..Problem::new(Severity::Error, "", message) }
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
