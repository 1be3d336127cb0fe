//! Comments are in plain technical English: a process, a thread or a connection is no person.

use std::path::Path;

use crate::source::{ROOT, sources};

const WORDS: [&str; 7] = ["nobody", "somebody", "whoever", "anybody", "everybody", "who", "whom"];

#[test]
fn comments_name_things_and_not_people() {
    let mut found = Vec::new();
    for source in sources() {
        for (line, comment) in &source.comments {
            let place = |word| format!("{}:{line}: {word}", source.path.display());
            found.extend(people(comment).into_iter().map(place));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn documents_for_developers_do_too() {
    let mut found = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(Path::new(ROOT).join(&document)).expect("a document");
        for (at, line) in text.lines().enumerate() {
            found.extend(people(line).into_iter().map(|word| format!("{document}:{}: {word}", at + 1)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn documents() -> Vec<String> {
    let mut documents = vec!["ARCHITECTURE.md".to_owned(), "docs/journal.md".to_owned()];
    let decisions = std::fs::read_dir(Path::new(ROOT).join("docs/decisions")).expect("a folder");
    let names = decisions.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    documents.extend(names.map(|name| format!("docs/decisions/{name}")));
    documents
}

fn people(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| WORDS.contains(word)).map(str::to_owned).collect()
}
