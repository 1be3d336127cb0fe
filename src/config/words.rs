//! The words of other proxies, and what stands for them here: the lines of `words.txt`.

use std::sync::LazyLock;

/// Words with one meaning.
pub struct Words {
    /// Where they stand: `later`, `table`, `key`, or the kind of the table of a key.
    place: &'static str,
    words: Vec<&'static str>,
    /// What to write, or to do.
    pub instead: &'static str,
}

impl Words {
    /// Whether `word`, in lower case, is one of them.
    #[must_use]
    pub fn have(&self, word: &str) -> bool {
        self.words.contains(&word)
    }
}

/// What to write, or to do, for a word that stands in this place.
#[must_use]
pub fn instead(place: &str, word: &str) -> Option<&'static str> {
    WORDS.iter().find(|words| words.place == place && words.have(word)).map(|words| words.instead)
}

/// The names of keys, of which those of one table come with its kind.
pub fn keys(is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static Words> {
    WORDS.iter().filter(move |words| !["later", "table", "value"].contains(&words.place) && is_wanted(words.place))
}

static WORDS: LazyLock<Vec<Words>> = LazyLock::new(|| {
    let lines = include_str!("words.txt").lines().filter(|line| !line.starts_with('#'));
    let parts = lines.filter_map(|line| {
        let (place, rest) = line.split_once(" | ")?;
        let (words, instead) = rest.split_once(" | ")?;
        Some(Words { place, words: words.split(", ").collect(), instead })
    });
    parts.collect()
});
