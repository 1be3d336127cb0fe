//! `segue import`: the configuration of HAProxy as one of segue.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::password::hash;
use super::{ImportArguments, print};
use crate::import::{ImportOptions, Imported, import};

/// Prints the configuration, and to stderr what became of each line. The exit code is 0 when everything could be said, 1
/// when something could not, and 78 when the file cannot be read or is none.
#[must_use]
pub fn run(arguments: &ImportArguments) -> ExitCode {
    let ImportArguments { file, only } = arguments;
    let (name, read) = match file.to_str() {
        Some("-") => ("standard input".to_owned(), from(io::stdin().lock())),
        _ => (file.display().to_string(), read(file)),
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(fault) => {
            eprintln!("segue: {}", explained(&name, &fault));
            return ExitCode::from(EX_CONFIG);
        }
    };
    let options = ImportOptions { only, variable: &|variable| std::env::var(variable).ok(), hash: &hash };
    match import(&name, &bytes, options) {
        Ok(Imported { toml, report, complete }) => {
            // stderr may be closed; the exit code has the verdict all the same
            let _ = io::stderr().lock().write_all(report.as_bytes());
            match print(&toml) {
                ExitCode::SUCCESS if !complete => ExitCode::from(INCOMPLETE),
                printed => printed,
            }
        }
        Err(fault) => {
            eprintln!("segue: {name}: {fault}");
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    from(File::open(file)?)
}

fn from(source: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 16 MiB, and so no haproxy.cfg"));
    }
    Ok(bytes)
}

/// What to say of a file that cannot be read.
fn explained(name: &str, fault: &io::Error) -> String {
    match fault.kind() {
        io::ErrorKind::NotFound => {
            format!("can't read {name}: there is no such file; that of Debian is /etc/haproxy/haproxy.cfg")
        }
        io::ErrorKind::IsADirectory => {
            format!("can't read {name}: it is a directory; for all its files: `cat {name}/*.cfg | segue import -`")
        }
        io::ErrorKind::PermissionDenied => {
            format!("can't read {name}: this user may not; `sudo cat {name} | segue import -`")
        }
        _ => format!("can't read {name}: {fault}"),
    }
}

/// Something was not supported.
const INCOMPLETE: u8 = 1;
/// `EX_CONFIG` of sysexits.h(3).
const EX_CONFIG: u8 = 78;
/// Far above any file that is written by hand or by a program for it.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_said_with_what_to_do() {
        let said = |path: &str| read(Path::new(path)).map_err(|fault| explained(path, &fault)).expect_err("unreadable");
        assert!(said("/nowhere/haproxy.cfg").contains("no such file"));
        assert!(said("/").contains("cat //*.cfg | segue import -") || said("/").contains("directory"));
        assert!(from(io::repeat(b' ')).is_err());
    }
}
