//! Request targets without what may be secret: values of queries and path parameters, user and password.

/// A request target in parts, whose secret parts can be left out.
pub(super) struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Any text is fine: targets of refused requests are logged too.
    pub(super) fn new(target: &'a str) -> Self {
        let target = target.split_once('#').map_or(target, |(before, _)| before);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Self { path: without_authority(path), query }
    }

    /// Writes the path; values of its parameters (`;name=value`) become `*`.
    pub(super) fn write_path(&self, out: &mut String) {
        let mut rest = self.path;
        while let Some(at) = memchr::memchr(b';', rest.as_bytes()) {
            let (before, parameters) = rest.split_at(at);
            out.push_str(before);
            let end = memchr::memchr(b'/', parameters.as_bytes()).unwrap_or(parameters.len());
            let (parameters, after) = parameters.split_at(end);
            for parameter in parameters.split(';').skip(1) {
                out.push(';');
                match parameter.split_once('=') {
                    Some((name, _)) => out.extend([name, "=*"]),
                    None => out.push_str(parameter),
                }
            }
            rest = after;
        }
        out.push_str(rest);
    }

    /// Writes the path and the names of the query; values become `*`, and so does what has no name.
    pub(super) fn write(&self, out: &mut String) {
        self.write_path(out);
        let Some(query) = self.query else { return };
        let mut separator = '?';
        for parameter in query.split('&') {
            out.push(separator);
            separator = '&';
            match parameter.split_once('=') {
                Some((name, _)) => out.extend([name, "=*"]),
                None if parameter.is_empty() => {}
                None => out.push('*'),
            }
        }
    }
}

/// Writes the value of a `Referer` field (RFC 9110 §10.1.3): host and path, and the names of the query.
pub(super) fn referer(value: &str, out: &mut String) {
    if let Some((scheme, rest)) = value.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        out.extend([scheme, "://", host(&rest[..end])]);
        if end < rest.len() {
            Target::new(&rest[end..]).write(out);
        }
    } else {
        Target::new(value).write(out);
    }
}

/// A host as asked for, without user and password.
pub(super) fn host(host: &str) -> &str {
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// The path of any form of target (RFC 9112 section 3.2); of the authority form the host and port.
fn without_authority(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => host(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(target: &str) -> String {
        let mut out = String::new();
        Target::new(target).write(&mut out);
        out
    }

    #[test]
    fn values_of_a_query_are_never_written() {
        assert_eq!(redacted("/cart"), "/cart");
        assert_eq!(redacted("/cart?item=7&token=a=b&&x=#top"), "/cart?item=*&token=*&&x=*");
        assert_eq!(redacted("/cart?secret"), "/cart?*");
        assert_eq!(redacted("/cart?a=1;password=2"), "/cart?a=*");
        assert_eq!(redacted("/?"), "/?");
    }

    #[test]
    fn path_parameters_lose_their_values() {
        assert_eq!(redacted("/a;jsessionid=F00;v/b;x=1/c"), "/a;jsessionid=*;v/b;x=*/c");
    }

    #[test]
    fn a_referer_keeps_its_host() {
        let redacted = |value| {
            let mut out = String::new();
            referer(value, &mut out);
            out
        };
        assert_eq!(redacted("https://me:pw@example.com/x;a=1?y=1#z"), "https://example.com/x;a=*?y=*");
        assert_eq!(redacted("https://example.com?q=me@example.org"), "https://example.com?q=*");
        assert_eq!(redacted("https://example.com"), "https://example.com");
        assert_eq!(redacted("/x?secret"), "/x?*");
        assert_eq!(redacted("about:blank"), "about:blank");
    }

    #[test]
    fn users_and_passwords_are_never_written() {
        assert_eq!(redacted("http://me:pw@example.com/x?y=1"), "/x?y=*");
        assert_eq!(redacted("http://me:pw@example.com"), "/");
        assert_eq!(redacted("me:pw@example.com:443"), "example.com:443");
        assert_eq!(host("me:pw@example.com"), "example.com");
        assert_eq!(redacted("*"), "*");
    }
}
