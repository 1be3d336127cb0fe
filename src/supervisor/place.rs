//! The identity of a unix socket in the file system. The path alone does not tell: another process may have bound
//! another socket there.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file at a path, by its device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFile {
    device: u64,
    inode: u64,
    is_socket: bool,
}

impl SocketFile {
    /// What is at `path`, also when it is a symbolic link; none when there is nothing.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let about = std::fs::symlink_metadata(path).ok()?;
        Some(Self { device: about.dev(), inode: about.ino(), is_socket: about.file_type().is_socket() })
    }

    /// Removes it, if it is still what is at `path`.
    ///
    /// # Errors
    /// When it cannot be removed, and when it is no socket: then it is not ours.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.is_socket {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
        }
        if Self::of(path).as_ref() == Some(self) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}
