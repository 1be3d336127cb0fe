//! Every configuration that stands in a document, whole as it stands there, is a good one.

use std::fs;
use std::path::{Path, PathBuf};

use segue::config::load::Sources;
use segue::config::manual::segue_toml_5;

#[test]
fn every_example_in_a_document_is_good() {
    let mut examples = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let name = document.display().to_string();
        let blocks: Vec<_> = match document.extension().and_then(|extension| extension.to_str()) {
            Some("md") => fenced(&text),
            Some("txt") => vec![indented(&text)],
            Some("toml") => vec![
                text.lines()
                    .map(|line| line.strip_prefix('#').unwrap_or(line))
                    .filter(is_code)
                    .collect::<Vec<_>>()
                    .join("\n"),
            ],
            _ => in_roff(&text),
        };
        examples.extend(blocks.into_iter().map(|block| (name.clone(), block)));
    }
    let manual = in_roff(&segue_toml_5());
    assert!(manual.len() >= 2, "{} examples in segue.toml(5)", manual.len());
    examples.extend(manual.into_iter().map(|block| ("segue.toml(5)".to_owned(), block)));
    assert!(examples.iter().any(|(name, _)| name == "README.md"));
    for (name, block) in examples {
        let checked = Sources::from_text(&block).check();
        assert!(checked.config.is_some() && checked.problems.is_empty(), "{name}: {:#?}\n{block}", checked.problems);
    }
}

/// Everything that people read.
fn documents() -> Vec<PathBuf> {
    let mut found = vec!["README.md".into(), "packaging/welcome.txt".into(), "packaging/segue.toml".into()];
    let mut directories = vec![PathBuf::from("docs"), PathBuf::from("packaging/man")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("entry").path()) {
            match entry.is_dir() {
                true => directories.push(entry),
                false => found.push(entry),
            }
        }
    }
    let is_document = |path: &Path| {
        path.extension().is_some_and(|is| ["md", "txt", "toml", "1", "5", "7"].iter().any(|one| is == *one))
    };
    found.retain(|path: &PathBuf| is_document(path));
    found
}

/// The blocks of Markdown that say that they are TOML.
fn fenced(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix("toml\n")).map(str::to_owned).collect()
}

/// What stands four columns in, up to the commands.
fn indented(text: &str) -> String {
    let lines = text.lines().filter(|line| line.is_empty() || line.starts_with("    "));
    lines.take_while(|line| !line.trim().starts_with("segue ")).map(|line| format!("{}\n", line.trim())).collect()
}

/// A line of the commented example that is code when its first character is taken away.
fn is_code(line: &&str) -> bool {
    !line.starts_with(' ') && !line.trim().is_empty()
}

/// The displays of a manual page that have a table of the configuration first.
fn in_roff(page: &str) -> Vec<String> {
    let blocks = page.split(".nf\n").skip(1).filter_map(|rest| rest.split("\n.fi").next());
    let text = blocks.map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with(".RS") && !line.starts_with(".RE"));
        lines.collect::<Vec<_>>().join("\n").replace("\\-", "-").replace("\\e", "\\").replace("\\&", "") + "\n"
    });
    let tables = ["site", "pool", "tcp", "listen", "tls", "log", "drain", "worker"];
    let is_ours = |text: &String| {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        first
            .and_then(|line| line.strip_prefix('['))
            .is_some_and(|rest| tables.iter().any(|table| rest.starts_with(table)))
    };
    text.filter(is_ours).collect()
}
