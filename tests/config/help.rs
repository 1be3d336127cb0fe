//! Follows a help text as a person would: word for word, in the file that it is about.

use segue::config::load::Sources;
use segue::config::problem::{FilePosition, Problem};

/// The sources after the help of `problem` was followed. None when it gives advice, and nothing to write.
pub fn follow(problem: &Problem, sources: &Sources) -> Option<Sources> {
    let help = problem.help.as_deref()?;
    let mut changed = sources.clone();
    let Some(place) = &problem.place else {
        return elsewhere(problem, help, changed);
    };
    let file = std::iter::once(&mut changed.main).chain(&mut changed.conf_d).find(|file| file.path == place.file)?;
    let mut page = Page { place, lines: file.text.lines().map(str::to_owned).collect() };
    let starts = |start: &str| help.starts_with(start);
    let codes: Vec<_> = help.split('`').skip(1).step_by(2).map(named).collect();
    match codes.as_slice() {
        [header, line, ..] if help.contains("and below it `") => page.lines = vec![header.clone(), line.clone()],
        [line, header, ..] if starts("take it out, and write") => {
            page.take_out();
            page.insert_below(header, line);
        }
        _ if starts("take one of the two versions") => page.take_the_first_version(),
        _ if ["take it out", "take the line out", "take one of them out"].iter().any(|start| starts(start)) => {
            page.take_out()
        }
        _ if help.contains("take the key out") || help.contains("into the header") => page.take_out(),
        _ if starts("take one out") => page.replace_mark("\"other.internal:1\""),
        _ if [
            "it can have",
            "the tables are",
            "those that do",
            "this looks like",
            "write the server",
            "files count",
        ]
        .iter()
        .any(|start| starts(start)) =>
        {
            return None;
        }
        [line, ..] if help.contains("` in a `[site") => {
            page.lines.extend(["[site.\"new.test\"]".to_owned(), line.clone()])
        }
        [header, ..] if starts("write it below") => page.move_below(header),
        [line, ..] if help.contains("` into it") => page.replace_mark_end(&format!(", {line} }}")),
        [header, key, ..] if starts("add `") => page.lines.extend([header.clone(), format!("{key} = ['a:1']")]),
        [line, ..] if ["` beside it", "` below it"].iter().any(|where_to| help.contains(where_to)) => {
            page.insert_after(line)
        }
        [list, ..] if help.contains("a list of its own") => {
            page.replace_mark("\"other.internal:1\"");
            page.insert_after(list);
        }
        _ => page.write(&written(help)?, problem),
    }
    file.text = page.lines.join("\n") + "\n";
    Some(changed)
}

/// What a help says to write: the first thing in quotes of either kind after the word.
fn written(help: &str) -> Option<String> {
    let at = ["write ", "did you mean ", "as in "].iter().filter_map(|word| help.find(word)).min()?;
    let rest = &help[at..];
    let start = rest.find(['`', '"'])?;
    let quote = rest[start..].chars().next()?;
    let length = rest[start + 1..].find(quote)?;
    let inner = &rest[start + 1..start + 1 + length];
    Some(if quote == '`' { named(inner) } else { format!("\"{inner}\"") })
}

/// With a name where one is to be picked.
fn named(code: &str) -> String {
    code.replace("NAME", "picked").replace("HOST", "picked.test")
}

/// Of a flag, a variable, or no part of the configuration.
fn elsewhere(problem: &Problem, help: &str, mut changed: Sources) -> Option<Sources> {
    let codes: Vec<_> = help.split('`').skip(1).step_by(2).collect();
    if help.contains("and below it") {
        changed.main.text += &format!("\n{}\n{}\n", codes[0], codes[1]);
        return Some(changed);
    }
    let code = codes.first().copied().or_else(|| help.strip_prefix("did you mean ")?.strip_suffix('?'))?;
    if let Some(flag) = code.strip_prefix("--set ") {
        let key = flag.split('=').next().unwrap_or_default();
        let given = problem.message.split('`').nth(1).and_then(|given| given.strip_prefix("--set "));
        let is_meant = |one: &String| given.map_or(one.split('=').next() == Some(key), |given| given == one);
        let at = changed.flags.iter().position(is_meant)?;
        changed.flags[at] = flag.replace("VALUE", "all");
    } else if code.starts_with("SEGUE_") {
        let (name, value) = code.split_once('=').unwrap_or((code, "all"));
        let given = changed.variables.keys().find(|name| problem.message.contains(name.as_str())).cloned()?;
        changed.variables.remove(&given);
        changed.variables.insert(name.to_owned(), value.to_owned());
    } else if code.ends_with(".toml") {
        changed.left_out.retain(|path| !problem.message.starts_with(path.trim_end_matches('/')));
    } else {
        return None;
    }
    Some(changed)
}

struct Page<'a> {
    place: &'a FilePosition,
    lines: Vec<String>,
}

impl Page<'_> {
    fn line(&mut self) -> &mut String {
        &mut self.lines[self.place.line - 1]
    }

    /// The mark in its line; what comes before it.
    fn mark(&self) -> (usize, usize) {
        let line = &self.lines[self.place.line - 1];
        let start = line.char_indices().nth(self.place.column - 1).map_or(line.len(), |(at, _)| at);
        (start, (start + self.place.mark.len()).min(line.len()))
    }

    fn replace_mark(&mut self, code: &str) {
        let (start, end) = self.mark();
        self.line().replace_range(start..end, code);
    }

    /// In place of the brace that ends the mark.
    fn replace_mark_end(&mut self, code: &str) {
        let (_, end) = self.mark();
        self.line().replace_range(end - 1..end, code);
    }

    /// A key goes with its line, a table with everything below its header.
    fn take_out(&mut self) {
        let first = self.place.line - 1;
        let is_header = |line: &String| line.trim_start().starts_with('[');
        let below = self.lines[first + 1..].iter().position(is_header).unwrap_or(self.lines.len() - first - 1);
        let last = if is_header(&self.lines[first]) { first + 1 + below } else { first + 1 };
        self.lines.drain(first..last);
    }

    fn take_the_first_version(&mut self) {
        let at = |mark: &str| self.lines.iter().position(|line| line.starts_with(mark)).expect("a mark of a merge");
        let (first, middle, last) = (at("<<<<<<<"), at("======="), at(">>>>>>>"));
        self.lines.drain(middle..=last);
        self.lines.remove(first);
    }

    fn insert_after(&mut self, line: &str) {
        self.lines.insert(self.place.line, line.to_owned());
    }

    fn insert_below(&mut self, header: &str, line: &str) {
        match self.lines.iter().position(|one| one.trim() == header) {
            Some(at) => self.lines.insert(at + 1, line.to_owned()),
            None => self.lines.extend([header.to_owned(), line.to_owned()]),
        }
    }

    fn move_below(&mut self, header: &str) {
        let line = self.lines.remove(self.place.line - 1);
        self.insert_below(header, &line);
    }

    fn write(&mut self, code: &str, problem: &Problem) {
        let (start, _) = self.mark();
        let line = self.line().clone();
        let is_header = line.trim_start().starts_with('[');
        let before = line[..start].trim_end();
        let marks_value = before.ends_with(['=', '[', ',', '{']) && !is_header;
        let whole_line = problem.message.contains("no TOML");
        match code.split_once(" = ") {
            _ if whole_line => *self.line() = code.to_owned(),
            _ if code.starts_with('[') && is_header => *self.line() = code.to_owned(),
            _ if code.starts_with('[') => {
                self.lines.remove(self.place.line - 1);
                self.lines.push(code.to_owned());
            }
            _ if is_header && !code.starts_with('"') && code.contains('*') => self.replace_mark(&format!("{code:?}")),
            _ if code.starts_with(['{', '"']) => self.replace_mark(code),
            Some((_, value)) if marks_value => self.replace_mark(value),
            Some(_) => *self.line() = code.to_owned(),
            None => self.replace_mark(code),
        }
    }
}
