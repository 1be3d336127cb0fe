//! The layers of ARCHITECTURE.md hold: a module uses lower layers and its own children, never sideways or up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

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

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The top module that a file of `src` belongs to.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(Path::new(ROOT).join("src")).expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_str().expect("a name in UTF-8");
    first.trim_end_matches(".rs").to_owned()
}

/// The top modules that a file names after `crate::`, its tests left out.
fn uses(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for line in code {
        for rest in line.split("crate::").skip(1) {
            if let Some(list) = rest.strip_prefix('{') {
                found.extend(list.split(',').map(|item| first_name(item.trim())));
            } else {
                found.push(first_name(rest));
            }
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
    for file in sources(&Path::new(ROOT).join("src")) {
        let module = module_of(&file);
        assert!(module == "lib" || layers.contains_key(&module), "{module} stands in no layer of ARCHITECTURE.md");
    }
}

#[test]
fn modules_use_only_lower_layers() {
    let layers = layers();
    let mut wrong = Vec::new();
    for file in sources(&Path::new(ROOT).join("src")) {
        let module = module_of(&file);
        let Some(own) = layers.get(&module) else { continue };
        for used in uses(&file) {
            let lower = layers.get(&used).is_some_and(|layer| layer < own);
            if used != module && !lower {
                wrong.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "sideways or up:\n{}", wrong.join("\n"));
}

#[test]
fn the_supervisor_knows_neither_configuration_nor_traffic() {
    let lower = ["control", "observe", "sys", "systemd", "supervisor"];
    for file in sources(&Path::new(ROOT).join("src/supervisor")) {
        for used in uses(&file) {
            assert!(lower.contains(&used.as_str()), "{} uses {used}", file.display());
        }
    }
}

#[test]
fn unsafe_stands_in_one_file() {
    for file in sources(&Path::new(ROOT).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| line.contains("unsafe ") || line.contains("unsafe_code")).count();
        assert!(found == 0 || file.ends_with("src/sys.rs"), "{} holds unsafe code", file.display());
    }
}
