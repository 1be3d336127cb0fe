//! The socket units of the service, as far as they can be seen in the directories of systemd: for `segue check`, which
//! asks no running systemd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::load::Units;

/// The socket units for `proxy.service` that are installed and not masked, by the names of their sockets.
#[must_use]
pub fn of_the_service() -> Units {
    find(&DIRECTORIES.map(PathBuf::from))
}

/// Where units are: what comes first hides what comes later (systemd.unit(5)).
const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

const SERVICE: &str = "proxy.service";

fn find(directories: &[PathBuf]) -> Units {
    directories.iter().any(|directory| directory.join(SERVICE).exists()).then(|| {
        let mut seen: BTreeMap<String, Option<String>> = BTreeMap::new();
        for directory in directories {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let unit = entry.file_name().to_string_lossy().into_owned();
                if unit.ends_with(".socket") {
                    seen.entry(unit.clone()).or_insert_with(|| socket_of(&unit, directories));
                }
            }
        }
        seen.into_iter().filter_map(|(unit, socket)| Some((socket?, unit))).collect()
    })
}

/// The name of the socket of `unit`, if it is one for the service.
fn socket_of(unit: &str, directories: &[PathBuf]) -> Option<String> {
    let main = directories.iter().map(|directory| directory.join(unit)).find(|path| path.exists())?;
    let mut text = std::fs::read_to_string(main).ok()?;
    if text.is_empty() {
        return None; // masked: a link to /dev/null
    }
    directories.iter().rev().for_each(|directory| text += &drop_ins(&directory.join(format!("{unit}.d"))));
    let last = |key: &str| {
        let values = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
        values.map(str::trim).rfind(|value| !value.is_empty())
    };
    let service = last("Service").map_or_else(|| unit.replace(".socket", ".service"), str::to_owned);
    (service == SERVICE).then(|| last("FileDescriptorName").unwrap_or(unit).to_owned())
}

fn drop_ins(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|is| is == "conf")).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_service_are_found_with_what_hides_and_changes_them() {
        let directory = tempfile::tempdir().expect("directory");
        let (etc, usr) = (directory.path().join("etc"), directory.path().join("usr"));
        let write = |path: PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(path, text).expect("write");
        };
        let directories = [etc.clone(), usr.clone()];
        assert_eq!(find(&directories), None);
        write(usr.join("proxy.service"), "[Service]\n");
        write(usr.join("proxy-http.socket"), "[Socket]\nFileDescriptorName=http\nService=proxy.service\n");
        write(usr.join("proxy-https.socket"), "[Socket]\nFileDescriptorName=https\nService=proxy.service\n");
        write(usr.join("ssh.socket"), "[Socket]\nListenStream=22\n");
        write(etc.join("web.socket"), "[Socket]\nListenStream=8080\nService = proxy.service\n");
        write(etc.join("web.socket.d/name.conf"), "[Socket]\nFileDescriptorName=web\n");
        write(etc.join("plain.socket"), "[Socket]\nListenStream=8081\nService=proxy.service\n");
        std::os::unix::fs::symlink("/dev/null", etc.join("proxy-https.socket")).expect("mask");
        let names: Vec<_> = find(&directories).expect("installed").into_iter().collect();
        let pairs = [("http", "proxy-http.socket"), ("plain.socket", "plain.socket"), ("web", "web.socket")];
        assert_eq!(names, pairs.map(|(socket, unit)| (socket.to_owned(), unit.to_owned())));
    }
}
