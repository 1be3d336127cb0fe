//! The corpus: what `segue check` says about each configuration of `good` and `bad`, word for word.
//!
//! A case is a file `NAME.toml`, or a directory `NAME` with a `segue.toml`, perhaps a `conf.d`, and perhaps files
//! `environment` with lines `VARIABLE=value`, `flags` with lines that follow `--set`, and `units` with lines `SOCKET UNIT`
//! for the socket units of its machine. `NAME.expected` has what is to be said; `NAME.effective`, where it is,
//! has the effective configuration. `REWRITE=1 cargo test --test config` writes them anew, to be read in the diff.

mod documents;
mod help;
mod import;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use segue::cli::check::Verdict;
use segue::config::load::{Checked, Sources, Units};
use segue::config::problem::{Problem, RenderStyle};

#[test]
fn good_configurations_are_used_with_the_warnings_expected() {
    for case in cases("good") {
        let verdict = case.verdict();
        assert!(verdict.good, "{}:\n{}", case.name, verdict.render(RenderStyle::Plain));
        case.compare("expected", &verdict.render(RenderStyle::Plain));
    }
}

#[test]
fn bad_configurations_are_refused_with_every_problem_expected() {
    for case in cases("bad") {
        let verdict = case.verdict();
        assert!(!verdict.good, "{} is not refused", case.name);
        case.compare("expected", &verdict.render(RenderStyle::Plain));
    }
}

#[test]
fn effective_configurations_are_files_that_give_the_same_configuration() {
    for case in cases("good") {
        let sources = case.sources().unwrap_or_else(|problems| panic!("{}: {problems:?}", case.name));
        let text = sources.effective().unwrap_or_else(|problems| panic!("{}: {problems:?}", case.name));
        let again = Sources::from_text(&text);
        assert_eq!(again.check().config, sources.check().config, "{}:\n{text}", case.name);
        assert_eq!(again.hash(), sources.hash(), "{}", case.name);
        if case.file("effective").exists() {
            case.compare("effective", &text);
        }
    }
}

#[test]
fn every_problem_says_what_to_write_and_survives_json() {
    for case in cases("bad") {
        for problem in case.verdict().problems {
            // What the message wants is what to write, where there is no better help.
            let wanted = [" must be ", "expected"].iter().any(|word| problem.message.contains(word));
            assert!(problem.help.is_some() || wanted, "{}: {}", case.name, problem.message);
            let json = serde_json::to_string(&problem).expect("JSON");
            assert_eq!(serde_json::from_str::<Problem>(&json).expect("a problem"), problem);
        }
    }
}

#[test]
fn a_help_that_is_followed_word_for_word_cures_its_problem() {
    let mut wrong = String::new();
    let mut followed = 0;
    for case in ["good", "bad"].into_iter().flat_map(cases) {
        // what cannot be read can't be followed either
        let Ok(sources) = case.sources() else { continue };
        let before = case.check(&sources).problems;
        for problem in &before {
            let Some(changed) = help::follow(problem, &sources) else { continue };
            followed += 1;
            let after = case.check(&changed).problems;
            let same = |one: &&Problem| (&one.key, &one.message) == (&problem.key, &problem.message);
            let count = |all: &[Problem]| all.iter().filter(same).count();
            let refusing = |all: &[Problem]| all.iter().filter(|one| one.refuses()).count();
            if count(&after) >= count(&before) || refusing(&after) > refusing(&before) {
                let new = after.iter().filter(|one| !before.contains(one)).map(|one| one.render(RenderStyle::Plain));
                let new = new.collect::<String>();
                wrong += &format!("{}:\n{}leads to\n{new}\n", case.name, problem.render(RenderStyle::Plain));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(followed > 150, "{followed}");
}

/// A help with something to write is one that the test above follows; what it takes for advice has nothing.
#[test]
fn a_help_with_something_to_write_is_followed() {
    for case in ["good", "bad"].into_iter().flat_map(cases) {
        let Ok(sources) = case.sources() else { continue };
        for problem in case.check(&sources).problems {
            let help = problem.help.clone().unwrap_or_default();
            let says_write = help.contains("write `") || help.contains("write \"") || help.starts_with("did you mean");
            assert!(!says_write || help::follow(&problem, &sources).is_some(), "{}: {help}", case.name);
        }
    }
}

proptest::proptest! {
    /// Whatever stands in a file, there is a verdict, and it can be shown.
    #[test]
    fn damaged_files_get_a_verdict(
        at in proptest::num::usize::ANY,
        length in 0..40_usize,
        instead in "[\\PC\n]{0,6}",
        which in proptest::num::usize::ANY,
    ) {
        let cases: Vec<Case> = ["good", "bad"].into_iter().flat_map(cases).filter(|case| case.main.exists()).collect();
        let text: Vec<char> = fs::read_to_string(&cases[which % cases.len()].main).expect("text").chars().collect();
        let at = at % (text.len() + 1);
        let end = (at + length).min(text.len());
        let damaged: String = text[..at].iter().copied().chain(instead.chars()).chain(text[end..].iter().copied()).collect();
        let checked = Sources::from_text(&damaged).check();
        let refused = checked.problems.iter().any(Problem::refuses);
        proptest::prop_assert_eq!(checked.config.is_none(), refused, "{}", damaged);
        for problem in checked.problems {
            proptest::prop_assert!(!problem.render(RenderStyle::Coloured).is_empty() && !problem.to_string().is_empty());
        }
    }
}

struct Case {
    /// As `bad/unknown-key`.
    name: String,
    main: PathBuf,
    variables: BTreeMap<String, String>,
    flags: Vec<String>,
    /// The units of the machine, where the case has them.
    units: Option<Units>,
}

fn owned((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// Relative, since the test runs in the root of the package and the path is part of what is said.
const CORPUS: &str = "tests/config";

fn cases(kind: &str) -> Vec<Case> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(Path::new(CORPUS).join(kind)).expect("corpus").map(|entry| entry.expect("entry").path()).collect();
    paths.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| Case::new(kind, path)).collect()
}

impl Case {
    fn new(kind: &str, path: &Path) -> Self {
        let stem = path.file_stem().expect("name").to_string_lossy();
        let lines_of = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let environment = lines_of("environment");
        let variables = environment.lines().filter_map(|line| line.split_once('='));
        Self {
            name: format!("{kind}/{stem}"),
            main: if path.is_dir() { path.join("segue.toml") } else { path.to_owned() },
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            flags: lines_of("flags").lines().map(str::to_owned).collect(),
            units: fs::read_to_string(path.join("units")).ok().map(|text| {
                let pairs: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once(' ')).map(owned).collect();
                (!pairs.is_empty()).then_some(pairs)
            }),
        }
    }

    fn sources(&self) -> Result<Sources, Vec<Problem>> {
        let sources = Sources::read(&self.main, &self.flags)?;
        Ok(Sources { variables: self.variables.clone(), ..sources })
    }

    fn check(&self, sources: &Sources) -> Checked {
        self.units.as_ref().map_or_else(|| sources.check(), |units| sources.check_for(units))
    }

    fn verdict(&self) -> Verdict {
        let checked: Result<Checked, _> = self.sources().map(|sources| self.check(&sources));
        Verdict::of(&self.main, checked)
    }

    fn file(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!("{CORPUS}/{}.{extension}", self.name))
    }

    fn compare(&self, extension: &str, text: &str) {
        let file = self.file(extension);
        if std::env::var_os("REWRITE").is_some() {
            fs::write(&file, text).expect("write");
            return;
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert!(expected == text, "{} differs.\nexpected:\n{expected}\nsaid:\n{text}", file.display());
    }
}
