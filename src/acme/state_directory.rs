//! What is kept on disk: the account, orders, answers to challenges, certificates. All of it is readable by the service alone,
//! and each file is replaced as a whole.
//!
//! ```text
//! /var/lib/segue/acme/lock                    held by what asks the authority
//!                     accounts/DIRECTORY.json
//!                     orders/HOST.json        see order
//!                     challenges/TOKEN        and tls-alpn.HOST
//!                     certificates/HOST.pem   key and chain; served as any other file
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AcmeError;

/// Where systemd has it without a variable (`StateDirectory=segue`).
const DEFAULT: &str = "/var/lib/segue";

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory(PathBuf);

/// Held as long as this lives: one process asks the authority at a time, of all generations.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "the lock goes with the descriptor")] File);

impl StateDirectory {
    /// Below the state directory of the unit (`$STATE_DIRECTORY`, systemd.exec(5)).
    #[must_use]
    pub fn from_environment() -> Self {
        let named = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).and_then(|all| {
            // several stand with colons between them
            let first = all.to_str()?.split(':').next()?.to_owned();
            first.starts_with('/').then(|| PathBuf::from(first))
        });
        Self(named.unwrap_or_else(|| DEFAULT.into()).join("acme"))
    }

    /// At this path, for tests.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.join("acme"))
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// When that is impossible.
    pub fn make(&self) -> Result<(), AcmeError> {
        for below in ["", "accounts", "orders", "challenges", "certificates"] {
            let path = self.0.join(below);
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(AcmeError::file(path))?;
        }
        Ok(())
    }

    /// The lock; none while another process has it.
    ///
    /// # Errors
    /// When there can be no lock.
    pub fn try_lock(&self) -> Result<Option<StateLock>, AcmeError> {
        let path = self.0.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(AcmeError::file(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(StateLock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(AcmeError::file(path)(error.into())),
        }
    }

    /// The file with key and certificate of a host.
    #[must_use]
    pub fn certificate(&self, host: &str) -> PathBuf {
        self.0.join("certificates").join(format!("{}.pem", file_name(host)))
    }

    /// The file about the order for a host.
    #[must_use]
    pub fn order(&self, host: &str) -> PathBuf {
        self.0.join("orders").join(format!("{}.json", file_name(host)))
    }

    /// The file with the account at a directory.
    #[must_use]
    pub fn account(&self, directory: &str) -> PathBuf {
        let name = directory.strip_prefix("https://").unwrap_or(directory);
        self.0.join("accounts").join(format!("{}.json", file_name(name)))
    }

    /// The directory with answers to challenges.
    #[must_use]
    pub fn challenges(&self) -> PathBuf {
        self.0.join("challenges")
    }

    /// The hosts of all orders that there are files of.
    pub fn hosts_of_orders(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("orders")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some(name.strip_suffix(".json")?.replacen('_', "*", 1))).collect()
    }
}

/// A wildcard would be one for a shell too. Anything else that is no host name becomes `_`.
fn file_name(text: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '-');
    text.chars().map(|one| if is_plain(one) { one.to_ascii_lowercase() } else { '_' }).collect()
}

/// Replaces a file: what reads it finds the old one or the new one, whole, also after the machine has lost its power.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), AcmeError> {
    replace(path, bytes).map_err(AcmeError::file(path))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    // no other process writes here: it would need the lock
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Replaces a file of JSON.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), AcmeError> {
    let json = serde_json::to_vec_pretty(value).map_err(|error| AcmeError::file(path)(error.into()))?;
    write(path, &json)
}

/// Reads a file of JSON; none where there is no such file, or another version of the program wrote it.
#[must_use]
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) {
    // what stays is of no use to anything, and is written over the next time
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_readable_by_its_owner_alone_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDirectory::at(directory.path());
        state.make().expect("directories");
        let path = state.certificate("*.a.test");
        assert!(path.ends_with("acme/certificates/_.a.test.pem"));
        for text in ["one, which is longer", "two"] {
            write(&path, text.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
        }
        let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a directory"))), (0o600, 0o700));
        write(&state.order("*.a.test"), b"{}").expect("written");
        assert_eq!(state.hosts_of_orders(), ["*.a.test"]);
    }

    #[test]
    fn one_has_the_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDirectory::at(directory.path());
        state.make().expect("directories");
        let first = state.try_lock().expect("a file");
        assert!(first.is_some() && state.try_lock().expect("a file").is_none());
        drop(first);
        assert!(state.try_lock().expect("a file").is_some());
    }

    #[test]
    fn a_host_leads_to_no_other_directory() {
        let state = StateDirectory::at(Path::new("/x"));
        assert_eq!(state.account("https://a.test:14000/dir"), Path::new("/x/acme/accounts/a.test_14000_dir.json"));
        assert_eq!(state.order("../../etc/passwd"), Path::new("/x/acme/orders/.._.._etc_passwd.json"));
    }
}
