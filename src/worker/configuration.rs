//! From the place of a configuration to the checked configuration, with everything to report about it.

use crate::config::Config;
use crate::config::diff::diff;
use crate::config::load::{FileProblem, Sources};
use crate::config::problem::{Problem, RenderStyle, Severity};
use crate::control::message::{self, Cause, ConfigSource, Refused, Serves, Start};
use crate::control::payload::Payload;
use crate::observe::Plural;
use crate::proxy::certificate_problem::CertificateProblem;
use crate::proxy::upstream_tls::UpstreamTlsProblem;

/// A configuration that can be served.
#[derive(Debug)]
pub struct Configuration {
    /// The checked values.
    pub config: Config,
    /// Equal for equal configurations.
    pub hash: String,
    /// In one line.
    pub summary: String,
    /// Warnings, rendered.
    pub warnings: Vec<String>,
    /// The sources from which another worker makes the same configuration.
    pub sources: Payload,
    /// What it has otherwise than the configuration that serves, a line for each thing; not all, if it is much.
    pub changes: Vec<String>,
    /// The same, for the places of problems that are found later.
    written: Sources,
}

impl Configuration {
    /// Reads and checks the configuration that the first message names; `remembered` is its payload, which already
    /// includes what the command line set.
    ///
    /// # Errors
    /// Every problem, rendered.
    pub fn load(start: &Start, remembered: Option<Payload>) -> Result<Self, Refused> {
        let sources = match &start.config {
            ConfigSource::File(path) => Sources::read(path, &start.set).map_err(|problems| refused(&problems))?,
            ConfigSource::Remembered => read_remembered(remembered)?,
        };
        let checked = sources.check();
        let Some(config) = checked.config else {
            let refusing: Vec<_> = checked.problems.into_iter().filter(Problem::refuses).collect();
            return Err(refused(&refusing));
        };
        if matches!(start.config, ConfigSource::File(_)) && Serves::from(&config).lost(start.keeps) {
            return Err(refused(&taken_away(&sources, start.keeps, checked.problems)));
        }
        let kept = serde_json::to_vec(&sources).map_err(std::io::Error::other).and_then(|bytes| Payload::new(&bytes));
        Ok(Self {
            hash: sources.hash().unwrap_or_default(),
            summary: summary(&config),
            warnings: checked.problems.iter().map(|problem| problem.render(RenderStyle::Plain)).collect(),
            sources: kept.map_err(|fault| system(format!("the configuration cannot be kept: {fault}")))?,
            config,
            changes: Vec::new(),
            written: sources,
        })
    }

    /// Notes what is different in the configuration that serves. One that this version cannot read is said to be that.
    pub fn compare(&mut self, serving: &Payload) {
        let read = serving.read().ok().and_then(|bytes| serde_json::from_slice::<Sources>(&bytes).ok());
        self.changes = match read.and_then(|sources| sources.check().config) {
            Some(serving) => shortened(diff(&serving, &self.config)),
            None => {
                vec!["what is different is not known: the configuration before is none for this version".to_owned()]
            }
        };
    }

    /// What is wrong with the keys of session tickets, rendered.
    #[must_use]
    pub fn of_ticket_keys(&self, wrong: Option<String>) -> Vec<String> {
        self.warnings_of_files(wrong.map(warning_of_ticket_keys).into_iter().collect())
    }

    /// What is wrong with the files for TLS to servers, as warnings, rendered; or refused while another generation serves, which
    /// goes on as it is.
    ///
    /// # Errors
    /// Every problem, rendered.
    pub fn of_servers(&self, found: &[UpstreamTlsProblem], start: &Start) -> Result<Vec<String>, Refused> {
        let refuses = matches!(start.config, ConfigSource::File(_)) && (start.keeps.sites || start.keeps.tcp);
        let found = found.iter().map(|one| one.as_problem(refuses)).collect();
        let problems = self.written.problems_of_files(found);
        match refuses && !problems.is_empty() {
            true => Err(refused(&problems)),
            false => Ok(problems.iter().map(|problem| problem.render(RenderStyle::Plain)).collect()),
        }
    }

    /// What is wrong with certificates, rendered.
    #[must_use]
    pub fn of_certificates(&self, found: Vec<CertificateProblem>) -> Vec<String> {
        self.warnings_of_files(found.into_iter().map(CertificateProblem::into_warning).collect())
    }

    fn warnings_of_files(&self, found: Vec<FileProblem>) -> Vec<String> {
        let warnings = self.written.problems_of_files(found);
        warnings.iter().map(|problem| problem.render(RenderStyle::Plain)).collect()
    }
}

/// Says that the keys of session tickets cannot be used.
#[must_use]
pub fn warning_of_ticket_keys(message: String) -> FileProblem {
    let help = Some("each machine needs the same file, which the user of the service can read".to_owned());
    FileProblem { table: "tls".to_owned(), key: "ticket_keys", message, help, refuses: false }
}

impl From<&Config> for Serves {
    fn from(config: &Config) -> Self {
        Self { sites: !config.sites.is_empty(), tcp: !config.tcp.is_empty() }
    }
}

/// Why a configuration is refused that has nothing of what serves now. Its warnings may explain that, such as a file
/// that is ignored because of its name.
fn taken_away(sources: &Sources, keeps: Serves, warnings: Vec<Problem>) -> Vec<Problem> {
    let what = if keeps.sites { "site" } else { "TCP listener" };
    let message = format!("{}: this takes the last {what} away, and the one that serves has some", sources.main.path);
    let help = "put it back; or, if every client is to be turned away, say `segue reload --force`";
    let problem = Problem::new(Severity::Error, message, help);
    // one of them says only that there is no site
    warnings.into_iter().filter(|warning| warning.key != "site").chain([problem]).collect()
}

/// As many of the lines as an entry of the journal has room for, and how many others there are.
fn shortened(lines: Vec<String>) -> Vec<String> {
    let mut room = MOST_OF_CHANGES;
    let (count, cut) = (lines.len(), |line: String| line.chars().take(LONGEST_CHANGE).collect::<String>());
    let fits = |line: &String| {
        room = room.saturating_sub(line.len());
        room > 0
    };
    let mut kept: Vec<_> = lines.into_iter().map(cut).take_while(fits).collect();
    if kept.len() < count {
        kept.push(format!("and {}", Plural((count - kept.len()) as u64, "more difference")));
    }
    kept
}

/// Bytes of all lines about changes: no field of an entry has 4 KB.
const MOST_OF_CHANGES: usize = 2_400;
/// Characters of one.
const LONGEST_CHANGE: usize = 200;

fn read_remembered(remembered: Option<Payload>) -> Result<Sources, Refused> {
    let remembered = remembered.ok_or_else(|| system("the supervisor sent no configuration".to_owned()))?;
    let sources = remembered.read().and_then(|bytes| serde_json::from_slice(&bytes).map_err(std::io::Error::other));
    sources.map_err(|fault| system(format!("the last good configuration cannot be read: {fault}")))
}

/// A refusal for a reason that no other configuration would cure.
#[must_use]
pub fn system(sentence: String) -> Refused {
    Refused { cause: Cause::System, problems: vec![message::RenderedProblem::plain(sentence)] }
}

fn refused(problems: &[Problem]) -> Refused {
    let rendered = |problem: &Problem| message::RenderedProblem {
        brief: problem.to_string(),
        text: problem.render(RenderStyle::Plain),
    };
    Refused { cause: Cause::Config, problems: problems.iter().map(rendered).collect() }
}

fn summary(config: &Config) -> String {
    let servers = config.pools.iter().map(|pool| pool.servers.len()).sum();
    let parts = [
        (config.listeners.len() + config.tcp.len(), "listener"),
        (config.sites.len(), "site"),
        (config.pools.len(), "pool"),
        (servers, "server"),
    ];
    let parts = parts.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    parts.join(", ")
}
