//! segue.toml(5), in roff, from the declarations of the tables.

use std::fmt::Write as _;

use super::schema::{Fallback, Key, Keys as _, Schema};
use super::servers::ServerSettings;
use super::tables::{TABLES, variables};

/// The manual page, for `man`: macros of man(7).
#[must_use]
pub fn segue_toml_5() -> String {
    let mut page = String::from(include_str!("manual/introduction.5"));
    for schemas in sections() {
        // Quotes delimit the arguments of a request.
        let _ = writeln!(page, ".SH {}", escape(schemas[0].header).replace('"', "\\(dq"));
        paragraphs(&mut page, schemas[0].about);
        schemas.iter().flat_map(|schema| schema.keys).for_each(|key| entry(&mut page, key));
    }
    page.push_str(include_str!("manual/environment.5"));
    for (variable, path, _) in variables() {
        let _ = write!(page, ".TP\n.B {}\n{}\n", escape(variable), escape(&format!("sets `{path}`")));
    }
    page.push_str(include_str!("manual/command-line.5"));
    page.push_str(include_str!("manual/sockets.5"));
    page.push_str(include_str!("manual/fields.5"));
    page.push_str(include_str!("manual/see-also.5"));
    page
}

/// The tables under each heading, which is the header of the first one. The keys of a pool stand under `[pool.NAME]` only.
fn sections() -> Vec<Vec<&'static Schema>> {
    let own =
        |schemas: &[&'static Schema]| schemas.iter().copied().filter(|one| one.header == schemas[0].header).collect();
    let mut sections: Vec<Vec<_>> = TABLES.iter().map(|(_, schemas)| own(schemas)).collect();
    sections.insert(2, vec![&ServerSettings::SCHEMA]);
    sections
}

fn entry(page: &mut String, key: &Key) {
    let _ = writeln!(page, ".TP\n.B {}", escape(key.name));
    paragraphs(page, key.about);
    let _ = writeln!(page, ".br\n{}", escape(&format!("Must be {}.", (key.format)())));
    let fallback = match key.fallback {
        Fallback::Default(value) => format!("Default: `{value}`."),
        Fallback::Unset(instead) => format!("When it is not set: {instead}."),
        Fallback::Required(_) => "Must be given.".to_owned(),
    };
    let _ = writeln!(page, ".br\n{}", escape(&fallback));
}

/// The lines of a doc-comment; an empty one begins a new paragraph.
fn paragraphs(page: &mut String, about: &[&str]) {
    for line in about.iter().map(|line| line.trim()) {
        if line.is_empty() {
            page.push_str(".PP\n");
        } else {
            let _ = writeln!(page, "{}", escape(line));
        }
    }
}

/// Text for roff: escapes and requests are quoted, and text between backquotes is bold.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for character in text.chars() {
        match character {
            '`' => {
                out.push_str(if code { "\\fR" } else { "\\fB" });
                code = !code;
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '…' => out.push_str("\\&..."),
            _ => out.push(character),
        }
    }
    if code {
        out.push_str("\\fR");
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_table_is_documented() {
        let page = segue_toml_5();
        for table in sections().into_iter().flatten() {
            assert!(!table.about.is_empty(), "{}", table.header);
            for key in table.keys {
                assert!(!key.about.is_empty(), "{}.{}", table.header, key.name);
                assert!(page.contains(&format!(".TP\n.B {}\n", escape(key.name))), "{}.{}", table.header, key.name);
            }
        }
    }

    #[test]
    fn text_is_safe_for_roff() {
        assert_eq!(escape("a `b-c` \\ d"), "a \\fBb\\-c\\fR \\e d");
        assert_eq!(escape(".so x"), "\\&.so x");
    }
}
