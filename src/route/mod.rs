//! Which site answers, or which pool a TLS connection goes to: the table of host patterns, made once for each generation and
//! never changed.
//!
//! The most specific pattern wins, in whatever order the configuration has them: the exact name, then the longest
//! `*.suffix`, then `*`. A look-up allocates and hashes nothing.

use crate::config::HostPattern;

/// Host patterns, each with its place among all, as those of all sites.
#[derive(Clone, Debug)]
pub struct HostTable {
    /// Whole names, sorted.
    exact: Vec<(Box<str>, usize)>,
    /// Suffixes without their `*.`, sorted.
    suffixes: Vec<(Box<str>, usize)>,
    /// Length of the longest suffix. Longer ends of a host are skipped, so a host of many labels costs no more than others.
    longest: usize,
    any: Option<usize>,
}

/// What is known of a request before its site is found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The host asked for, in lower case, without the port; `None` when the request names none.
    pub host: Option<&'a str>,
}

impl HostTable {
    /// The table of these patterns. Of two that are the same the first one is found.
    #[must_use]
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a HostPattern>) -> Self {
        let mut table = Self { exact: Vec::new(), suffixes: Vec::new(), longest: 0, any: None };
        for (index, pattern) in patterns.into_iter().enumerate() {
            match pattern {
                HostPattern::Exact(name) => table.exact.push((name.as_str().into(), index)),
                HostPattern::Suffix(suffix) => {
                    table.longest = table.longest.max(suffix.len());
                    table.suffixes.push((suffix.as_str().into(), index));
                }
                HostPattern::Any => table.any = table.any.or(Some(index)),
            }
        }
        table.exact.sort();
        table.suffixes.sort();
        table
    }

    /// Whether the host matters; it does not while all requests go to one site.
    #[must_use]
    pub fn asks_for_host(&self) -> bool {
        !(self.exact.is_empty() && self.suffixes.is_empty())
    }

    /// The place of the pattern that is meant, if one is.
    ///
    /// A final dot of the host is ignored: `example.com.` is the same name, written absolutely (RFC 3986 §3.2.2).
    #[must_use]
    pub fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        let Some(host) = facts.host else {
            return self.any;
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        look_up(&self.exact, host).or_else(|| self.find_suffix(host)).or(self.any)
    }

    /// The longest suffix is what follows the first dot, so the first one found wins.
    fn find_suffix(&self, host: &str) -> Option<usize> {
        if self.suffixes.is_empty() || host.starts_with('.') {
            return None; // ".example.com" is no name below example.com
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if suffix.len() <= self.longest
                && let Some(site) = look_up(&self.suffixes, suffix)
            {
                return Some(site);
            }
            rest = suffix;
        }
        None
    }
}

/// The first of equal names, which sorting by name and then by index puts in front.
fn look_up(names: &[(Box<str>, usize)], wanted: &str) -> Option<usize> {
    let at = names.partition_point(|(name, _)| **name < *wanted);
    names.get(at).filter(|(name, _)| **name == *wanted).map(|(_, site)| *site)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&str]) -> HostTable {
        HostTable::new(&patterns.iter().map(|text| pattern(text)).collect::<Vec<_>>())
    }

    fn pattern(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            _ if text == "*" => HostPattern::Any,
            Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
            None => HostPattern::Exact(text.to_owned()),
        }
    }

    fn found<'a>(patterns: &[&'a str], host: Option<&str>) -> Option<&'a str> {
        table(patterns).find(&Facts { host }).map(|index| patterns[index])
    }

    #[test]
    fn exact_beats_the_longest_suffix_which_beats_any() {
        let mut patterns = ["*", "*.example.com", "*.a.example.com", "x.a.example.com", "example.com"];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            let find = |host| found(&patterns, Some(host));
            assert_eq!(find("x.a.example.com"), Some("x.a.example.com"));
            assert_eq!(find("y.a.example.com"), Some("*.a.example.com"));
            assert_eq!(find("z.y.a.example.com"), Some("*.a.example.com"));
            assert_eq!(find("a.example.com"), Some("*.example.com"));
            assert_eq!(find("example.com"), Some("example.com"));
            assert_eq!(find("example.org"), Some("*"));
            assert_eq!(find("badexample.com"), Some("*"));
        }
    }

    #[test]
    fn a_suffix_needs_a_label_before_it() {
        assert_eq!(found(&["*.example.com"], Some("example.com")), None);
        assert_eq!(found(&["*.example.com"], Some(".example.com")), None);
        assert_eq!(found(&["*.example.com"], Some("a.example.com")), Some("*.example.com"));
    }

    #[test]
    fn without_a_host_only_any_answers() {
        assert_eq!(found(&["example.com", "*"], None), Some("*"));
        assert_eq!(found(&["example.com", "*"], Some("")), Some("*"));
        assert_eq!(found(&["example.com", "*.com"], None), None);
        assert_eq!(found(&[], Some("example.com")), None);
    }

    #[test]
    fn a_final_dot_is_the_same_name() {
        assert_eq!(found(&["example.com"], Some("example.com.")), Some("example.com"));
        assert_eq!(found(&["*.com"], Some("example.com.")), Some("*.com"));
        assert_eq!(found(&["example.com"], Some("example.com..")), None);
    }

    #[test]
    fn a_host_of_a_thousand_labels_is_only_looked_up_where_it_may_match() {
        let host = "a.".repeat(10_000) + "example.com";
        assert_eq!(found(&["*.example.com"], Some(&host)), Some("*.example.com"));
    }

    #[test]
    fn of_two_equal_patterns_the_first_stands() {
        assert_eq!(table(&["a", "a"]).find(&Facts { host: Some("a") }), Some(0));
        assert_eq!(table(&["*", "*"]).find(&Facts::default()), Some(0));
    }
}
