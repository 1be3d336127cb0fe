//! The URL that clients ask for, as it is typed.

use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;

use crate::message::authority::Host;

/// A URL of http or https, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchUrl {
    /// Over TLS.
    pub(super) secure: bool,
    /// A name or an address; one of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
    /// Host and port for the Host field: the port where it is not the usual one.
    pub(super) authority: String,
}

impl FromStr for BenchUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("it begins with no scheme; write \"http://{}\"", text.trim_start_matches('/')));
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => {
                return Err(format!("{other:?} is not spoken here; write \"http://{rest}\" or \"https://{rest}\""));
            }
        };
        let uri: Uri = text.parse().map_err(|error| format!("{error}; write for example {EXAMPLE}"))?;
        let authority = uri.authority().ok_or_else(|| format!("it has no host; write for example {EXAMPLE}"))?;
        if authority.as_str().contains('@') {
            return Err("users and passwords are not sent; write it without what stands before the @".to_owned());
        }
        let host = authority.host();
        let usual = if secure { 443 } else { 80 };
        let port = match (authority.port_u16(), authority.as_str().rsplit_once(':')) {
            (Some(0), _) => return Err("there is no port 0".to_owned()),
            (Some(port), _) => port,
            (None, Some((_, after))) if !after.contains(']') && !after.is_empty() => {
                return Err(format!("{after:?} is no port: 1 to 65535"));
            }
            (None, _) => usual,
        };
        if Host::parse(authority.as_str()).is_err() {
            return Err(format!("{host:?} is neither a host name nor an address"));
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let shown = if port == usual { host.to_owned() } else { format!("{host}:{port}") };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { secure, host, port, path, authority: shown })
    }
}

/// A path as it stands in a request, for `--websocket` and `--download`.
pub(super) fn path(text: &str) -> Result<PathAndQuery, String> {
    if !text.starts_with('/') {
        return Err(format!("it is a path of the same host; write \"/{text}\""));
    }
    text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())
}

const EXAMPLE: &str = "\"http://127.0.0.1:8080/\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BenchUrl {
        text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn a_url_is_taken_apart() {
        let plain = url("http://app.test/a?b=c");
        assert_eq!((plain.secure, plain.host.as_str(), plain.port), (false, "app.test", 80));
        assert_eq!((plain.path.as_str(), plain.authority.as_str()), ("/a?b=c", "app.test"));
        let secure = url("HTTPS://app.test:8443");
        assert_eq!((secure.secure, secure.port, secure.path.as_str()), (true, 8443, "/"));
        assert_eq!(secure.authority, "app.test:8443");
        assert_eq!(url("https://app.test:443/").authority, "app.test");
        let six = url("http://[::1]:8080/");
        assert_eq!((six.host.as_str(), six.port, six.authority.as_str()), ("::1", 8080, "[::1]:8080"));
        assert_eq!(url("http://[::1]/").authority, "[::1]");
    }

    #[test]
    fn a_url_with_a_mistake_says_what_to_write() {
        for (text, said) in [
            ("127.0.0.1:8080/x", "write \"http://127.0.0.1:8080/x\""),
            ("localhost", "write \"http://localhost\""),
            ("ftp://a.test/", "\"ftp\" is not spoken here; write \"http://a.test/\""),
            ("http://", "write for example"),
            ("http:///x", "write for example"),
            ("http://u:p@a.test/", "before the @"),
            ("http://a.test:0/", "no port 0"),
            ("http://a.test:99999/", "port"),
            ("http://a.test:http/", "port"),
            ("http://a test/", "write for example"),
        ] {
            let fault = text.parse::<BenchUrl>().expect_err(text);
            assert!(fault.contains(said), "{text}: {fault}");
        }
        assert_eq!(path("/x?y").expect("a path").as_str(), "/x?y");
        assert!(path("x").expect_err("none").contains("\"/x\""));
        assert!(path("/x y").is_err());
    }
}
