//! Reads the configuration with the rights of the user of the service, for root: the service can't use a file that only
//! root may read.
//!
//! For `segue check` and `segue diff`, which report beforehand what a reload would report.

use std::path::Path;
use std::thread;

use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::CONFIG;
use crate::config::load::Sources;
use crate::config::problem::Problem;

/// The sources with the main file `main` and `flags`. The files of the package are read with the rights of the service
/// where that is possible; all others, such as drafts, with those of this process.
///
/// # Errors
/// As [`Sources::read`].
pub fn sources(main: &Path, flags: &[String]) -> Result<Sources, Vec<Problem>> {
    if is_of_a_service(main) { run(|| Sources::read(main, flags)) } else { Sources::read(main, flags) }
}

/// Calls `read` with the rights of the service where this process is root and there is such a user, else with its own.
pub fn run<T: Send>(read: impl FnOnce() -> T + Send) -> T {
    let Some(account) = geteuid().is_root().then(Account::of_the_service).flatten() else { return read() };
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // root without the capability reads with its own rights
            let _ = account.take_on();
            read()
        });
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether the service is installed: it has a user.
pub fn exists() -> bool {
    Account::of_the_service().is_some()
}

/// Whether what this process may not read says nothing about the service: this is another user, and not root.
pub fn is_another() -> bool {
    !geteuid().is_root() && Account::of_the_service().is_some_and(|account| account.user != geteuid().as_raw())
}

/// Whether a unit of the package reads `main`: proxy.service, or proxy@NAME.service.
fn is_of_a_service(main: &Path) -> bool {
    let package = Path::new(CONFIG);
    main == package
        || main.file_name() == package.file_name()
            && main.parent().and_then(Path::parent).is_some_and(|above| Some(above) == package.parent())
}

/// The user of the service, with its groups.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    user: u32,
    group: u32,
    /// Every group that has it as a member.
    groups: Vec<u32>,
}

impl Account {
    fn of_the_service() -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::find(USER, &read("/etc/passwd"), &read("/etc/group"))
    }

    /// Finds `name` in passwd(5) and group(5).
    fn find(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let mut accounts = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let account = accounts.find(|fields| fields.first() == Some(&name))?;
        let groups = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let member = groups.filter(|fields| fields.get(3).is_some_and(|all| all.split(',').any(|one| one == name)));
        Some(Self {
            user: account.get(2)?.parse().ok()?,
            group: account.get(3)?.parse().ok()?,
            groups: member.filter_map(|fields| fields.get(2)?.parse().ok()).collect(),
        })
    }

    /// Gives this thread, and no other, the rights of the account.
    fn take_on(&self) -> rustix::io::Result<()> {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        set_thread_groups(&self.groups.iter().map(|group| Gid::from_raw(*group)).collect::<Vec<_>>())?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)
    }
}

/// `User=` of proxy.service.
const USER: &str = "segue";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_and_its_further_instances_read_files_of_the_package_and_no_others() {
        for (path, is) in [
            (CONFIG, true),
            ("/etc/segue/internal/segue.toml", true),
            ("/etc/segue/draft.toml", false),
            ("/etc/segue/internal/draft.toml", false),
            ("/root/segue.toml", false),
            ("segue.toml", false),
        ] {
            assert_eq!(is_of_a_service(Path::new(path)), is, "{path}");
        }
    }

    #[test]
    fn an_account_has_its_own_group_and_those_it_is_a_member_of() {
        let passwd = "root:x:0:0::/root:/bin/sh\nsegue:x:997:996:Segue:/var/lib/segue:/usr/sbin/nologin\n";
        let group = "segue:x:996:\nssl-cert:x:110:postgres,segue\nadm:x:4:seguesque\n";
        let found = Account::find("segue", passwd, group);
        assert_eq!(found, Some(Account { user: 997, group: 996, groups: vec![110] }));
        assert_eq!(Account::find("seg", passwd, group), None);
    }
}
