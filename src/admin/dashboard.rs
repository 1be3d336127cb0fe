//! The status page on a path of a site: the proxy sends its requests here as to any server, over a socket of its own.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use memchr::memmem;

use super::head::field;
use super::login::{Login, Logins};
use super::peer::AccessLevel;
use crate::config::{DashboardSettings, PageAccess, PageUser, SecretFile};

/// The page of a generation.
#[derive(Clone, Debug)]
pub(super) struct Dashboard {
    /// The path, without a `/` at its end.
    pub(super) path: String,
    /// What its users may do.
    pub(super) access: AccessLevel,
    logins: Logins,
    file: Option<Rc<UsersFile>>,
}

/// The file of users, which is read again when it has changed: a user that is taken out of it is out at once.
#[derive(Debug)]
struct UsersFile {
    path: PathBuf,
    /// The users of the configuration itself.
    others: Vec<PageUser>,
    seen: Cell<Option<FileVersion>>,
}

/// Modified, size, inode: another content has another one.
type FileVersion = (SystemTime, u64, u64);

/// A request that came by the page.
#[derive(Clone, Debug)]
pub(super) struct PageRequest {
    /// The client, as the proxy names it.
    pub(super) client: String,
    /// What came of its login.
    pub(super) login: Login,
}

impl Dashboard {
    /// That of these settings, with what is wrong with the file of its users; none where there is no page. `place` finds the
    /// file.
    pub(super) fn new(
        settings: &DashboardSettings,
        place: impl Fn(&SecretFile) -> PathBuf,
    ) -> Option<(Self, Vec<String>)> {
        let path = settings.on.as_ref()?.path.clone();
        let access = match settings.allow {
            PageAccess::Look => AccessLevel::Look,
            PageAccess::Change => AccessLevel::Change,
        };
        let logins = Logins::new(settings.users.clone());
        let others = settings.users.clone();
        let file =
            settings.users_file.as_ref().map(|file| UsersFile { path: place(file), others, seen: Cell::new(None) });
        let dashboard = Self { path, access, logins, file: file.map(Rc::new) };
        let problems = dashboard.look_at_file();
        Some((dashboard, problems))
    }

    /// Takes the users of the file, if that has changed. One that cannot be read has none.
    fn look_at_file(&self) -> Vec<String> {
        let Some(file) = &self.file else { return Vec::new() };
        let version = std::fs::metadata(&file.path)
            .ok()
            .and_then(|about| Some((about.modified().ok()?, about.size(), about.ino())));
        if version.is_some() && version == file.seen.get() {
            return Vec::new();
        }
        file.seen.set(version);
        let (mut users, mut problems) = (file.others.clone(), Vec::new());
        match std::fs::read_to_string(&file.path) {
            Ok(text) => {
                read(&text, &mut users, |line, why| problems.push(format!("{}:{line}: {why}", file.path.display())))
            }
            Err(fault) => problems.push(format!("{}: {fault}", file.path.display())),
        }
        self.logins.set_users(users);
        problems
    }

    /// Looks at the login of a request by its head, which the proxy wrote.
    pub(super) async fn look_at(&self, head: &[u8]) -> PageRequest {
        self.look_at_file();
        let end = memmem::find(head, b"\r\n\r\n");
        let Some(head) = end.map(|end| &head[..end]) else {
            return PageRequest { client: String::new(), login: Login::Missing };
        };
        let client = field(head, "segue-client").unwrap_or_default().to_owned();
        let login = self.logins.check(field(head, "authorization"), &client).await;
        PageRequest { client, login }
    }

    /// Whether a login that was right is so still: by its name and its mark, see [`Logins::mark`].
    pub(super) fn knows(&self, user: &str, mark: u64) -> bool {
        self.look_at_file();
        self.logins.mark(user) == Some(mark)
    }

    /// What tells the password of a user from another one of the same user; none for an unknown user.
    pub(super) fn mark(&self, user: &str) -> Option<u64> {
        self.logins.mark(user)
    }

    /// What is below the path of the page, from its `/` on; empty for the page without it. None for what is not of the page.
    pub(super) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.path.as_str())
    }
}

/// The users of a file, one a line; `#` begins a comment.
fn read(text: &str, users: &mut Vec<PageUser>, mut problem: impl FnMut(usize, String)) {
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match PageUser::parse(line) {
            Ok(user) => users.push(user),
            Err(why) => problem(number + 1, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_file_stand_one_a_line_and_a_bad_line_costs_only_itself() {
        let (mut users, mut problems) = (Vec::new(), Vec::new());
        let hash = "$argon2id$v=19$m=8,t=1,p=1$c2VndWUtbm8tc3VjaC11c2Vy$DKZgmMi5vRG4bXvMVrKnRLjxlk9BE+RTFSB4MSCDIaA";
        read(&format!("# users\n\nanna:{hash}\nbroken\nbert:secret\n"), &mut users, |line, why| {
            problems.push((line, why))
        });
        assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["anna"]);
        assert_eq!(problems.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5]);
        assert!(!format!("{problems:?}").contains("secret"), "{problems:?}");
    }
}
