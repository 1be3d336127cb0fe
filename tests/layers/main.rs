//! Rules about the source that no compiler keeps.
//!
//! The layers of ARCHITECTURE.md hold: a module uses lower layers and its own children, never sideways or up.

mod circles;
mod english;
mod names;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::{ROOT, Source, sources};

/// Reads the table `| layer | modules |` of ARCHITECTURE.md: the layer of each module.
fn layers() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut layers = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let Some(Ok(layer)) = cells.next().map(str::parse::<u32>) else { continue };
        let modules = cells.next().unwrap_or_default();
        for module in modules.split('`').skip(1).step_by(2) {
            layers.insert(module.to_owned(), layer);
        }
    }
    layers
}

/// The top modules that a file names after `crate::`, its tests left out.
fn uses(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for rest in source.code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or_default();
            found.extend(list.split(',').map(|item| first_name(item.trim())));
        } else {
            found.push(first_name(rest));
        }
    }
    // what the crate itself has is a constant
    found.retain(|name| name.starts_with(|first: char| first.is_ascii_lowercase()));
    found
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
}

#[test]
fn every_module_has_a_layer() {
    let layers = layers();
    for source in sources() {
        let Some(module) = source.module.first() else { continue };
        assert!(layers.contains_key(module), "{module} stands in no layer of ARCHITECTURE.md");
    }
}

#[test]
fn modules_use_only_lower_layers() {
    let layers = layers();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((module, own)) = source.module.first().and_then(|module| Some((module, layers.get(module)?))) else {
            continue;
        };
        for used in uses(&source) {
            let lower = layers.get(&used).is_some_and(|layer| layer < own);
            if used != *module && !lower {
                wrong.push(format!("{} uses {used}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "sideways or up:\n{}", wrong.join("\n"));
}

#[test]
fn the_supervisor_knows_neither_configuration_nor_traffic() {
    let lower = ["control", "moment", "observe", "sys", "systemd", "supervisor"];
    for source in sources().into_iter().filter(|source| source.module.starts_with(&["supervisor".to_owned()])) {
        for used in uses(&source) {
            assert!(lower.contains(&used.as_str()), "{} uses {used}", source.path.display());
        }
    }
}

#[test]
fn unsafe_stands_in_one_file() {
    for source in sources() {
        let text = std::fs::read_to_string(&source.path).expect("a source file");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| line.contains("unsafe ") || line.contains("unsafe_code")).count();
        assert!(found == 0 || source.path.ends_with("src/sys.rs"), "{} holds unsafe code", source.path.display());
    }
}
