//! What becomes of each keyword: the lines of `keywords.txt`.

use std::sync::LazyLock;

use super::report::Fate;
use crate::config::closest;

/// A keyword of HAProxy.
#[derive(Debug)]
pub struct Keyword {
    place: &'static str,
    name: &'static str,
    /// How many further words belong to it.
    pub arguments: usize,
    /// What becomes of it.
    pub fate: Fate,
    /// Whether it decides what clients may have.
    pub guards: bool,
    /// What to say of it.
    pub sentence: &'static str,
}

/// The keyword that `words` begin with, the longest one that there is.
#[must_use]
pub fn keyword(place: &str, words: &[String]) -> Option<&'static Keyword> {
    let of_place = || KEYWORDS.iter().filter(|keyword| keyword.place == place);
    (1..=words.len().min(3)).rev().find_map(|count| {
        let line = words[..count].join(" ");
        let starts = of_place().filter(|keyword| keyword.begins(&line)).max_by_key(|keyword| keyword.name.len());
        of_place().find(|keyword| keyword.name == line).or(starts)
    })
}

/// The keyword that is spelled most like what `words` begin with.
#[must_use]
pub fn likely(place: &str, words: &[String]) -> Option<&'static Keyword> {
    let names = || KEYWORDS.iter().filter(|keyword| keyword.place == place);
    (1..=words.len().min(2)).rev().find_map(|count| {
        let line = words[..count].join(" ");
        // a comparison takes the product of both lengths, and no keyword has more
        if line.len() > 64 {
            return None;
        }
        let close = closest(&line, names().map(|keyword| keyword.name))?;
        names().find(|keyword| keyword.name == close)
    })
}

impl Keyword {
    /// Its name in haproxy.cfg.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it stands for all that begin so, and `line` does, with as many words.
    fn begins(&self, line: &str) -> bool {
        let words = |text: &str| text.split(' ').count();
        self.name.strip_suffix('*').is_some_and(|start| line.starts_with(start) && words(line) == words(self.name))
    }
}

static KEYWORDS: LazyLock<Vec<Keyword>> = LazyLock::new(|| {
    let lines = include_str!("keywords.txt").lines().filter(|line| !line.starts_with('#'));
    let parts = lines.filter_map(|line| {
        let mut parts = line.splitn(4, " | ");
        let (place, names, fate, sentence) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(names.split(", ").map(move |name| {
            let (name, arguments) = name.rsplit_once('/').unwrap_or((name, "0"));
            let arguments = arguments.parse().expect("keywords.txt has a number behind the slash");
            Keyword { place, name, arguments, fate: named(fate), guards: fate == "guard", sentence }
        }))
    });
    parts.flatten().collect()
});

fn named(fate: &str) -> Fate {
    match fate {
        "kept" => Fate::Kept,
        "default" => Fate::Default,
        "unit" => Fate::Unit,
        "differently" => Fate::Differently,
        "unsupported" | "guard" => Fate::Unsupported,
        other => panic!("{other} is no fate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &str, line: &str) -> Option<&'static str> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        keyword(place, &words).map(|keyword| keyword.name)
    }

    #[test]
    fn the_longest_keyword_counts() {
        assert_eq!(found("proxy", "timeout connect 5s"), Some("timeout connect"));
        assert_eq!(found("proxy", "http-request set-var(txn.a) str(b)"), Some("http-request set-var*"));
        assert_eq!(found("proxy", "tcp-request content accept if A"), Some("tcp-request content accept"));
        assert_eq!(found("global", "tune.ssl.default-dh-param 2048"), Some("tune.ssl.default-dh-param"));
        assert_eq!(found("proxy", "option forwardfore"), None);
        let words = ["blance".to_owned(), "roundrobin".to_owned()];
        assert_eq!(likely("proxy", &words).map(Keyword::name), Some("balance"));
        let long = ["balance".to_owned(), "b".repeat(1 << 20)];
        assert_eq!(likely("proxy", &long[..1]).map(Keyword::name), Some("balance"));
        assert_eq!(likely("proxy", &long[1..]).map(Keyword::name), None);
    }

    #[test]
    fn each_keyword_stands_in_one_line() {
        let mut seen = std::collections::BTreeSet::new();
        for keyword in KEYWORDS.iter() {
            assert!(seen.insert((keyword.place, keyword.name)), "{} {}", keyword.place, keyword.name);
            assert!(keyword.name.len() <= 64, "{}", keyword.name);
            assert!(!keyword.sentence.is_empty() && !keyword.sentence.ends_with('.'), "{}", keyword.name);
        }
        assert!(seen.len() > 400, "{}", seen.len());
    }
}
