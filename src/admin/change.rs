//! What a request wants to set for a server.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use super::servers::listed;

use crate::control::admin::{AdminChange, AdminValue, Operator, millis};
use crate::control::status::{PoolStatus, ServerStatus, ServiceStatus};

/// As the configuration bounds weights.
const LARGEST_WEIGHT: u32 = 1000;
/// For longer than this the configuration is the place.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// In characters.
const LONGEST_REASON: usize = 200;

/// The body of `POST /v1/pools/POOL/servers/SERVER`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRequest {
    state: Option<String>,
    /// Null undoes it.
    #[serde(default, deserialize_with = "some")]
    weight: Option<Value>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    reason: Option<String>,
}

/// Tells a key that is null from one that is missing.
fn some<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A server of the generation that serves.
pub(super) struct KnownServer<'a> {
    /// Its pool.
    pub(super) pool: &'a PoolStatus,
    /// It.
    pub(super) server: &'a ServerStatus,
}

/// Finds a server.
///
/// # Errors
/// What there is instead, in a sentence.
pub(super) fn find<'a>(status: &'a ServiceStatus, pool: &str, server: &str) -> Result<KnownServer<'a>, String> {
    let pools = status.serving_worker().map_or(&[][..], |worker| &worker.pools);
    let Some(found) = pools.iter().find(|one| one.name == pool) else {
        return Err(format!("no pool {pool}; there is {}", listed(pools.iter().map(|one| one.name.as_str()))));
    };
    let mut servers = found.servers.iter().filter(|one| !one.removed);
    match servers.clone().find(|one| one.name == server) {
        Some(server) => Ok(KnownServer { pool: found, server }),
        None => {
            let names = listed(servers.by_ref().map(|one| one.name.as_str()));
            Err(format!("no server {server} in pool {pool}; it has {names}"))
        }
    }
}

impl ChangeRequest {
    /// The body as it came.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|fault| format!("the body is no JSON of this kind: {fault}"))
    }

    /// The changes that make it so.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn changes(
        self,
        at: &KnownServer<'_>,
        by: &Operator,
        now: SystemTime,
    ) -> Result<Vec<AdminChange>, String> {
        let values = self.values(at)?;
        let lasts = self.lasts.as_deref().map(time).transpose()?;
        let reason = self.reason.map(|given| reason(&given)).transpose()?.flatten();
        if lasts.is_some() && values.iter().any(|value| value.undoes()) {
            return Err("what undoes something has no time".to_owned());
        }
        let change = |value| AdminChange {
            revision: 0,
            pool: at.pool.name.clone(),
            server: at.server.name.clone(),
            value,
            by: by.clone(),
            reason: reason.clone(),
            since: millis(now),
            until: lasts.map(|lasts| millis(now + lasts)),
        };
        Ok(values.into_iter().map(change).collect())
    }

    fn values(&self, at: &KnownServer<'_>) -> Result<Vec<AdminValue>, String> {
        let state = self.state.as_deref().map(|state| match state {
            "ready" => Ok(AdminValue::Ready),
            "drain" => Ok(AdminValue::Drain),
            "maint" => Ok(AdminValue::Maint),
            other => Err(format!("no state {other}: it is \"ready\", \"drain\" or \"maint\"")),
        });
        let weight = self.weight.as_ref().map(|weight| match weight {
            Value::Null => Ok(AdminValue::ConfiguredWeight),
            weight => match weight.as_u64().and_then(|weight| u32::try_from(weight).ok()) {
                Some(weight) if weight <= LARGEST_WEIGHT => {
                    Ok(AdminValue::Weight { weight, configured: at.server.weight })
                }
                _ => Err(format!(
                    "a weight is a whole number from 0 to {LARGEST_WEIGHT}, or null for that of the configuration"
                )),
            },
        });
        let values = state.into_iter().chain(weight).collect::<Result<Vec<_>, _>>()?;
        if values.is_empty() { Err("neither \"state\" nor \"weight\" is given".to_owned()) } else { Ok(values) }
    }
}

/// The reason that is given for a change; none where the text is empty.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(super) fn reason(text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.chars().count() > LONGEST_REASON {
        return Err(format!("a reason has {LONGEST_REASON} characters at most"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() || time > LONGEST => Err(format!("\"{text}\" is not from 1ms to a year")),
        Ok(time) => Ok(time),
        Err(fault) => Err(format!("\"{text}\" is no time ({fault}): write for example \"30m\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> ServiceStatus {
        let servers = json!([{ "name": "10.0.0.11:80", "weight": 2 }, { "name": "old:80", "removed": true }]);
        let pools = json!([{ "name": "web-farm", "servers": servers }]);
        let generations = json!([{ "generation": 1, "state": "serving", "worker": { "pools": pools } }]);
        serde_json::from_value(json!({ "generations": generations })).expect("a status")
    }

    fn asked(body: &str) -> Result<Vec<AdminChange>, String> {
        let status = status();
        let place = find(&status, "web-farm", "10.0.0.11:80").expect("the server");
        ChangeRequest::read(body.as_bytes())?.changes(&place, &Operator::default(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn what_is_set_has_its_reason_and_its_time() {
        let changes = asked(r#"{"state":"drain","weight":5,"for":"30m","reason":" disk "}"#).expect("good");
        let values: Vec<_> = changes.iter().map(|one| one.value).collect();
        assert_eq!(values, [AdminValue::Drain, AdminValue::Weight { weight: 5, configured: 2 }]);
        assert_eq!((changes[0].until, changes[0].reason.as_deref()), (Some(1_800_000), Some("disk")));
        assert_eq!(asked(r#"{"weight":null}"#).expect("good")[0].value, AdminValue::ConfiguredWeight);
    }

    #[test]
    fn what_cannot_be_set_is_said_with_what_can() {
        for (body, said) in [
            ("", "no JSON"),
            ("[]", "no JSON"),
            ("{}", "neither"),
            (r#"{"sate":"drain"}"#, "unknown field `sate`"),
            (r#"{"state":"down"}"#, r#"no state down: it is "ready""#),
            (r#"{"weight":-1}"#, "0 to 1000"),
            (r#"{"weight":1001}"#, "0 to 1000"),
            (r#"{"weight":"5"}"#, "0 to 1000"),
            (r#"{"state":"drain","for":"30"}"#, "30m"),
            (r#"{"state":"drain","for":"0s"}"#, "from 1ms"),
            (r#"{"state":"ready","for":"5m"}"#, "no time"),
        ] {
            let fault = asked(body).expect_err(body);
            assert!(fault.contains(said), "{body}: {fault}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_said_with_those_that_are() {
        let status = status();
        let fault = |pool, server| find(&status, pool, server).err().expect("missing");
        assert_eq!(fault("web-farm", "old:80"), "no server old:80 in pool web-farm; it has 10.0.0.11:80");
        assert_eq!(fault("farm", "old:80"), "no pool farm; there is web-farm");
    }
}
