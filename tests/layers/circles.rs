//! Modules of one folder do not use each other in a circle. A parent may use its children; what a child uses of its
//! parent is not looked at, unless the parent only passes on what another child has.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, sources};

#[test]
fn modules_of_a_folder_have_no_circles() {
    let sources: Vec<Source> = sources().into_iter().filter(|source| !source.is_test).collect();
    let tree = Tree::new(&sources);
    let mut edges: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    for source in &sources {
        for used in paths(&source.code) {
            let Some(used) = tree.resolve(&source.module, &used) else { continue };
            let common = source.module.iter().zip(&used).take_while(|(own, used)| own == used).count();
            // otherwise one is the parent of the other
            if let (Some(own), Some(other)) = (source.module.get(common), used.get(common)) {
                let folder = edges.entry(used[..common].to_vec()).or_default();
                folder.entry(own.clone()).or_default().insert(other.clone());
            }
        }
    }
    let mut found = Vec::new();
    for (folder, graph) in &edges {
        found.extend(circles(graph).into_iter().map(|circle| (folder.join("::"), circle)));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Which modules of a folder a module uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Sets of modules that reach each other.
fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = graph.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(graph.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|module| (module, reach(module))).collect();
    let circle = |module: &&String| {
        let together =
            reached[module].iter().filter(|other| reached.get(other).is_some_and(|set| set.contains(*module)));
        together.cloned().collect::<Vec<String>>()
    };
    let circles: BTreeSet<Vec<String>> = graph.keys().map(|module| circle(&module)).collect();
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

/// Every module of the crate, and the names that it takes from its children.
struct Tree {
    modules: BTreeSet<Vec<String>>,
    passed_on: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
}

impl Tree {
    fn new(sources: &[Source]) -> Self {
        let modules: BTreeSet<_> = sources.iter().map(|source| source.module.clone()).collect();
        let mut tree = Self { modules, passed_on: BTreeMap::new() };
        for source in sources {
            for path in paths(&source.code) {
                let (Some(module), Some(name)) = (tree.resolve(&source.module, &path), path.last()) else { continue };
                if module.len() > source.module.len() && module.starts_with(&source.module) {
                    tree.passed_on.entry(source.module.clone()).or_default().insert(name.clone(), module);
                }
            }
        }
        tree
    }

    /// The module that has what `path` names, seen from `module`.
    fn resolve(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut at = module.to_vec();
        let mut names = path.iter().peekable();
        match names.peek().map(|name| name.as_str()) {
            Some("crate") => {
                at.clear();
                names.next();
            }
            Some("super" | "self") => {}
            Some(first) => {
                at.push(first.to_owned());
                names.next();
                self.modules.contains(&at).then_some(())?;
            }
            None => return None,
        }
        for name in names {
            match name.as_str() {
                "super" => drop(at.pop()?),
                "self" => {}
                name => {
                    let child: Vec<String> = at.iter().cloned().chain([name.to_owned()]).collect();
                    if !self.modules.contains(&child) {
                        let passed_on = self.passed_on.get(&at).and_then(|names| names.get(name));
                        return Some(passed_on.cloned().unwrap_or(at));
                    }
                    at = child;
                }
            }
        }
        Some(at)
    }
}

/// Every path of at least two names in `code`, with the groups of `use` written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    let mut before = ' ';
    while let Some(letter) = rest.chars().next() {
        let name = name(rest);
        let after = &rest[name.len()..];
        if !name.is_empty() && after.starts_with("::") && !is_of_name(before) && before != ':' {
            rest = tail(after, &[name.to_owned()], &mut found);
            before = ' ';
        } else {
            let length = name.len().max(letter.len_utf8());
            before = rest[..length].chars().next_back().unwrap_or(' ');
            rest = &rest[length..];
        }
    }
    found
}

/// Takes in what follows the names in `begun`; returns the rest.
fn tail<'a>(text: &'a str, begun: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let Some(text) = text.strip_prefix("::") else {
        found.push(begun.to_vec());
        return text;
    };
    if let Some(mut group) = text.strip_prefix('{') {
        loop {
            group = group.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
            let name = name(group);
            if name.is_empty() {
                return group.strip_prefix('}').unwrap_or(group);
            }
            let more: Vec<String> = begun.iter().cloned().chain([name.to_owned()]).collect();
            group = tail(&group[name.len()..], &more, found);
            group = group.strip_prefix(" as ").map_or(group, |renamed| &renamed[self::name(renamed).len()..]);
        }
    }
    let name = name(text);
    if name.is_empty() {
        found.push(begun.to_vec());
        return text;
    }
    let more: Vec<String> = begun.iter().cloned().chain([name.to_owned()]).collect();
    tail(&text[name.len()..], &more, found)
}

fn name(text: &str) -> &str {
    &text[..text.find(|letter| !is_of_name(letter)).unwrap_or(text.len())]
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[test]
fn groups_of_use_are_written_out() {
    let code = "use super::{a::{B, c}, D as E, self};\nlet x = crate::f::g(h::<i>());";
    let found: Vec<String> = paths(code).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["super::a::B", "super::a::c", "super::D", "super::self", "crate::f::g", "h"]);
}

#[test]
fn a_circle_is_found() {
    let edge = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|&to| to.to_owned()).collect());
    let graph: Graph = [edge("a", &["b"]), edge("b", &["c", "d"]), edge("c", &["a"]), edge("d", &["e"])].into();
    assert_eq!(circles(&graph), [["a", "b", "c"]]);
}
