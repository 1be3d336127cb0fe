//! Why a file cannot be imported at all.

use thiserror::Error;

/// Nothing could be made of the file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ImportError {
    /// It is no text.
    #[error("it is no text, and so no haproxy.cfg")]
    Binary,
    /// It is text, and of another program.
    #[error("it is {format}, and `segue import` reads haproxy.cfg alone; segue.toml(5) has what to write")]
    Another {
        /// Of which one.
        format: &'static str,
    },
    /// No section begins in it.
    #[error("it is no haproxy.cfg: none of its lines begins with global, defaults, frontend, backend or listen")]
    NoSection,
    /// A condition of the file itself.
    #[error(
        "line {line}: `{word}` makes lines depend on the machine: keep the lines that hold, take the others and those \
         of the condition out, and import that"
    )]
    Conditional {
        /// The number of the line.
        line: usize,
        /// As `.if`.
        word: String,
    },
    /// A quote that does not end.
    #[error(
        "line {line}: the quote {quote} does not end: write another one at its end, or \\{quote} for the character"
    )]
    OpenQuote {
        /// The number of the line.
        line: usize,
        /// Which one.
        quote: char,
    },
    /// A variable of the environment.
    #[error("line {line}: the variable {name} is not set: call it as `{name}=VALUE segue import FILE`")]
    UnsetVariable {
        /// The number of the line.
        line: usize,
        /// Its name.
        name: String,
    },
    /// What `--only` names.
    #[error("--only {0}: no frontend or listen section has this name")]
    NoFrontend(String),
}
