//! Which files the `tls` of a site means: those that are there now.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{SecretFile, SiteCertificate};
use crate::tls::{CertificateError, CertificateFiles, CertificateReason};

/// The pairs of files, and what is wrong with a directory that leads to none. A pair that has a fixed place is one of them
/// also when its files are missing.
pub fn pairs(of: &SiteCertificate) -> (Vec<CertificateFiles>, Option<CertificateError>) {
    let several =
        if let SiteCertificate::Several(several) = of { several.as_slice() } else { std::slice::from_ref(of) };
    let (mut all, mut wrong) = (Vec::new(), None);
    for one in several {
        match pairs_of_one(one) {
            Ok(pairs) => all.extend(pairs),
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    (all, wrong)
}

fn pairs_of_one(of: &SiteCertificate) -> Result<Vec<CertificateFiles>, CertificateError> {
    let both = |path: &Path| vec![CertificateFiles { certificate: path.to_owned(), key: path.to_owned() }];
    match of {
        SiteCertificate::Files { certificate, key } => {
            Ok(vec![CertificateFiles { certificate: certificate.clone(), key: key.clone() }])
        }
        SiteCertificate::Path(path) if path.is_file() || is_named_as_file(path) => Ok(both(path)),
        SiteCertificate::Path(path) if is_of_certbot(path) || !path.is_dir() => {
            Ok(vec![CertificateFiles::in_directory(path)])
        }
        SiteCertificate::Path(path) => in_directory(path),
        SiteCertificate::Credential(name) => {
            let path = credentials().join(name);
            // a directory of LoadCredential= comes as one file for each of its own
            let [certificate, key] = ["fullchain.pem", "privkey.pem"].map(|file| with_suffix(&path, "_", file));
            Ok(if certificate.exists() { vec![CertificateFiles { certificate, key }] } else { both(&path) })
        }
        // the store names its file, for which it takes the host
        SiteCertificate::Automatic => Ok(Vec::new()),
        SiteCertificate::Several(several) => {
            let all = several.iter().map(pairs_of_one).collect::<Result<Vec<_>, _>>()?;
            Ok(all.into_iter().flatten().collect())
        }
    }
}

/// What is missing was meant as a file when its name is one.
fn is_named_as_file(path: &Path) -> bool {
    !path.exists()
        && path.extension().is_some_and(|extension| ["pem", "crt", "cer"].iter().any(|one| extension == *one))
}

/// A link that is being replaced counts too.
fn is_of_certbot(directory: &Path) -> bool {
    let is_there = |file: &str| directory.join(file).symlink_metadata().is_ok();
    is_there("fullchain.pem") || is_there("privkey.pem")
}

/// The path of a file with something secret in it.
#[must_use]
pub fn secret_path(file: &SecretFile) -> PathBuf {
    match file {
        SecretFile::Path(path) => path.clone(),
        SecretFile::Credential(name) => credentials().join(name),
    }
}

/// Where systemd puts credentials: what it says itself, else the place for `proxy.service`, for `segue check`.
fn credentials() -> PathBuf {
    std::env::var_os("CREDENTIALS_DIRECTORY").map_or_else(|| "/run/credentials/proxy.service".into(), PathBuf::from)
}

/// Every pair of a directory: `NAME.pem` (or `.crt`, `.cer`) beside `NAME.key` or `NAME-key.pem`, `cert.pem` beside
/// `key.pem`, `NAME.pem` with the key in it, and directories as certbot makes them.
fn in_directory(directory: &Path) -> Result<Vec<CertificateFiles>, CertificateError> {
    let unreadable =
        |error| CertificateError { file: directory.to_owned(), reason: CertificateReason::Unreadable(error) };
    let entries = std::fs::read_dir(directory).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<BTreeSet<_>>>();
    let paths = paths.map_err(unreadable)?;
    let found: Vec<_> = paths.iter().filter_map(|path| pair(path, &paths)).collect();
    if found.is_empty() {
        return Err(CertificateError { file: directory.to_owned(), reason: CertificateReason::NoneInDirectory });
    }
    Ok(found)
}

fn pair(path: &Path, all: &BTreeSet<PathBuf>) -> Option<CertificateFiles> {
    let name = path.file_stem()?.to_str()?;
    if name.starts_with('.') {
        return None;
    }
    let extension = path.extension().and_then(OsStr::to_str);
    if !matches!(extension, Some("pem" | "crt" | "cer")) {
        return (path.is_dir() && is_of_certbot(path)).then(|| CertificateFiles::in_directory(path));
    }
    if name == "key" || name.ends_with("-key") {
        return None; // the other half of a pair
    }
    let beside = |name: String| Some(path.with_file_name(name)).filter(|path| all.contains(path));
    let key = beside(format!("{name}.key"))
        .or_else(|| beside(format!("{name}-key.pem")))
        .or_else(|| if name == "cert" { beside("key.pem".to_owned()) } else { None });
    let key = key.or_else(|| (extension == Some("pem")).then(|| path.to_owned()))?;
    Some(CertificateFiles { certificate: path.to_owned(), key })
}

fn with_suffix(path: &Path, between: &str, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(between);
    name.push(suffix);
    name.into()
}

/// What changes when a file is written, replaced, or gets other rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Of the file that `path` leads to; none where it leads to none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        let (modified, changed) = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
        Some(Self { device: about.dev(), inode: about.ino(), size: about.size(), modified, changed })
    }

    /// Whether another write would show in the stamp: the clock of a file system is a coarse one.
    #[must_use]
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let changed = Duration::from_secs(self.changed.0.try_into().unwrap_or_default());
        let age = now.duration_since(SystemTime::UNIX_EPOCH + changed);
        age.is_ok_and(|age| age > Duration::from_secs(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &SiteCertificate, directory: &Path) -> Vec<(String, String)> {
        let short = |path: &Path| path.strip_prefix(directory).expect("inside").display().to_string();
        pairs(of).0.iter().map(|pair| (short(&pair.certificate), short(&pair.key))).collect()
    }

    #[test]
    fn a_directory_of_many_certificates_has_every_pair_that_people_name_in_one_of_the_usual_ways() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path();
        for name in
            ["a.pem", "b.crt", "b.key", "c.pem", "c-key.pem", "cert.pem", "key.pem", "d.crt", ".e.pem", "README"]
        {
            std::fs::write(path.join(name), "").expect("file");
        }
        std::fs::create_dir(path.join("live")).expect("directory");
        std::os::unix::fs::symlink("../archive/1.pem", path.join("live/fullchain.pem")).expect("link");
        std::fs::create_dir(path.join("old")).expect("directory");
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let found = names(&SiteCertificate::Path(path.to_owned()), path);
        let live = pair("live/fullchain.pem", "live/privkey.pem");
        let own =
            [pair("a.pem", "a.pem"), pair("b.crt", "b.key"), pair("c.pem", "c-key.pem"), pair("cert.pem", "key.pem")];
        assert_eq!(found, [&own[..], std::slice::from_ref(&live)].concat());
        assert_eq!(names(&SiteCertificate::Path(path.join("live")), path), [live]);
        assert_eq!(names(&SiteCertificate::Path(path.join("a.pem")), path), [pair("a.pem", "a.pem")]);
        assert_eq!(names(&SiteCertificate::Path(path.join("x.pem")), path), [pair("x.pem", "x.pem")]);
        let missing = names(&SiteCertificate::Path(path.join("gone")), path);
        assert_eq!(missing, [pair("gone/fullchain.pem", "gone/privkey.pem")]);
        let (some, empty) =
            pairs(&SiteCertificate::Several(["live", "old"].map(|name| SiteCertificate::Path(path.join(name))).into()));
        assert_eq!(some.len(), 1);
        assert!(empty.is_some_and(|empty| matches!(empty.reason, CertificateReason::NoneInDirectory)));
    }
}
