//! The whole configuration in TOML, as it is used: every value with its source.

use std::fmt::Write as _;

use figment::value::{Dict, Value};
use serde::Serialize as _;
use toml_edit::ser::ValueSerializer;

use super::merge::{Merged, ValueOrigin};
use super::schema::{Fallback, Schema};
use super::spot::Spot;
use super::tables::TABLES;

/// The merged configuration, which must be a good one, as a file that gives the same configuration.
#[must_use]
pub fn toml(merged: &Merged) -> String {
    let mut text = EffectiveText { merged, text: String::new() };
    for (kind, schemas) in TABLES {
        let spot = Spot::root().key(kind);
        let nothing = Dict::new();
        let dict = merged.root.get(kind).and_then(Value::as_dict).unwrap_or(&nothing);
        if schemas.iter().all(|schema| schema.header == format!("[{kind}]")) {
            text.table(&spot, dict, schemas);
            continue;
        }
        for (name, dict) in dict.iter().filter_map(|(name, value)| Some((name, value.as_dict()?))) {
            // A site that names a pool has no keys of a pool, and shows none.
            let in_place = dict.get("to").is_none_or(|to| to.as_array().is_some());
            text.table(&spot.key(name), dict, if in_place { schemas } else { &schemas[..1] });
        }
    }
    text.text
}

struct EffectiveText<'a> {
    merged: &'a Merged,
    text: String,
}

impl EffectiveText<'_> {
    fn table(&mut self, spot: &Spot, dict: &Dict, schemas: &[&Schema]) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}[{spot}]");
        for key in schemas.iter().flat_map(|schema| schema.keys) {
            let name = key.name;
            let _ = match (dict.get(name), key.fallback) {
                (Some(value), _) => self.value(&spot.key(name), value),
                (None, Fallback::Default(value)) => writeln!(self.text, "{name} = {value}  # default"),
                (None, Fallback::Unset(instead)) => writeln!(self.text, "# {name} is not set: {instead}"),
                (None, Fallback::Required(_)) => Ok(()),
            };
        }
    }

    fn value(&mut self, spot: &Spot, value: &Value) -> std::fmt::Result {
        let name = spot.name();
        let origin = match self.merged.origin(spot) {
            ValueOrigin::Default => "default".to_owned(),
            ValueOrigin::File(file) => {
                self.merged.place(spot).map_or(file, |place| format!("{}:{}", place.file, place.line))
            }
            ValueOrigin::Variable(name) => format!("environment variable {name}"),
            ValueOrigin::Flag => "--set".to_owned(),
        };
        let line = toml_value(value);
        let list = value.as_array().filter(|list| name.len() + line.len() > WIDEST && list.len() > 1);
        let Some(list) = list else {
            return writeln!(self.text, "{name} = {line}  # {origin}");
        };
        writeln!(self.text, "{name} = [  # {origin}")?;
        list.iter().try_for_each(|element| writeln!(self.text, "    {},", toml_value(element)))?;
        writeln!(self.text, "]")
    }
}

/// A list that makes a longer line than this is shown one element a line.
const WIDEST: usize = 90;

fn toml_value(value: &Value) -> String {
    value.serialize(ValueSerializer::new()).map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::load::Sources;

    const FILE: &str = "[site.\"*\"]\nto = \"web-farm\"\n\n[pool.web-farm]\n\
        servers = [\"10.0.0.11:80\", { address = \"10.0.0.12:80\", weight = 2 }, \"10.0.0.13:80\", \"10.0.0.14:80\"]\n\
        [tcp.db]\nto = ['d:1']\nretries = 1\n";

    #[test]
    fn the_effective_configuration_is_a_file_that_gives_the_same_one() {
        let sources = Sources::from_text(FILE).with_flag("worker.threads=3");
        let text = sources.effective().expect("good");
        let again = Sources::from_text(&text);
        assert_eq!(again.check().config, sources.check().config, "{text}");
        assert!(again.check().config.is_some(), "{text}");
    }

    #[test]
    fn every_value_has_its_origin() {
        let mut sources = Sources::from_text(FILE).with_flag("worker.threads=3");
        sources.variables.insert("SEGUE_LOG_SLOW".to_owned(), "3s".to_owned());
        let text = sources.effective().expect("good");
        for line in [
            "to = \"web-farm\"  # segue.toml:2",
            "servers = [  # segue.toml:5",
            "retries = 1  # segue.toml:8",
            "retries = 3  # default",
            "threads = 3  # --set",
            "slow = \"3s\"  # environment variable SEGUE_LOG_SLOW",
            "# max_connections is not set: as many as the limit of open files allows",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }
}
