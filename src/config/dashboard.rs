//! The formats of `[dashboard]`.

use argon2::password_hash::phc::PasswordHash;
use clap::ValueEnum;

use super::address::{self, HostPattern};
use super::problem::quoted;
use super::schema::{At, ValueFormat};

/// A path of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePath {
    /// The site.
    pub host: HostPattern,
    /// The path, without a `/` at its end.
    pub path: String,
}

impl ValueFormat for SitePath {
    type Value = Self;
    const FORM: &str = "the host of a site and a path, such as \"*/lb\" or \"app.example.com/status\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let text = at.text().unwrap_or_default();
        let Some((host, path)) = text.split_once('/') else { return at.wrong(Self::FORM, None) };
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let is_good = !path.is_empty()
            && path.bytes().all(is_plain)
            && path.split('/').all(|segment| !["", ".", ".."].contains(&segment));
        match address::host_pattern(host) {
            Ok(host) if is_good => Some(Self { host, path: format!("/{path}") }),
            Ok(_) => at.wrong("a path of letters, digits and `-._~`, as in \"*/lb\"", None),
            Err(_) => at.wrong(Self::FORM, None),
        }
    }

    fn show(value: &Self) -> String {
        format!("{}{}", value.host, value.path)
    }
}

/// A user of the page.
#[derive(Clone, PartialEq, Eq)]
pub struct PageUser {
    /// The name.
    pub name: String,
    /// The hash of the password, as a PHC string of Argon2.
    pub hash: String,
}

impl PageUser {
    /// A user as it is written: `NAME:HASH`.
    ///
    /// # Errors
    /// What is wrong with it, without the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((name, hash)) = text.split_once(':') else {
            return Err("it has no `:` between name and hash".to_owned());
        };
        if name.is_empty() || name.chars().any(|one| one.is_control() || one.is_whitespace()) {
            return Err("a name is not empty and has no spaces".to_owned());
        }
        match PasswordHash::new(hash) {
            Ok(parsed) if parsed.algorithm.as_str().starts_with("argon2") && parsed.hash.is_some() => {
                Ok(Self { name: name.to_owned(), hash: hash.to_owned() })
            }
            _ => Err(format!("what {} has is no hash of Argon2", quoted(name))),
        }
    }
}

/// Without the hash: it says how a password can be guessed.
impl std::fmt::Debug for PageUser {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the digest tells two configurations apart
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        self.hash.hash(&mut hasher);
        write!(out, "{}:{:016x}", self.name, hasher.finish())
    }
}

impl ValueFormat for PageUser {
    type Value = Self;
    const FORM: &str = "a name and the hash of a password, as `segue password NAME` makes it";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(text) = at.text() else { return at.wrong(Self::FORM, None) };
        match Self::parse(text) {
            Ok(user) => Some(user),
            // what is written may be a password, so it is not shown
            Err(why) => at.unusable(
                format!("this is no user of the page: {why}"),
                "`segue password NAME` asks for the password and prints what to write here",
            ),
        }
    }

    fn show(value: &Self) -> String {
        format!("{}:…", value.name)
    }
}

/// What users of the page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PageAccess {
    /// See everything.
    Look,
    /// Also set something for servers.
    Change,
}
