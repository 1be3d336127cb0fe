//! One line of haproxy.cfg as words: quotes, escapes, comments and variables (sections 2.2 and 2.3 of its manual).

use std::iter::Peekable;
use std::str::Chars;

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum LineError {
    /// A quote that does not end.
    OpenQuote(char),
    /// A variable that has no value.
    Unset(String),
}

/// The words of a line. `variable` knows the environment.
///
/// # Errors
/// When a quote stays open, or a variable has neither a value nor a default.
pub fn words(line: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, LineError> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars().peekable();
    let mut quote = None;
    while let Some(letter) = rest.next() {
        match (letter, quote) {
            ('#', None) => break,
            (' ' | '\t' | '\r' | '\n', None) => found.extend(word.take()),
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(escaped(&mut rest, quote)),
            ('$', Some('"')) => word.get_or_insert_default().push_str(&expanded(&mut rest, variable)?),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    found.extend(word);
    match quote {
        Some(open) => Err(LineError::OpenQuote(open)),
        None => Ok(found),
    }
}

/// What a backslash and the characters after it stand for; what is no escape stays as it is, such as `\.`.
fn escaped(rest: &mut Peekable<Chars<'_>>, quote: Option<char>) -> Vec<char> {
    let Some(next) = rest.peek().copied() else { return vec!['\\'] };
    let plain = match next {
        ' ' | '\\' | '#' | '"' => next,
        '\'' if quote.is_none() => next,
        '$' if quote.is_some() => next,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'x' => {
            let digits: String = rest.clone().skip(1).take(2).collect();
            let byte = if digits.len() == 2 { u8::from_str_radix(&digits, 16).ok() } else { None };
            let Some(byte) = byte else { return vec!['\\'] };
            rest.nth(2);
            return vec![char::from(byte)];
        }
        _ => return vec!['\\'],
    };
    rest.next();
    vec![plain]
}

/// The value of the variable whose name follows the dollar: `NAME`, `{NAME}` or `{NAME-default}`.
fn expanded(rest: &mut Peekable<Chars<'_>>, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, LineError> {
    let braces = rest.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(letter) = rest.next_if(|letter| letter.is_ascii_alphanumeric() || *letter == '_') {
        name.push(letter);
    }
    let inside: String =
        if braces { rest.by_ref().take_while(|letter| *letter != '}').collect() } else { String::new() };
    let default = inside.strip_suffix("[*]").unwrap_or(&inside).strip_prefix('-').map(str::to_owned);
    match variable(&name).or(default) {
        Some(value) => Ok(value),
        None if name.is_empty() => Ok("$".to_owned()),
        None => Err(LineError::Unset(name)),
    }
}

/// An address with its variables, which stand in it without quotes too.
///
/// # Errors
/// As [`words`].
pub fn address(word: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, LineError> {
    let mut found = String::new();
    let mut rest = word.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '$' => found.push_str(&expanded(&mut rest, variable)?),
            _ => found.push(letter),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<String> {
        words(line, &|name| (name == "PORT").then(|| "80".to_owned())).expect("words")
    }

    #[test]
    fn quotes_escapes_and_comments_are_those_of_haproxy() {
        assert_eq!(read("  option  httpchk GET /a # why"), ["option", "httpchk", "GET", "/a"]);
        assert_eq!(read("a\\ b 'c \\d' \"e \\\"f\\\"\" g\\#h"), ["a b", "c \\d", "e \"f\"", "g#h"]);
        assert_eq!(read("HTTP/1.1\\r\\nHost:\\ www"), ["HTTP/1.1\r\nHost: www"]);
        assert_eq!(read("^www\\.a\\.b$ \\x41"), ["^www\\.a\\.b$", "A"]);
        assert_eq!(read("x#y"), ["x"]);
        assert_eq!(read("'' a"), ["", "a"]);
        assert!(read("   # all").is_empty());
    }

    #[test]
    fn variables_stand_between_double_quotes() {
        assert_eq!(read("bind \":$PORT\" \":${PORT}\" '$PORT' $PORT"), ["bind", ":80", ":80", "$PORT", "$PORT"]);
        assert_eq!(read("\"${GONE-1.2.3.4}\""), ["1.2.3.4"]);
        assert_eq!(words("\"$GONE\"", &|_| None), Err(LineError::Unset("GONE".to_owned())));
        assert_eq!(words("a 'b", &|_| None), Err(LineError::OpenQuote('\'')));
        assert_eq!(address("${GONE-a}:80", &|_| None).expect("an address"), "a:80");
    }
}
