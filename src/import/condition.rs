//! Conditions of rules: ACLs, `if` and `unless` (section 7 of the manual of HAProxy).

use super::host::{HostMatch, HostTest, Truth};
use crate::config::HostPattern;

/// What a listener is that a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKind {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its port, where it has one.
    pub port: Option<u16>,
    /// Whether it speaks HTTP, or relays bytes.
    pub http: bool,
}

/// One test of an ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AclTest {
    /// `Host` of a request.
    Host(HostTest),
    /// The name in the TLS handshake, ended here or not.
    Sni {
        test: HostTest,
        ended_here: bool,
    },
    /// `ssl_fc`.
    Tls,
    /// `dst_port`.
    Port(Vec<u16>),
    Always(bool),
    /// Something that begins with `TLS` where the listener looks at names.
    ClientHello,
    /// A path of challenges of certificate authorities.
    Challenge,
    Unknown,
}

/// A named ACL: it holds when one of its tests does.
#[derive(Clone, Debug)]
pub struct Acl {
    /// The name; several of one name are one.
    pub name: String,
    tests: Vec<AclTest>,
}

/// What `if` or `unless` say: one of these lists, of which everything must hold.
#[derive(Clone, Debug, Default)]
pub struct AclCondition {
    lists: Vec<Vec<(bool, Vec<AclTest>)>>,
    unless: bool,
    given: bool,
}

impl Acl {
    /// Of the words after `acl`.
    #[must_use]
    pub fn read(words: &[String]) -> Option<Self> {
        let (name, rest) = words.split_first()?;
        Some(Self { name: name.clone(), tests: tests(rest) })
    }

    /// Whether nothing here can tell it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.tests.contains(&AclTest::Unknown)
            || self.tests.iter().flat_map(host_test).any(|test| test.matching == HostMatch::Other)
    }
}

impl AclCondition {
    /// Of the words of a rule, from `if` or `unless` on, with the ACLs of its section. The words before that come too.
    #[must_use]
    pub fn split<'a>(words: &'a [String], acls: &[Acl]) -> (&'a [String], Self) {
        let Some(at) = words.iter().position(|word| word == "if" || word == "unless") else {
            return (words, Self::default());
        };
        (&words[..at], Self::read(&words[at + 1..], words[at] == "unless", acls))
    }

    fn read(words: &[String], unless: bool, acls: &[Acl]) -> Self {
        let mut lists = vec![Vec::new()];
        let mut negated = false;
        let mut at = 0;
        while at < words.len() {
            let word = words[at].as_str();
            at += 1;
            let name = word.trim_start_matches('!');
            negated ^= (word.len() - name.len()) % 2 == 1;
            let found = match name {
                "" => continue,
                "||" | "or" | "OR" => {
                    lists.push(Vec::new());
                    continue;
                }
                "{" => {
                    let end = words[at..].iter().position(|word| word == "}").map_or(words.len(), |end| at + end);
                    let inner = tests(&words[at..end]);
                    at = end + 1;
                    inner
                }
                name => of_name(name, acls),
            };
            if let Some(list) = lists.last_mut() {
                list.push((std::mem::take(&mut negated), found));
            }
        }
        Self { lists, unless, given: true }
    }

    /// Whether it holds for the hosts of `region` that come to such a listener.
    #[must_use]
    pub fn on(&self, region: &HostPattern, socket: SocketKind) -> Truth {
        self.with_challenges(region, socket, Truth::Hardly)
    }

    /// The same, but for challenges of certificate authorities.
    #[must_use]
    pub fn on_all_but_challenges(&self, region: &HostPattern, socket: SocketKind) -> Truth {
        self.with_challenges(region, socket, Truth::No)
    }

    /// Whether it asks for challenges of certificate authorities.
    #[must_use]
    pub fn is_of_challenges(&self) -> bool {
        self.lists.iter().flatten().any(|(_, tests)| tests.contains(&AclTest::Challenge))
    }

    fn with_challenges(&self, region: &HostPattern, socket: SocketKind, challenges: Truth) -> Truth {
        if !self.given {
            return Truth::Yes;
        }
        let of_test = |test: &AclTest| if *test == AclTest::Challenge { challenges } else { on(test, region, socket) };
        let of_tests = |tests: &Vec<AclTest>| tests.iter().map(of_test).fold(Truth::No, Truth::or);
        let of_list = |list: &Vec<(bool, Vec<AclTest>)>| {
            let each = list.iter().map(|(negated, tests)| if *negated { !of_tests(tests) } else { of_tests(tests) });
            each.fold(Truth::Yes, Truth::and)
        };
        let truth = self.lists.iter().map(of_list).fold(Truth::No, Truth::or);
        if self.unless { !truth } else { truth }
    }

    /// The hosts that it makes a difference for.
    pub fn patterns(&self) -> impl Iterator<Item = HostPattern> {
        let tests = self.lists.iter().flatten().flat_map(|(_, tests)| tests);
        tests.flat_map(host_test).flat_map(HostTest::patterns)
    }
}

fn host_test(test: &AclTest) -> Option<&HostTest> {
    match test {
        AclTest::Host(test) | AclTest::Sni { test, .. } => Some(test),
        _ => None,
    }
}

fn on(test: &AclTest, region: &HostPattern, socket: SocketKind) -> Truth {
    match test {
        AclTest::Host(test) if socket.http => test.on(region),
        AclTest::Sni { test, ended_here } if !socket.http && *ended_here == socket.tls => test.on(region),
        AclTest::Sni { ended_here: true, .. } if !socket.tls => Truth::No,
        AclTest::Tls if socket.tls => Truth::Yes,
        AclTest::Tls => Truth::No,
        AclTest::Port(ports) => match socket.port {
            Some(port) if ports.contains(&port) => Truth::Yes,
            Some(_) => Truth::No,
            None => Truth::Unknown,
        },
        AclTest::Always(true) => Truth::Yes,
        AclTest::Always(false) => Truth::No,
        AclTest::ClientHello if !socket.http && *region != HostPattern::Any => Truth::Yes,
        // the host in the handshake and that of the request may differ
        _ => Truth::Unknown,
    }
}

/// The tests of a name: its own, those of a predefined ACL, or none that is known.
fn of_name(name: &str, acls: &[Acl]) -> Vec<AclTest> {
    let own: Vec<_> = acls.iter().filter(|acl| acl.name == name).flat_map(|acl| acl.tests.clone()).collect();
    match name {
        _ if !own.is_empty() => own,
        "TRUE" => vec![AclTest::Always(true)],
        "FALSE" => vec![AclTest::Always(false)],
        _ => vec![AclTest::Unknown],
    }
}

/// Of a criterion with its flags and patterns, such as `hdr(host) -i www.example.com`.
fn tests(words: &[String]) -> Vec<AclTest> {
    let Some((criterion, rest)) = words.split_first() else { return vec![AclTest::Unknown] };
    let (mut method, mut ignores_case) = (None, false);
    let mut rest = rest.iter().map(String::as_str).peekable();
    while let Some(flag) = rest.next_if(|word| word.starts_with('-') && word.len() > 1) {
        match flag {
            "-i" => ignores_case = true,
            "-n" => {}
            "-m" => method = rest.next(),
            "--" => break,
            // of a file, or by an identifier
            _ => return vec![AclTest::Unknown],
        }
    }
    let patterns: Vec<&str> = rest.collect();
    let (name, converters) = criterion.split_once(',').unwrap_or((criterion, ""));
    let lower = name.to_ascii_lowercase();
    let is_plain =
        converters.split(',').all(|one| ["", "lower", "host_only", "field(1", ":)", "word(1"].contains(&one));
    let (fetch, by_name) = matched_by_name(&lower);
    let matching = match method.or(by_name).unwrap_or("str") {
        _ if !is_plain => HostMatch::Other,
        "str" => HostMatch::Whole,
        "end" => HostMatch::End,
        "beg" => HostMatch::Begin,
        "sub" => HostMatch::Part,
        "dom" => HostMatch::Domain,
        _ => HostMatch::Other,
    };
    let is_bare = converters.is_empty() && method.or(by_name).is_none();
    let by_case = |text: &str| !ignores_case && text.bytes().any(|byte| byte.is_ascii_uppercase());
    let each = || {
        let patterns = patterns.iter();
        patterns.map(|text| HostTest { matching, text: text.to_ascii_lowercase(), has_capitals: by_case(text) })
    };
    let found: Vec<_> = match fetch.as_str() {
        "hdr(host)" | "req.hdr(host)" => each().map(AclTest::Host).collect(),
        "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" => {
            each().map(|test| AclTest::Sni { test, ended_here: fetch == "ssl_fc_sni" }).collect()
        }
        // a converter or a method may turn these round
        "ssl_fc" | "always_true" | "always_false" | "dst_port" | "req_ssl_hello_type" | "req.ssl_hello_type"
            if !is_bare =>
        {
            Vec::new()
        }
        "ssl_fc" if patterns.is_empty() => vec![AclTest::Tls],
        "dst_port" => {
            let ports: Option<Vec<u16>> =
                patterns.iter().filter(|word| **word != "eq").map(|port| port.parse().ok()).collect();
            ports.filter(|ports| !ports.is_empty()).map(AclTest::Port).into_iter().collect()
        }
        "always_true" if patterns.is_empty() => vec![AclTest::Always(true)],
        "always_false" if patterns.is_empty() => vec![AclTest::Always(false)],
        "path" if matching == HostMatch::Begin && !patterns.is_empty() && patterns.iter().all(is_challenge) => {
            vec![AclTest::Challenge]
        }
        "req_ssl_hello_type" | "req.ssl_hello_type" if patterns == ["1"] => vec![AclTest::ClientHello],
        _ => Vec::new(),
    };
    if found.is_empty() { vec![AclTest::Unknown] } else { found }
}

fn is_challenge(path: &&str) -> bool {
    path.starts_with("/.well-known/acme-challenge")
}

/// The fetch, and the method that its name brings: `hdr_dom(host)` is `hdr(host) -m dom`.
fn matched_by_name(name: &str) -> (String, Option<&'static str>) {
    for method in ["dom", "end", "beg", "sub", "reg", "dir", "len", "cnt"] {
        let (inside, at_end) = (format!("_{method}("), format!("_{method}"));
        if let Some(at) = name.find(&inside) {
            return (format!("{}{}", &name[..at], &name[at + inside.len() - 1..]), Some(method));
        }
        if let Some(fetch) = name.strip_suffix(&at_end) {
            return (fetch.to_owned(), Some(method));
        }
    }
    (name.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::host_pattern;

    const PLAIN: SocketKind = SocketKind { tls: false, port: Some(80), http: true };
    const TLS: SocketKind = SocketKind { tls: true, port: Some(443), http: true };
    const BYTES: SocketKind = SocketKind { tls: false, port: Some(443), http: false };

    fn truth(acls: &[&str], rule: &str, host: &str, socket: SocketKind) -> Truth {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let acls: Vec<_> = acls.iter().filter_map(|acl| Acl::read(&words(acl))).collect();
        let rule = words(rule);
        let (_, condition) = AclCondition::split(&rule, &acls);
        condition.on(&host_pattern(host).expect("a pattern"), socket)
    }

    #[test]
    fn hosts_and_listeners_are_known_and_nothing_else() {
        let acls = ["www hdr(host) -i www.test a.test", "www hdr_end(host) .b.test", "api path_beg /api"];
        assert_eq!(truth(&acls, "x if www", "a.test", PLAIN), Truth::Yes);
        assert_eq!(truth(&acls, "x if www", "*.b.test", PLAIN), Truth::Yes);
        assert_eq!(truth(&acls, "x if !www", "*", PLAIN), Truth::Yes);
        assert_eq!(truth(&acls, "x unless www", "*", PLAIN), Truth::Yes);
        assert_eq!(truth(&acls, "x if www api", "a.test", PLAIN), Truth::Unknown);
        assert_eq!(truth(&acls, "x if www api", "c.test", PLAIN), Truth::No);
        assert_eq!(truth(&acls, "x if api || www", "a.test", PLAIN), Truth::Yes);
        assert_eq!(truth(&acls, "x if gone", "a.test", PLAIN), Truth::Unknown);
        assert_eq!(truth(&[], "x if ! { ssl_fc }", "*", PLAIN), Truth::Yes);
        assert_eq!(truth(&[], "x unless { ssl_fc }", "*", TLS), Truth::No);
        assert_eq!(truth(&[], "x if { dst_port 80 }", "*", PLAIN), Truth::Yes);
        assert_eq!(truth(&[], "x if { hdr(host) -f /hosts }", "*", PLAIN), Truth::Unknown);
        assert_eq!(truth(&[], "x if { hdr(host) A.test }", "a.test", PLAIN), Truth::Hardly, "clients write a.test");
        assert_eq!(truth(&[], "x unless { hdr(host) A.test }", "a.test", PLAIN), Truth::Unknown);
        assert_eq!(truth(&[], "x if { hdr(host) A.test }", "*", PLAIN), Truth::No);
        assert_eq!(truth(&[], "x if { hdr(host) -i A.test }", "a.test", PLAIN), Truth::Yes);
        assert_eq!(truth(&[], "x if { req.hdr(Host),lower -m dom a.test }", "*.a.test", PLAIN), Truth::Yes);
        assert_eq!(truth(&[], "x if { req.hdr(host),lower,map(/m) a.test }", "a.test", PLAIN), Truth::Unknown);
        assert_eq!(truth(&[], "x", "*", PLAIN), Truth::Yes);
    }

    #[test]
    fn a_test_with_a_converter_or_a_method_is_not_the_one_without() {
        for test in [
            "ssl_fc,not",
            "ssl_fc -m found",
            "always_false,not",
            "always_true,not",
            "always_true -m bool 0",
            "always_true 0",
            "dst_port",
            "dst_port eq",
            "dst_port -m found",
            "dst_port,sub(1) 80",
            "dst_port ge 80",
        ] {
            assert_eq!(truth(&[], &format!("x if {{ {test} }}"), "*", PLAIN), Truth::Unknown, "{test}");
        }
        for test in ["req_ssl_hello_type,not 1", "req.ssl_hello_type -m found 1"] {
            assert_eq!(truth(&[], &format!("x if {{ {test} }}"), "a.test", BYTES), Truth::Unknown, "{test}");
        }
    }

    #[test]
    fn challenges_are_no_requests_of_the_site() {
        let rule = "x unless { path_beg /.well-known/acme-challenge/ }";
        assert_eq!(truth(&[], rule, "*", PLAIN), Truth::Unknown);
        let words: Vec<_> = rule.split(' ').map(str::to_owned).collect();
        let (_, condition) = AclCondition::split(&words, &[]);
        assert_eq!(condition.on_all_but_challenges(&HostPattern::Any, PLAIN), Truth::Yes);
        assert_eq!(truth(&[], "x if { path_beg /.well-known/acme-challenge/ }", "*", PLAIN), Truth::Hardly);
    }

    #[test]
    fn names_of_handshakes_are_known_where_bytes_are_relayed() {
        let sni = "x if { req_ssl_sni -i a.test }";
        assert_eq!(truth(&[], sni, "a.test", BYTES), Truth::Yes);
        assert_eq!(truth(&[], sni, "*", BYTES), Truth::No);
        assert_eq!(truth(&[], sni, "a.test", TLS), Truth::Unknown);
        assert_eq!(truth(&[], "x if { req.ssl_hello_type 1 }", "a.test", BYTES), Truth::Yes);
        assert_eq!(truth(&[], "x if { req.ssl_hello_type 1 }", "*", BYTES), Truth::Unknown);
    }
}
