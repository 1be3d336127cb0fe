//! Comments are in plain technical English: a process, a thread or a connection is no person.

use std::collections::BTreeMap;

use crate::source::sources;

const WORDS: [&str; 7] = ["nobody", "somebody", "whoever", "anybody", "everybody", "who", "whom"];

/// Words that are still to be rewritten, by folder. A number here only ever gets smaller.
const LEFT: [(&str, usize); 4] = [("http1", 7), ("listener", 13), ("proxy", 21), ("upstream", 4)];

#[test]
fn comments_name_things_and_not_people() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for (line, comment) in &source.comments {
            let lower = comment.to_lowercase();
            let words = lower.split(|letter: char| !letter.is_alphanumeric());
            for word in words.filter(|word| WORDS.contains(word)) {
                let folder = source.module.first().map_or("lib", String::as_str);
                let place = format!("{}:{line}: {word}", source.path.display());
                found.entry(folder.to_owned()).or_default().push(place);
            }
        }
    }
    let left: BTreeMap<&str, usize> = LEFT.into();
    found.retain(|folder, places| places.len() > left.get(folder.as_str()).copied().unwrap_or_default());
    assert!(found.is_empty(), "{found:#?}");
}
