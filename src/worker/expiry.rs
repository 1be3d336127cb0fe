//! Which certificates were said to expire, so that it is said once for each step, over reloads and restarts too.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::proxy::certificate_problem::days;

/// How many days a certificate has left when it is said; the last one is that it has expired.
const STEPS: [i64; 6] = [30, 14, 7, 3, 1, -1];

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryWarnings(Vec<ExpiryWarning>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ExpiryWarning {
    /// The file of the certificate.
    file: String,
    /// When the certificate expires, in seconds since 1970: a renewed one begins anew.
    until: u64,
    /// The step.
    step: i64,
}

impl ExpiryWarnings {
    /// How many days the certificate has left, if that is to be said now.
    pub fn due(&mut self, file: &str, until: SystemTime, now: SystemTime) -> Option<i64> {
        let days = days(now, until);
        let step = STEPS.into_iter().rfind(|step| days <= *step)?;
        let until = until.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |until| until.as_secs());
        match self.0.iter_mut().find(|one| one.file == file) {
            Some(said) if said.until == until && said.step <= step => return None,
            Some(said) => (said.until, said.step) = (until, step),
            None => self.0.push(ExpiryWarning { file: file.to_owned(), until, step }),
        }
        Some(days)
    }

    /// Forgets all files but these.
    pub fn retain(&mut self, files: &[String]) {
        self.0.retain(|one| files.contains(&one.file));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_step_is_said_once_and_a_renewed_certificate_begins_anew() {
        let day = Duration::from_secs(24 * 60 * 60);
        let until = SystemTime::UNIX_EPOCH + 20_000 * day;
        let mut warnings = ExpiryWarnings::default();
        let mut said = Vec::new();
        for hours in (0..24 * 45).rev() {
            let left = Duration::from_secs(hours * 3600 + 1);
            said.extend(warnings.due("a.pem", until, until - left));
            // what the next generation knows
            warnings = serde_json::from_str(&serde_json::to_string(&warnings).expect("JSON")).expect("warnings");
        }
        assert_eq!(said, [30, 14, 7, 3, 1]);
        assert_eq!(warnings.due("a.pem", until, until + Duration::from_secs(1)), Some(-1));
        assert_eq!(warnings.due("a.pem", until, until + 3 * day), None);
        assert_eq!(warnings.due("a.pem", until + 10 * day, until), Some(10), "another one");
        assert_eq!(warnings.due("b.pem", until + 10 * day, until), Some(10));
        assert_eq!(warnings.due("c.pem", until + 31 * day, until), None);
        warnings.retain(&["b.pem".to_owned()]);
        assert_eq!(warnings.0.len(), 1);
    }
}
