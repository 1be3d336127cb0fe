//! The status page as its files are: small, from one place, and with nothing that a strict content security policy
//! refuses. What it shows is in `tests/browser`.

use std::fs;
use std::path::{Path, PathBuf};

/// What all of it may have.
const MOST_BYTES: u64 = 150_000;
/// Words that make a person of a thing.
const PEOPLE: [&str; 5] = ["nobody", "somebody", "whoever", "who", "whom"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn page() -> PathBuf {
    root().join("src/admin/page")
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(page()).expect("the folder of the page");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect();
    names.sort();
    names
}

fn text(name: &str) -> String {
    fs::read_to_string(page().join(name)).expect("a file of the page")
}

/// The files that are written here.
fn own() -> Vec<(String, String)> {
    let names = names().into_iter().filter(|name| !name.starts_with("uPlot"));
    names.map(|name| (name.clone(), text(&name))).collect()
}

/// What stands between `before` and `after`, each time.
fn between<'a>(text: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

#[test]
fn the_page_is_below_150_kb() {
    let sizes = names().into_iter().map(|name| fs::metadata(page().join(name)).expect("a file").len());
    let size: u64 = sizes.sum();
    assert!(size < MOST_BYTES, "{size} bytes");
}

#[test]
fn whatever_the_page_loads_is_a_file_beside_it() {
    let names = names();
    let html = text("index.html");
    let links = between(&html, "src=\"", '"').chain(between(&html, "href=\"", '"'));
    for link in links.filter(|link| !link.starts_with('#') && !link.starts_with("data:")) {
        assert!(names.iter().any(|name| name == link), "index.html names {link}");
    }
    for (name, text) in own() {
        let imports = between(&text, "from \"./", '"');
        imports.for_each(|import| assert!(names.iter().any(|name| name == import), "{name} imports {import}"));
        let without_names = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!without_names.contains("://"), "{name} names another place");
        assert!(!name.ends_with(".css") || !text.contains("url("), "{name} loads a file");
    }
}

#[test]
fn nothing_in_the_page_is_inline() {
    let html = text("index.html");
    for tag in between(&html, "<", '>') {
        let inline = tag.split_whitespace().skip(1).any(|word| word.starts_with("on") || word.starts_with("style="));
        assert!(!inline && !tag.starts_with("style"), "<{tag}>");
        assert!(!tag.starts_with("script") || tag.contains("src="), "<{tag}>");
    }
}

#[test]
fn text_from_outside_never_becomes_markup() {
    for (name, text) in own() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
            assert!(!text.contains(way), "{name} has {way}");
        }
    }
}

#[test]
fn every_file_is_used_and_none_is_above_600_lines() {
    let all: String = own().into_iter().map(|(_, text)| text).collect();
    for name in names() {
        assert!(name == "index.html" || all.contains(&format!("{name}\"")), "nothing loads {name}");
    }
    for (name, text) in own().into_iter().filter(|(name, _)| name != "index.html") {
        assert!(text.lines().count() <= 600, "{name} is long");
        assert!(text.starts_with("// ") || text.starts_with("/* "), "{name} does not say what it is");
    }
}

#[test]
fn scripts_name_things_and_not_people() {
    for (name, text) in own() {
        for word in text.to_lowercase().split(|letter: char| !letter.is_alphanumeric()) {
            assert!(!PEOPLE.contains(&word), "{name}: {word}");
        }
    }
}

#[test]
fn the_source_of_what_is_minified_is_of_the_same_version() {
    let version = |text: &str| between(text, "(v", ')').next().map(str::to_owned);
    let source = fs::read_to_string(root().join("debian/missing-sources/uPlot.iife.js")).expect("the source of uPlot");
    let head: String = source.lines().take(20).collect();
    assert_eq!(version(&head), version(&text("uPlot.iife.min.js")[..200]));
    let named = fs::read_to_string(root().join("debian/copyright")).expect("debian/copyright");
    let version = version(&text("uPlot.iife.min.js")[..200]).expect("a version");
    assert!(named.contains(&format!("uPlot {version}")), "debian/copyright names another version than {version}");
}
