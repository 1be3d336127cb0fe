//! The status page on a path of a site: the proxy sends its requests here as to any server, over a socket of its own.

use std::path::PathBuf;

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
}

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
        let (mut users, mut problems) = (settings.users.clone(), Vec::new());
        if let Some(file) = &settings.users_file {
            let file = place(file);
            match std::fs::read_to_string(&file) {
                Ok(text) => read(&text, &mut users, |line, why| {
                    problems.push(format!("{}:{line}: {why}", file.display()));
                }),
                Err(fault) => problems.push(format!("{}: {fault}", file.display())),
            }
        }
        let access = match settings.allow {
            PageAccess::Look => AccessLevel::Look,
            PageAccess::Change => AccessLevel::Change,
        };
        Some((Self { path, access, logins: Logins::new(users) }, problems))
    }

    /// Looks at the login of a request by its head.
    pub(super) async fn look_at(&self, head: &[u8]) -> PageRequest {
        let client = field(head, "x-forwarded-for").and_then(|list| list.split(',').next()).unwrap_or_default();
        let client = client.trim().chars().take(64).collect::<String>();
        let login = self.logins.check(field(head, "authorization"), &client).await;
        PageRequest { client, login }
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

/// The first field of this name of a head that the proxy wrote.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut fields = lines.skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
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

    #[test]
    fn fields_are_found_in_any_case_of_letters() {
        let head = b"GET /lb/ HTTP/1.1\r\nHost: a\r\nauthorization: Basic eDp5\r\nX-Forwarded-For: 10.0.0.1, b\r\n\r\n";
        assert_eq!(field(head, "authorization"), Some("Basic eDp5"));
        assert_eq!(field(head, "x-forwarded-for"), Some("10.0.0.1, b"));
        assert_eq!(field(head, "cookie"), None);
    }
}
