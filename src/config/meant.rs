//! What a text that can't be used was likely meant as: the rules of `meant.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::problem::quoted;

/// One rule of `meant.toml`.
#[derive(Debug, Deserialize)]
pub struct Rule {
    #[serde(deserialize_with = "regex")]
    from: Regex,
    to: Option<String>,
    help: Option<String>,
    /// What is wrong with a text that it matches.
    #[serde(default)]
    pub why: String,
}

/// A guess.
#[derive(Debug)]
pub struct Meant {
    /// The text that was likely meant, where there is one.
    pub text: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
    /// What is wrong with the text.
    pub why: &'static str,
}

/// The first guess that `is_good`, by the rules for this kind of text; else the rule that explains what is wrong.
pub fn meant(kind: &str, text: &str, is_good: impl Fn(&str) -> bool) -> Option<Meant> {
    let mut guesses: Vec<(String, Option<&'static Rule>)> = vec![(text.to_owned(), None)];
    let mut next = 0;
    while let Some((from, first)) = guesses.get(next).cloned() {
        next += 1;
        for rule in rules(kind) {
            let Some(to) = &rule.to else { continue };
            let guess = rule.from.replace_all(&from, to.as_str()).into_owned();
            if guesses.len() == MOST_GUESSES || guesses.iter().any(|(known, _)| *known == guess) {
                continue;
            }
            let first = first.unwrap_or(rule);
            if is_good(&guess) {
                return Some(first.apply(text, Some(guess)));
            }
            guesses.push((guess, Some(first)));
        }
    }
    let explains = |rule: &&Rule| rule.to.is_none() && rule.from.is_match(text);
    rules(kind).iter().find(explains).map(|rule| rule.apply(text, None))
}

/// Rules are applied to the results of rules, to no end: the good guesses come early.
const MOST_GUESSES: usize = 200;

/// The rules for a kind of text.
pub fn rules(kind: &str) -> &'static [Rule] {
    RULES.get(kind).map_or(&[], Vec::as_slice)
}

/// What is wrong with `text`, by the first rule of this kind that it matches.
pub fn explained(kind: &str, text: &str) -> Option<&'static str> {
    rules(kind).iter().find(|rule| rule.matches(text)).map(|rule| rule.why.as_str())
}

static RULES: LazyLock<BTreeMap<String, Vec<Rule>>> =
    LazyLock::new(|| toml_edit::de::from_str(include_str!("meant.toml")).expect("meant.toml has rules"));

impl Rule {
    /// Whether it changes `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.from.is_match(text)
    }

    /// What it makes of `text`.
    pub fn replace(&self, text: &str) -> String {
        self.from.replace_all(text, self.to.as_deref().unwrap_or("$0")).into_owned()
    }

    fn apply(&'static self, text: &str, guess: Option<String>) -> Meant {
        let mut help = String::new();
        if let Some(captures) = self.from.captures(text) {
            captures.expand(self.help.as_deref().unwrap_or("write {}"), &mut help);
        }
        // a part of the text may be in it, and goes to a terminal
        let visible = |part: char| if part.is_control() { part.escape_debug().to_string() } else { part.to_string() };
        let help: String = help.chars().map(visible).collect();
        let help = guess.as_deref().map_or(help.clone(), |guess| help.replace("{}", &quoted(guess)));
        let is_said = guess.is_some() || self.help.is_some();
        Meant { text: guess, help: is_said.then_some(help), why: &self.why }
    }
}

fn regex<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
    Regex::new(&String::deserialize(from)?).map_err(D::Error::custom)
}
