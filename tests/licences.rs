//! Holds `debian/copyright` to the crates that the program is linked from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// By crate, the licence that `debian/copyright` says it is taken under.
fn written() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/copyright");
    let text = fs::read_to_string(path).expect("debian/copyright");
    let mut written = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let licence = stanza.lines().find_map(|line| line.strip_prefix("License: ")).unwrap_or_default();
        for word in stanza.split_whitespace() {
            if let Some(name) = word.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/*")) {
                written.insert(name.to_owned(), licence.to_owned());
            }
        }
    }
    written
}

/// By crate that is linked in, the licences that it offers.
fn linked() -> BTreeMap<String, String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}|{l}"])
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("text");
    let crates = tree.lines().filter_map(|line| {
        let (package, offered) = line.trim_end_matches(" (*)").split_once('|')?;
        Some((package.split(' ').next()?.to_owned(), offered.to_owned()))
    });
    crates.filter(|(name, _)| name != env!("CARGO_PKG_NAME")).collect()
}

#[test]
fn debian_copyright_covers_each_crate_that_is_linked_in_and_no_other() {
    let (written, linked) = (written(), linked());
    assert!(linked.len() > 20, "cargo tree names only {linked:?}");
    let covered: BTreeSet<&String> = written.keys().filter(|name| !name.ends_with("/c_src")).collect();
    assert_eq!(covered, linked.keys().collect(), "run packaging/licences");
}

#[test]
fn debian_copyright_takes_a_licence_that_each_part_of_the_crate_offers() {
    let written = written();
    for (name, offered) in linked() {
        let Some(taken) = written.get(&name) else { continue };
        let taken: Vec<&str> = taken.split(" and ").map(|one| if one == "Expat" { "MIT" } else { one }).collect();
        for part in offered.split(" AND ") {
            let or = part.trim_matches(['(', ')']).replace(" / ", " OR "); // an older way to write it
            let covered = or.split(" OR ").any(|one| taken.contains(&one));
            assert!(covered, "{name} is {part}, taken as {taken:?}");
        }
    }
}
