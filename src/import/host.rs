//! Tests of a host name, and on which hosts they hold.

use crate::config::{HostPattern, host_pattern};

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It does not for any host that a client means, but for odd ones it may.
    Hardly,
    /// It depends on more than the host and the listener.
    Unknown,
}

impl Truth {
    /// Of one with the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Hardly, _) | (_, Self::Hardly) => Self::Hardly,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::Yes,
        }
    }

    /// Of one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Hardly, _) | (_, Self::Hardly) => Self::Hardly,
            _ => Self::No,
        }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    /// Of the opposite. What hardly holds has an opposite that is not sure.
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Hardly | Self::Unknown => Self::Unknown,
        }
    }
}

/// How a host is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// It is this.
    Whole,
    /// It ends so.
    End,
    /// It begins so.
    Begin,
    /// It contains this.
    Part,
    /// It contains this between dots.
    Domain,
    /// In no way that is known here.
    Other,
}

/// A comparison of a host with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTest {
    /// How.
    pub matching: HostMatch,
    /// With what, in lower case.
    pub text: String,
    /// It has capitals that count: hardly a client asks for such a host.
    pub has_capitals: bool,
}

impl HostTest {
    /// The hosts that it makes a difference for.
    #[must_use]
    pub fn patterns(&self) -> Vec<HostPattern> {
        let name = self.text.as_str();
        let suffix = name.strip_prefix('.');
        let texts = match self.matching {
            HostMatch::Whole => vec![name.to_owned()],
            HostMatch::End if suffix.is_some() => vec![format!("*{name}")],
            HostMatch::End | HostMatch::Domain if name.contains('.') => {
                let name = suffix.unwrap_or(name);
                vec![name.to_owned(), format!("*.{name}")]
            }
            _ => Vec::new(),
        };
        texts.iter().filter(|text| *text != "*").filter_map(|text| host_pattern(text).ok()).collect()
    }

    /// Whether it holds for the hosts of `region`, those left out that another pattern of this test is for.
    #[must_use]
    pub fn on(&self, region: &HostPattern) -> Truth {
        match self.in_any_case(region) {
            Truth::Yes if self.has_capitals => Truth::Hardly,
            truth => truth,
        }
    }

    fn in_any_case(&self, region: &HostPattern) -> Truth {
        let below = |suffix: &str| format!(".{suffix}.").contains(&format!(".{}.", self.text.trim_matches('.')));
        match (region, self.matching) {
            (_, HostMatch::Other) => Truth::Unknown,
            (HostPattern::Exact(host), _) if self.holds(host) => Truth::Yes,
            (HostPattern::Exact(_), _) => Truth::No,
            (_, HostMatch::Whole) if self.patterns().is_empty() => Truth::Unknown,
            (_, HostMatch::Whole) => Truth::No,
            (HostPattern::Suffix(suffix), HostMatch::End) if format!(".{suffix}").ends_with(&self.text) => Truth::Yes,
            (HostPattern::Suffix(suffix), HostMatch::Domain) if below(suffix) => Truth::Yes,
            (_, HostMatch::End) if self.text.starts_with('.') && !self.patterns().is_empty() => Truth::No,
            (_, HostMatch::End | HostMatch::Domain) if !self.patterns().is_empty() => Truth::Hardly,
            _ => Truth::Unknown,
        }
    }

    fn holds(&self, host: &str) -> bool {
        let text = self.text.as_str();
        match self.matching {
            HostMatch::Whole => host == text,
            HostMatch::End => host.ends_with(text),
            HostMatch::Begin => host.starts_with(text),
            HostMatch::Part => host.contains(text),
            HostMatch::Domain => format!(".{host}.").contains(&format!(".{}.", text.trim_matches('.'))),
            HostMatch::Other => false,
        }
    }
}

/// The narrowest pattern of those that `is_known` names which covers `region` too: it answers where `region` has none.
#[must_use]
pub fn wider(region: &HostPattern, is_known: impl Fn(&HostPattern) -> bool) -> Option<HostPattern> {
    let (HostPattern::Suffix(name) | HostPattern::Exact(name)) = region else { return None };
    let suffixes = name.match_indices('.').map(|(dot, _)| HostPattern::Suffix(name[dot + 1..].to_owned()));
    suffixes.chain([HostPattern::Any]).find(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(matching: HostMatch, text: &str, region: &str) -> Truth {
        let region = host_pattern(region).expect("a pattern");
        HostTest { matching, text: text.to_owned(), has_capitals: false }.on(&region)
    }

    #[test]
    fn a_test_holds_on_the_hosts_that_it_is_for() {
        assert_eq!(on(HostMatch::Whole, "a.test", "a.test"), Truth::Yes);
        assert_eq!(on(HostMatch::Whole, "a.test", "*"), Truth::No);
        assert_eq!(on(HostMatch::Whole, "a.test:8080", "*"), Truth::Unknown);
        assert_eq!(on(HostMatch::End, ".a.test", "*.a.test"), Truth::Yes);
        assert_eq!(on(HostMatch::End, ".a.test", "*.b.a.test"), Truth::Yes);
        assert_eq!(on(HostMatch::End, ".a.test", "*"), Truth::No);
        assert_eq!(on(HostMatch::End, "a.test", "*"), Truth::Hardly);
        assert_eq!(on(HostMatch::Domain, "a.test", "*.a.test"), Truth::Yes);
        assert_eq!(on(HostMatch::Domain, "a.co", "*.a.co.test"), Truth::Yes);
        assert_eq!(on(HostMatch::Domain, ".a.co.", "*.b.a.co.test"), Truth::Yes);
        assert_eq!(on(HostMatch::Domain, "a.co", "*.ba.co"), Truth::Hardly);
        assert_eq!(on(HostMatch::Domain, "static", "*"), Truth::Unknown);
        assert_eq!(on(HostMatch::Domain, "static", "static.a.test"), Truth::Yes);
        assert_eq!(on(HostMatch::Begin, "www.", "*.a.test"), Truth::Unknown);
    }

    #[test]
    fn the_narrowest_of_the_wider_patterns_answers() {
        let wider = |known: &[&str], region: &str| {
            let pattern = |text: &str| host_pattern(text).expect("a pattern");
            let known: Vec<_> = known.iter().map(|text| pattern(text)).collect();
            super::wider(&pattern(region), |one| known.contains(one)).map(|one| one.to_string())
        };
        assert_eq!(wider(&["*", "*.test", "*.a.test"], "www.a.test").as_deref(), Some("*.a.test"));
        assert_eq!(wider(&["*", "*.test", "*.a.test"], "*.a.test").as_deref(), Some("*.test"));
        assert_eq!(wider(&["*", "*.a.test"], "a.test").as_deref(), Some("*"));
        assert_eq!(wider(&["a.test"], "a.test"), None);
        assert_eq!(wider(&["*"], "*"), None);
    }
}
