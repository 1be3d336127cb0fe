//! The sources of a configuration, as plain data, and what is made of them: a [`Config`], or problems.
//!
//! [`Sources::read`] is the only part of the configuration that touches the machine. Everything after it is a pure
//! function of the sources, so that a worker can be started again from the sources of a good configuration after the
//! files have changed.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::address::{HostPattern, host_pattern};
pub use super::check::Units;
use super::merge::{Merged, Setting};
use super::problem::{Problem, Severity};
use super::problems::Problems;
use super::read::Files;
pub use super::read::SourceFile;
use super::spot::Spot;
use super::tables::{Config, variables};
use super::{check, effective, file, read, rules, suggest, syntax};

/// Everything that a configuration is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The main file.
    pub main: SourceFile,
    /// The files of `conf.d` beside it, in the order of their names.
    pub conf_d: Vec<SourceFile>,
    /// The variables of the environment that start with `SEGUE_`; unknown ones come without their values.
    pub variables: BTreeMap<String, String>,
    /// What follows each `--set` of the command line, as in `log.access=all`; a later one wins.
    pub flags: Vec<String>,
    /// What is in `conf.d` and not read, although it may be intended for it; a directory ends in a slash.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// The result of the check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The configuration, if nothing refuses it.
    pub config: Option<Config>,
    /// Everything wrong with it, warnings too.
    pub problems: Vec<Problem>,
}

/// Something wrong with a file that the configuration names.
#[derive(Clone, Debug)]
pub struct FileProblem {
    /// The table, as a path in TOML's notation; the host of a site in its normal form.
    pub table: String,
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether the configuration cannot be used.
    pub refuses: bool,
}

impl Sources {
    /// Reads `main`, every `conf.d/*.toml` beside it, and the `SEGUE_` variables of the environment; `flags` come last.
    ///
    /// A `conf.d` that does not exist is empty. Another file in it is a warning, unless its name says that it is a copy.
    ///
    /// # Errors
    /// One problem for each file that can't be read, which names the user that can't read it; and every other problem that
    /// is in the files that can.
    pub fn read(main: &Path, flags: &[String]) -> Result<Self, Vec<Problem>> {
        let Files { main, conf_d, left_out, unreadable } = read::files(main);
        let sources = Self { main, conf_d, variables: ours(std::env::vars_os()), flags: flags.to_vec(), left_out };
        match unreadable.is_empty() {
            true => Ok(sources),
            false => Err(sources.check_beside(unreadable, None).problems),
        }
    }

    /// The sources that consist of one text, as if it stood in a file `segue.toml`.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self { main: SourceFile { path: "segue.toml".to_owned(), text: text.to_owned() }, ..Self::default() }
    }

    /// Makes the configuration, or finds everything that is wrong. Pure: the same sources give the same result.
    #[must_use]
    pub fn check(&self) -> Checked {
        self.check_beside(Vec::new(), None)
    }

    /// The same, for a machine with these units.
    #[must_use]
    pub fn check_for(&self, units: &Units) -> Checked {
        self.check_beside(Vec::new(), Some(units))
    }

    /// The same, when a part of the sources could not be read for the reasons in `missing`.
    fn check_beside(&self, missing: Vec<Problem>, units: Option<&Units>) -> Checked {
        let (merged, mut problems) = self.merge();
        problems.extend(missing);
        let complete = problems.is_empty();
        problems.extend(self.left_out.iter().map(|path| read::not_read(path)));
        problems.extend(self.unknown_settings());
        problems.extend(rules::overridden(&merged, &self.main.path));
        let (config, found) = check::check(&merged, complete, units);
        // a line that is no TOML was read after a repair, and has one problem already
        let lines: Vec<_> = problems.iter().filter(|problem| problem.refuses()).filter_map(line).collect();
        problems.extend(found.into_iter().filter(|problem| line(problem).is_none_or(|line| !lines.contains(&line))));
        self.sort(&mut problems);
        let refused = problems.iter().any(Problem::refuses);
        Checked { config: config.filter(|_| !refused), problems }
    }

    /// What refuses a configuration, or only warns, about files, each at the place where it is named.
    #[must_use]
    pub fn problems_of_files(&self, found: Vec<FileProblem>) -> Vec<Problem> {
        if found.is_empty() {
            return Vec::new();
        }
        let (merged, _) = self.merge();
        let mut problems = Problems::new(&merged, true);
        for FileProblem { table, key, message, help, refuses } in found {
            let tables = merged.root.iter().flat_map(|(kind, tables)| {
                let names = tables.as_dict().into_iter().flat_map(|tables| tables.keys());
                names.map(move |name| Spot::table(kind, name))
            });
            let is_host = |host: HostPattern| Spot::table("site", &host.to_string()).to_string() == table;
            let is_it = |spot: &Spot| {
                spot.to_string() == table || spot.kind() == "site" && host_pattern(spot.name()).is_ok_and(is_host)
            };
            let spot = tables.into_iter().find(is_it).unwrap_or_else(|| Spot::root().key(&table).at_key());
            let severity = if refuses { Severity::Error } else { Severity::Warning };
            problems.add(severity, &problems.spot(&spot, key).unwrap_or(spot), message, help, None);
        }
        let mut found = problems.found;
        self.sort(&mut found);
        found
    }

    /// The whole configuration in TOML, every default included, each value with its origin as a comment.
    ///
    /// # Errors
    /// Every problem, when one of them refuses the configuration.
    pub fn effective(&self) -> Result<String, Vec<Problem>> {
        let checked = self.check();
        if checked.config.is_none() {
            return Err(checked.problems);
        }
        Ok(effective::toml(&self.merge().0))
    }

    /// The hash of the configuration: equal for equal configurations, in whatever way they are written. None when the
    /// sources are refused. Comparable only within one version of the program.
    #[must_use]
    pub fn hash(&self) -> Option<String> {
        self.check().config.map(|config| config.hash())
    }

    /// The files that could be parsed, merged, and the syntax errors of all.
    fn merge(&self) -> (Merged, Vec<Problem>) {
        let mut files = Vec::new();
        let mut problems = Vec::new();
        for source in std::iter::once(&self.main).chain(&self.conf_d) {
            let (parsed, found) = syntax::parse(&source.path, &source.text);
            files.extend(parsed);
            problems.extend(found);
        }
        let mut merged = Merged::new(files, &self.settings());
        file::add_implicit_listeners(&mut merged.root);
        (merged, problems)
    }

    /// In the order of the files, then by line; problems without a place come last.
    pub fn sort(&self, problems: &mut Vec<Problem>) {
        let files: Vec<&str> = std::iter::once(&self.main).chain(&self.conf_d).map(|file| file.path.as_str()).collect();
        problems.sort_by_cached_key(|problem| match &problem.place {
            // Files that are not text have no number among the files, and are sorted by their names.
            Some(place) => {
                let file = files.iter().position(|file| *file == place.file);
                (file, place.file.clone(), place.line, place.column)
            }
            None => (Some(usize::MAX), String::new(), 0, 0),
        });
        problems.dedup();
    }

    fn settings(&self) -> Vec<Setting> {
        let of_variables = self.variables.iter().filter_map(|(name, text)| {
            let (_, key, _) = variables().find(|(variable, ..)| variable == name)?;
            Some(Setting { variable: Some(name.clone()), key, text: text.clone() })
        });
        let of_flags = self.flags.iter().filter_map(|flag| {
            let (key, text) = flag.split_once('=').filter(|(key, _)| settable().contains(&(*key).to_owned()))?;
            Some(Setting { variable: None, key: key.to_owned(), text: text.to_owned() })
        });
        of_variables.chain(of_flags).collect()
    }

    /// Variables and flags that set nothing.
    fn unknown_settings(&self) -> Vec<Problem> {
        let known: Vec<&str> = variables().map(|(variable, ..)| variable).collect();
        let of_variable = |name: &String| {
            let tail = |name: &'static str| name.strip_prefix(PREFIX);
            let close = suggest::closest(name.strip_prefix(PREFIX)?, known.iter().filter_map(|known| tail(known)));
            let help = match close {
                _ if known.contains(&name.as_str()) => return None,
                Some(close) => format!("did you mean {PREFIX}{close}?"),
                None => format!("those that do are {}", known.join(", ")),
            };
            Some(Problem::new(Severity::Warning, format!("the environment variable {name} means nothing here"), help))
        };
        let keys = settable();
        let of_flag = |flag: &String| {
            let (path, text) = flag.split_once('=').unwrap_or((flag, "VALUE"));
            let with = |key: &str| format!("`--set {key}={}`", text.escape_debug());
            let (wrong, help) = match suggest::closest(path, keys.iter().map(String::as_str)) {
                Some(key) if key == path && flag.contains('=') => return None,
                Some(key) if key == path => ("gives no value", format!("write {}", with(path))),
                Some(close) => (NO_KEY, format!("did you mean {}?", with(close))),
                None => (NO_KEY, format!("it can set {}; the rest is for the file", keys.join(", "))),
            };
            Some(Problem::new(Severity::Error, format!("`--set {}` {wrong}", flag.escape_debug()), help))
        };
        self.variables.keys().filter_map(of_variable).chain(self.flags.iter().filter_map(of_flag)).collect()
    }
}

const NO_KEY: &str = "names no key that the command line can set";

impl Config {
    /// Reads one text as if it were the whole of `segue.toml`: no other file, no variable. Warnings do not refuse it.
    ///
    /// # Errors
    /// Every problem, when one of them refuses the configuration.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        let checked = Sources::from_text(text).check();
        checked.config.ok_or(checked.problems)
    }
}

/// The file and the line of a problem.
fn line(problem: &Problem) -> Option<(String, usize)> {
    problem.place.as_ref().map(|place| (place.file.clone(), place.line))
}

/// The keys that a variable of the environment or `--set` can set, as `log.access`.
#[must_use]
pub fn settable() -> Vec<String> {
    variables().map(|(_, key, _)| key).collect()
}

/// The names of the variables of Segue begin with this.
const PREFIX: &str = "SEGUE_";

/// The variables of Segue among `all`; the value of an unknown one may be a secret, and is left out.
fn ours(all: std::env::VarsOs) -> BTreeMap<String, String> {
    let text = all.map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let ours = text.filter(|(name, _)| name.starts_with(PREFIX));
    let is_known = |name: &str| variables().any(|(variable, ..)| variable == name);
    ours.map(|(name, value)| if is_known(&name) { (name, value) } else { (name, String::new()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sources {
        pub(in crate::config) fn with_flag(mut self, flag: &str) -> Self {
            self.flags.push(flag.to_owned());
            self
        }
    }

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).expect("write");
    }

    #[test]
    fn files_of_conf_d_come_in_the_order_of_their_names_and_win_over_the_main_file() {
        let directory = tempfile::tempdir().expect("directory");
        let main = directory.path().join("segue.toml");
        std::fs::create_dir(directory.path().join("conf.d")).expect("conf.d");
        write(&main, "[site.'*']\nto = 'x'\n[pool.x]\nservers = ['a:1']\nretries = 1\n");
        write(&directory.path().join("conf.d/20.toml"), "[pool.x]\nretries = 20\n");
        write(&directory.path().join("conf.d/10.toml"), "[pool.x]\nretries = 10\n[log]\nslow = '3s'\n");
        write(&directory.path().join("conf.d/.30.toml"), "no TOML");
        write(&directory.path().join("conf.d/40.toml.bak"), "no TOML");
        let sources = Sources::read(&main, &[]).expect("readable");
        let names: Vec<_> = sources.conf_d.iter().map(|file| file.path.rsplit('/').next()).collect();
        assert_eq!(names, [Some("10.toml"), Some("20.toml")]);
        let config = sources.check().config.expect("good");
        assert_eq!(config.pools[0].retries, 20);
        assert_eq!(config.log.slow.as_secs(), 3);
    }

    #[test]
    fn sources_survive_the_way_through_json() {
        let sources = Sources::from_text("log.slow = '2s'").with_flag("worker.threads=2");
        let json = serde_json::to_string(&sources).expect("JSON");
        let back: Sources = serde_json::from_str(&json).expect("sources");
        assert_eq!(back, sources);
        assert_eq!(back.check().config, sources.check().config);
        assert_eq!(back.check().config.expect("good").worker.threads, Some(2));
    }

    #[test]
    fn a_missing_file_is_one_clear_problem() {
        let problems = Sources::read(Path::new("/nowhere/segue.toml"), &[]).expect_err("missing");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "can't read /nowhere/segue.toml: there is no such file");
    }

    #[test]
    fn a_file_that_cannot_be_read_hides_no_problem_of_the_others() {
        let directory = tempfile::tempdir().expect("directory");
        let main = directory.path().join("segue.toml");
        std::fs::create_dir(directory.path().join("conf.d")).expect("conf.d");
        write(&main, "[site.'*']\nto = 'in-the-link'\ncolour = 1\n");
        std::os::unix::fs::symlink("gone", directory.path().join("conf.d/10.toml")).expect("link");
        let problems = Sources::read(&main, &[]).expect_err("unreadable");
        let said: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("`colour`") && said[1].ends_with("it is a link to a file that is not there"),
            "{said:?}"
        );
    }

    #[test]
    fn variables_win_over_files_and_flags_over_variables() {
        let mut sources = Sources::from_text("[log]\nslow = '2s'\naccess = 'off'\n");
        sources.variables.insert("SEGUE_LOG_SLOW".to_owned(), "4s".to_owned());
        sources.variables.insert("SEGUE_LOG_ACCESS".to_owned(), "all".to_owned());
        let sources = sources.with_flag("log.slow=5s").with_flag("log.slow=6s");
        let config = sources.check().config.expect("good");
        assert_eq!(config.log.slow.as_secs(), 6);
        assert_eq!(config.log.access, super::super::values::Access::All);
    }

    #[test]
    fn equal_configurations_have_equal_hashes() {
        let short = Sources::from_text("[site.'*']\nto = ['a:1']\n").hash();
        let long = Sources::from_text("site.\"*\" = { to = ['a:1'], retries = 3, connect_timeout = '5000ms' }").hash();
        assert!(short.is_some());
        assert_eq!(short, long);
        assert_ne!(short, Sources::from_text("[site.'*']\nto = ['a:2']\n").hash());
        assert!(Sources::from_text("[site]").hash().is_some());
        assert_eq!(Sources::from_text("colour = 1").hash(), None);
    }
}
