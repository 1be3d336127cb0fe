//! Lines about one field of requests or responses.

use super::section::Directive;

/// What becomes of such a line.
#[derive(Debug, PartialEq, Eq)]
pub enum FieldFate {
    /// Segue does that itself.
    Own(String),
    /// Segue writes the field itself, and perhaps with another value.
    Otherwise(String),
    /// It is lost, and clients have nothing from that.
    Lost(String),
    /// It is lost, and clients could have something from that.
    Guarded(String),
    /// `Strict-Transport-Security` with this value.
    Hsts(String),
}

/// Fields of requests that are written for every request.
const WRITTEN: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "x-real-ip", "via"];
/// Fields of requests that are taken out unless a trusted proxy sends them.
const TAKEN_OUT: [&str; 6] =
    ["forwarded", "x-ssl-client-verify", "x-ssl-client-dn", "x-ssl-client-cn", "x-ssl-client-serial", "client-cert"];
/// Fields of responses that tell of the program alone.
const OF_PROGRAMS: [&str; 8] =
    ["server", "via", "x-powered-by", "x-aspnet-version", "x-aspnetmvc-version", "x-runtime", "x-version", "x-varnish"];

/// What becomes of a line, when it is about one field. `is_tls` says whether all clients of the section speak TLS.
#[must_use]
pub fn of(directive: &Directive, is_tls: bool) -> Option<FieldFate> {
    let (first, second) = (directive.word(0), directive.word(1));
    let in_old_form = || second.split(':').next().unwrap_or_default().trim_start_matches('^').trim().to_owned();
    let named = |name: String| name.replace("\\ ", " ").replace('\\', "").to_ascii_lowercase();
    let is_same = |name: &str, value: &str| is_written_so(name, value, directive, is_tls);
    let is_written = |fate: &FieldFate| matches!(fate, FieldFate::Own(_) | FieldFate::Otherwise(_));
    match (first, second) {
        ("http-request", "set-header" | "add-header" | "del-header" | "replace-header" | "replace-value") => {
            let name = directive.word(2).to_ascii_lowercase();
            let removes = second == "del-header";
            let fate = of_request(&name, removes, removes || is_same(&name, directive.word(3)));
            fate.filter(|fate| second != "add-header" || is_written(fate))
        }
        ("reqadd", _) => {
            let name = named(in_old_form());
            let value = second.split_once(':').map_or("", |(_, value)| value.trim_start_matches(['\\', ' ']));
            of_request(&name, false, is_same(name.trim(), value)).filter(is_written)
        }
        ("reqdel" | "reqidel", _) => of_request(&named(in_old_form()), true, true),
        ("http-response" | "http-after-response", "set-header" | "add-header") => {
            of_response(directive.word(2), directive.word(3), directive)
        }
        ("rspadd", _) => {
            let (name, value) = second.split_once(':').unwrap_or((second, ""));
            of_response(name, value.trim(), directive)
        }
        ("http-response" | "http-after-response", "del-header") => {
            Some(removed(&directive.word(2).to_ascii_lowercase()))
        }
        ("rspdel" | "rspidel", _) => Some(removed(&named(in_old_form()))),
        _ => None,
    }
}

/// Whether segue writes the field with this value too.
fn is_written_so(name: &str, value: &str, directive: &Directive, is_tls: bool) -> bool {
    let condition = directive.words.iter().position(|word| word == "if" || word == "unless");
    let condition = condition.map(|at| directive.words[at..].join(" ")).unwrap_or_default();
    let is_one_of = |values: &[&str]| condition.is_empty() && values.contains(&value);
    match name {
        "x-forwarded-for" | "x-real-ip" => is_one_of(&["%[src]", "%ci"]),
        "x-forwarded-host" => is_one_of(&["%[req.hdr(host)]", "%[hdr(host)]", "%[req.hdr(Host)]"]),
        "x-request-id" => is_one_of(&["%[unique-id]", "%[uuid()]", "%[uuid]", "%ID"]),
        "x-forwarded-proto" => match value {
            "https" => condition == "if { ssl_fc }" || is_tls && condition.is_empty(),
            "http" => ["if !{ ssl_fc }", "unless { ssl_fc }"].contains(&condition.as_str()),
            _ => is_one_of(&["%[ssl_fc,iif(https,http)]"]),
        },
        _ => false,
    }
}

fn of_request(name: &str, removes: bool, is_same: bool) -> Option<FieldFate> {
    let name = name.trim();
    if WRITTEN.contains(&name) && is_same {
        return Some(FieldFate::Own(format!("segue writes {name} itself: segue.toml(5), HEADER FIELDS")));
    }
    if WRITTEN.contains(&name) {
        let sentence = format!(
            "segue writes {name} itself: where a proxy before it is to be believed, write trusted_proxies of the listener"
        );
        return Some(FieldFate::Otherwise(sentence));
    }
    let taken_out = "one that a client sends is taken out";
    match name.starts_with("x-forwarded-") || TAKEN_OUT.contains(&name) {
        true if removes => Some(FieldFate::Own(taken_out.to_owned())),
        true => Some(FieldFate::Lost(format!("servers do not get {name}; {taken_out}"))),
        false => None,
    }
}

fn of_response(name: &str, value: &str, directive: &Directive) -> Option<FieldFate> {
    let always = !directive.words.iter().any(|word| word == "if" || word == "unless")
        || directive.words.windows(3).any(|words| words == ["{", "ssl_fc", "}"]);
    let hsts = name.eq_ignore_ascii_case("strict-transport-security") && always;
    hsts.then(|| FieldFate::Hsts(value.to_owned())).or_else(|| {
        let sentence = "responses go on as servers send them: let the servers have it";
        Some(FieldFate::Lost(sentence.to_owned()))
    })
}

fn removed(name: &str) -> FieldFate {
    let name = name.trim();
    match OF_PROGRAMS.contains(&name) {
        true => FieldFate::Lost("responses go on as servers send them: turn it off there".to_owned()),
        false => FieldFate::Guarded(format!("responses go on as servers send them, and clients would see {name}")),
    }
}

/// `Strict-Transport-Security` as `hsts` of a site: in TOML.
#[must_use]
pub fn hsts(value: &str) -> Option<String> {
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let seconds: u64 = parts.clone().find_map(|part| part.strip_prefix("max-age=")?.trim_matches('"').parse().ok())?;
    let has = |name: &str| parts.clone().any(|part| part == name);
    let days = seconds / (24 * 60 * 60);
    let age = if days * 24 * 60 * 60 == seconds { format!("{days}days") } else { format!("{seconds}s") };
    let more = [("includesubdomains", "include_subdomains"), ("preload", "preload")];
    let more: String = more.iter().filter(|(name, _)| has(name)).map(|(_, key)| format!(", {key} = true")).collect();
    let is_last = parts.by_ref().count() > 0 && seconds > 0;
    is_last.then(|| if more.is_empty() { format!("\"{age}\"") } else { format!("{{ max_age = \"{age}\"{more} }}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(line: &str) -> Option<FieldFate> {
        let words = line.split('|').map(str::to_owned).collect();
        of(&Directive { line: 1, words, negated: false }, false)
    }

    #[test]
    fn a_field_that_a_client_could_write_itself_is_guarded() {
        for own in [
            "http-request|set-header|X-Forwarded-Proto|https|if|{|ssl_fc|}",
            "http-request|set-header|X-Forwarded-For|%[src]",
            "http-request|del-header|X-Forwarded-For",
        ] {
            assert!(matches!(fate(own), Some(FieldFate::Own(_))), "{own}");
        }
        for other in [
            "http-request|set-header|X-Forwarded-Proto|https",
            "http-request|add-header|X-Forwarded-Proto|https",
            "http-request|set-header|X-Forwarded-Proto|https|if|!{|ssl_fc|}",
            "http-request|set-header|X-Forwarded-For|%[req.hdr(CF-Connecting-IP)]",
            "http-request|replace-header|X-Forwarded-For|a|%[src]|if|x",
            "reqadd|X-Forwarded-Proto:\\ https",
        ] {
            assert!(matches!(fate(other), Some(FieldFate::Otherwise(_))), "{other}");
        }
        assert!(matches!(fate("http-request|set-header|X-Forwarded-Port|443"), Some(FieldFate::Lost(_))));
        assert!(matches!(fate("http-request|del-header|X-Forwarded-Port"), Some(FieldFate::Own(_))));
        assert_eq!(fate("http-request|set-header|X-User|%[src]"), None);
        assert!(matches!(fate("reqidel|^X-Forwarded-For:.*"), Some(FieldFate::Own(_))));
        assert_eq!(fate("reqidel|^X-Secret:.*"), None);
        assert!(matches!(fate("rspidel|^Server:.*"), Some(FieldFate::Lost(_))));
        assert!(matches!(fate("http-response|del-header|X-Token"), Some(FieldFate::Guarded(_))));
    }

    #[test]
    fn hsts_is_a_key_of_sites() {
        assert_eq!(hsts("max-age=31557600").as_deref(), Some("\"31557600s\""));
        let whole = hsts("max-age=86400; includeSubDomains; preload");
        assert_eq!(whole.as_deref(), Some("{ max_age = \"1days\", include_subdomains = true, preload = true }"));
        assert_eq!(hsts("none"), None);
        let set = fate("http-response|set-header|Strict-Transport-Security|max-age=1");
        assert_eq!(set, Some(FieldFate::Hsts("max-age=1".to_owned())));
    }
}
