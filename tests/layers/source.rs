//! The source files of the crate, in the parts that the rules are about.

use std::path::{Path, PathBuf};

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One file of `src`.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The path of its module below the crate; `main` is no parent of the others.
    pub(crate) module: Vec<String>,
    /// Whether it is compiled for tests alone.
    pub(crate) is_test: bool,
    /// The file without comments, strings and unit tests.
    pub(crate) code: String,
    /// Its comments, each line with its number; those of unit tests too.
    pub(crate) comments: Vec<(usize, String)>,
}

/// Every file of `src`, in the order of their paths.
pub(crate) fn sources() -> Vec<Source> {
    let root = Path::new(ROOT).join("src");
    let mut paths = files(&root);
    paths.sort();
    let read = |path: PathBuf| {
        let inside = path.strip_prefix(&root).expect("below src").with_extension("");
        let names = inside.iter().map(|name| name.to_str().expect("a name in UTF-8").to_owned());
        let module: Vec<String> = names.filter(|name| name != "mod" && name != "lib").collect();
        let text = std::fs::read_to_string(&path).expect("a source file");
        let (code, comments) = split(&text);
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        Source { is_test: module.iter().any(|name| name == "tests"), path, module, code, comments }
    };
    paths.into_iter().map(read).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let paths = paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Code with empty strings and without comments; and the lines of comments with their numbers.
fn split(text: &str) -> (String, Vec<(usize, String)>) {
    let mut code = String::new();
    let mut comments = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            comments.push((line, rest[..length].to_owned()));
            length
        } else if let Some(length) = literal(rest) {
            code.push_str("\"\"");
            length
        } else {
            code.push(first);
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    (code, comments)
}

/// The length of the string or character at the beginning of `text`, if there is one.
fn literal(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|hashes| text[1 + hashes..].starts_with('"')) {
        let end = format!("\"{}", "#".repeat(hashes));
        let begin = hashes + 2;
        return text[begin..].find(&end).map(|at| begin + at + end.len());
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    let mut letters = text.strip_prefix('\'')?.chars();
    let (first, second) = (letters.next()?, letters.next()?);
    // anything else is a lifetime
    if first == '\\' || second == '\'' { quoted(text, '\'') } else { None }
}

fn quoted(text: &str, end: char) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == end {
            return Some(at + 1);
        }
    }
    None
}

#[test]
fn comments_and_code_are_told_apart() {
    let text =
        "let url = \"http://x\"; // one\nlet quote = '\"'; // two\nlet raw = r#\"\"//\"#; fn f<'a>() {} // three\n";
    let (code, comments) = split(text);
    assert_eq!(code, "let url = \"\"; \nlet quote = \"\"; \nlet raw = \"\"; fn f<'a>() {} \n");
    assert_eq!(comments, [(1, "// one".to_owned()), (2, "// two".to_owned()), (3, "// three".to_owned())]);
}
