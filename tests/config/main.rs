//! The corpus: what `segue check` says about each configuration of `good` and `bad`, word for word.
//!
//! A case is a file `NAME.toml`, or a directory `NAME` with a `segue.toml`, perhaps a `conf.d`, and perhaps files
//! `environment` with lines `VARIABLE=value` and `flags` with lines that follow `--set`. `NAME.expected` has what is to be said; `NAME.effective`, where it is,
//! has the effective configuration. `REWRITE=1 cargo test --test config` writes them anew, to be read in the diff.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use segue::cli::check::Verdict;
use segue::config::load::{Checked, Sources};
use segue::config::problem::{Look, Problem};

#[test]
fn good_configurations_are_used_with_the_warnings_expected() {
    for case in cases("good") {
        let verdict = case.verdict();
        assert!(verdict.good, "{}:\n{}", case.name, verdict.render(Look::Plain));
        case.compare("expected", &verdict.render(Look::Plain));
    }
}

#[test]
fn bad_configurations_are_refused_with_every_problem_expected() {
    for case in cases("bad") {
        let verdict = case.verdict();
        assert!(!verdict.good, "{} is not refused", case.name);
        case.compare("expected", &verdict.render(Look::Plain));
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
            proptest::prop_assert!(!problem.render(Look::Coloured).is_empty() && !problem.to_string().is_empty());
        }
    }
}

struct Case {
    /// As `bad/unknown-key`.
    name: String,
    main: PathBuf,
    variables: BTreeMap<String, String>,
    flags: Vec<String>,
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
        }
    }

    fn sources(&self) -> Result<Sources, Vec<Problem>> {
        let sources = Sources::read(&self.main, &self.flags)?;
        Ok(Sources { variables: self.variables.clone(), ..sources })
    }

    fn verdict(&self) -> Verdict {
        let checked: Result<Checked, _> = self.sources().map(|sources| sources.check());
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
