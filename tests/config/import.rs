//! `segue import`: the files of `import`, what is made of each, and what is said of each of its lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use segue::config::load::Sources;
use segue::import::{ImportError, ImportOptions, Imported, import};

/// The whole file, without variables. The hash is always the same: of no password.
const ALONE: ImportOptions<'static> = ImportOptions {
    only: &[],
    variable: &|_| None,
    hash: &|_| {
        let hash =
            "$argon2id$v=19$m=19456,t=2,p=1$c2VndWUtbm8tc3VjaC11c2Vy$DKZgmMi5vRG4bXvMVrKnRLjxlk9BE+RTFSB4MSCDIaA";
        Some(hash.to_owned())
    },
};

const FILES: &str = "tests/config/import";

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(FILES).expect("a folder").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "cfg")).collect();
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    files
}

fn imported(file: &Path, only: &[String]) -> Imported {
    let name = file.file_name().expect("a name").to_string_lossy();
    let bytes = fs::read(file).expect("a file");
    import(&name, &bytes, ImportOptions { only, ..ALONE }).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compare(file: &Path, text: &str) {
    if std::env::var_os("REWRITE").is_some() {
        fs::write(file, text).expect("write");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(expected == text, "{} differs.\nexpected:\n{expected}\nmade:\n{text}", file.display());
}

#[test]
fn files_become_what_is_expected_and_pass_the_check() {
    for file in files() {
        let made = imported(&file, &[]);
        compare(&file.with_extension("toml"), &made.toml);
        compare(&file.with_extension("report"), &made.report);
        let checked = Sources::from_text(&made.toml).check();
        assert!(checked.config.is_some(), "{}: {:#?}\n{}", file.display(), checked.problems, made.toml);
    }
}

#[test]
fn the_page_of_2011_is_there_without_the_number_signs() {
    let made = imported(Path::new("tests/config/import/web-farm-of-2011.cfg"), &[]);
    let (_, page) = made.toml.split_once("# [dashboard]").expect("the page");
    let page = page.lines().skip(1).map(|line| line.strip_prefix("# ").unwrap_or(line));
    let whole = format!("{}\n[dashboard]\n{}\n", made.toml, page.collect::<Vec<_>>().join("\n"));
    let checked = Sources::from_text(&whole).check();
    let config = checked.config.unwrap_or_else(|| panic!("{:#?}\n{whole}", checked.problems));
    let on = config.dashboard.on.as_ref().map(|on| format!("{}{}", on.host, on.path));
    assert_eq!((on.as_deref(), config.dashboard.users.len()), (Some("*/lb"), 1));
}

#[test]
fn every_line_of_a_file_is_in_the_report_once() {
    for file in files() {
        let text = fs::read_to_string(&file).expect("a file");
        let lines =
            text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
        let lines: Vec<usize> = lines.map(|(index, _)| index + 1).collect();
        let report = imported(&file, &[]).report;
        let number = |line: &str| line.split(':').nth(1)?.parse::<usize>().ok();
        let said: Vec<usize> = report.lines().filter_map(number).collect();
        assert_eq!(said, lines, "{}", file.display());
        for line in report.lines().filter(|line| number(line).is_some()) {
            assert!(line.split_once(" - ").is_some_and(|(_, fate)| fate.contains(": ")), "{line}");
        }
    }
}

// Each of these took the place of a line that refuses, and the site was served to all once.
#[test]
fn what_a_line_guards_is_not_served_without_it() {
    let refusing = [
        "http-request deny if { src 10.0.0.0/8 }",
        "http-request deny unless { src 10.0.0.0/8 }",
        "http-request deny if { path_beg /private }",
        "http-request deny",
        "http-request auth unless { http_auth(people) }",
        "http-request tarpit if { hdr_cnt(x) gt 1 }",
        "http-request silent-drop if unknown",
        "http-request reject if { hdr(host) -m reg a }",
        "http-request return status 403 if { path / }",
        "http-request redirect location https://other.test/",
        "http-request set-path /public%[path]",
        "http-request set-header Host other.test",
        "http-request set-header X-User %[src]",
        "http-request del-header X-User",
        "http-request lua.check",
        "http-request new-rule-of-4.0 if { src 10.0.0.1 }",
        "http-response deny if { res.hdr(x) y }",
        "http-response del-header X-Token",
        "tcp-request connection reject if !{ src 10.0.0.0/8 }",
        "tcp-request content reject unless { src 10.0.0.0/8 }",
        "tcp-request session reject",
        "redirect prefix http://other.test",
        "block if { src 10.0.0.1 }",
        "reqideny ^GET\\ /private",
        "reqirep ^GET\\ /(.*) GET\\ /public/\\1",
        "rspideny ^X",
        "filter spoe engine waf",
        "use_backend b if { path_beg /b }",
        "use_backend b if { src 10.0.0.1 }",
        "use_backend %[req.hdr(host),lower,map(/map)]",
        "acl x path_beg /\n use_backend b unless x",
        "use-server s if { src 10.0.0.1 }",
        "deny_everything_of_4.0 all",
        "http-request allow\n reqideny ^GET\\ /private",
        "http-request allow\n block if { src 10.0.0.1 }",
        "http-request allow\n ssl-f-use crt x",
        "tcp-request connection accept\n tcp-request session reject if { src 10.0.0.1 }",
        "use_backnd b if { path_beg /b }",
        "http-reqest deny if { src 10.0.0.1 }",
        "http-request deny if { ssl_fc,not }",
        "http-request deny if { always_false,not }",
        "http-request deny if { ssl_fc -m found }",
        "http-request deny if { dst_port -m found }",
    ];
    for rule in refusing {
        for (front, back) in [(rule, ""), ("", rule)].into_iter().filter(|(_, back)| !back.contains("use_backend")) {
            let text = format!(
                "defaults\n mode http\nfrontend f\n bind :80\n {front}\n default_backend a\nbackend a\n {back}\n \
                 server s 10.0.0.11:80\nbackend b\n server s 10.0.0.12:80\n"
            );
            let made = import("x", text.as_bytes(), ALONE).expect("a file");
            let config = Sources::from_text(&made.toml).check().config.expect("good");
            assert_eq!(config.sites.len(), 0, "{rule}\n{}\n{}", made.toml, made.report);
            assert!(!made.complete || rule == "http-request deny" || rule == "tcp-request session reject", "{rule}");
        }
    }
}

fn made_of(text: &str) -> Imported {
    let made = import("x", text.as_bytes(), ALONE).expect("a file");
    let checked = Sources::from_text(&made.toml).check();
    assert!(checked.config.is_some(), "{:#?}\n{}", checked.problems, made.toml);
    made
}

#[test]
fn a_host_that_is_refused_without_tls_is_so_beside_one_with_the_same_backend() {
    let refusing = [
        "http-request deny if { hdr(host) -i secure.test } !{ ssl_fc }",
        "http-request redirect scheme https if { hdr(host) -i secure.test } !{ ssl_fc }",
        "http-request deny if { hdr(host) -i secure.test } !{ ssl_fc } !{ src 10.0.0.0/8 }",
    ];
    for rule in refusing {
        let made = made_of(&format!(
            "defaults\n mode http\nfrontend f\n bind :80\n bind :443 ssl crt /a.pem\n {rule}\n default_backend app\n\
             backend app\n server s 10.0.0.11:80\n"
        ));
        let config = Sources::from_text(&made.toml).check().config.expect("good");
        let redirects = |host: &str| {
            let site = config.sites.iter().find(|site| site.host.to_string() == host);
            site.map(|site| site.https_redirect)
        };
        assert_eq!((redirects("secure.test"), redirects("*")), (Some(true), Some(false)), "{rule}\n{}", made.toml);
    }
}

#[test]
fn a_name_of_a_handshake_is_not_taken_by_a_wider_one() {
    let relay = |rules: &str| {
        made_of(&format!(
            "frontend f\n bind :443\n {rules}\nbackend main\n server s 10.0.0.11:443\nbackend wild\n server s \
             10.0.0.12:443\n"
        ))
        .toml
    };
    let wild = "use_backend wild if { req_ssl_sni -m end .a.test }";
    let refused = relay(&format!("tcp-request content reject if {{ req_ssl_sni -i admin.a.test }}\n {wild}"));
    assert!(refused.contains("\"admin.a.test\" = \"closed\""), "{refused}");
    let main = "use_backend main if { req_ssl_sni -i www.a.test }";
    let other = relay(&format!("{main}\n {wild}\n default_backend main"));
    assert!(other.contains("\"www.a.test\" = \"main\"") && other.contains("\"*.a.test\" = \"wild\""), "{other}");
    let same = relay(&format!("{main}\n default_backend main"));
    assert!(!same.contains("sni"), "{same}");
}

#[test]
fn a_backend_may_have_any_name_and_servers_that_are_disabled() {
    let closed = "frontend f\n bind :443\n use_backend closed if { req_ssl_sni a.test }\nbackend closed\n server s 10.0.0.11:443\n";
    let made = made_of(closed);
    assert!(made.toml.contains("to = \"closed-2\"") && made.toml.contains("[pool.closed-2]"), "{}", made.toml);
    assert!(made.toml.contains("\"a.test\" = \"closed\""), "{}", made.toml);
    made_of("listen closed\n bind :443\n server s 10.0.0.11:443\n");
    for servers in [
        "server a 10.0.0.1:80 disabled\n server b 10.0.0.1:80",
        "default-server disabled\n server a 10.0.0.1:80\n server b 10.0.0.1:80 enabled",
        "server a 10.0.0.1:80 disabled\n server b 10.0.0.1:80 backup",
        "server a 10.0.0.1:80 disabled\n server b 10.0.0.2:80 backup",
        "server a 10.0.0.1:80 disabled\n server b 10.0.0.1:99999",
        "server a 10.0.0.1:80\n server b 10.0.0.1:80 backup weight 0",
        "server a 10.0.0.1:80 weight 5000",
        "server a 10.0.0.1:80\nbackend f\n mode http\n server a 10.0.0.2:80",
    ] {
        made_of(&format!("listen f\n mode http\n bind :80\n {servers}\n"));
    }
}

#[test]
fn names_are_whole_and_what_is_said_of_lines_is_so() {
    let long = "n".repeat(255);
    let with = |name: &str, rules: &str| {
        made_of(&format!(
            "defaults\n mode http\nfrontend f\n bind :80\n {rules}\n default_backend {name}\nbackend {name}\n server s \
             10.0.0.11:80\n"
        ))
    };
    let made = with(&long, "");
    assert!(made.complete && made.toml.contains(&format!("to = \"{long}\"")), "{}", made.report);
    let made = with(&(long.clone() + "n"), "");
    assert!(!made.complete && made.report.contains("255 bytes at most"), "{}", made.report);
    made_of(&format!("listen {long}{long}\n bind :81,:82\n server s 10.0.0.11:80\n"));
    let made = with("app", "use_backend app if { hdr(host) -i a.test }");
    let of_site = "default_backend app - kept: [site.\"*\"] to = \"app\"\n";
    assert!(made.report.contains(of_site) && !made.report.contains("[site.\"a.test\"]"), "{}", made.report);
    assert!(made.report.contains("a.test } - kept: its requests come to this backend without it"), "{}", made.report);
    assert!(made.report.contains("bind :80 - done differently"), "{}", made.report);
    let made = with("app", "http-request use-service prometheus-exporter if { path /metrics }");
    assert!(made.toml.contains("[site.\"*\"]") && made.report.contains("[metrics]"), "{}", made.report);
    let made = with("app", "bind [::]:80");
    assert!(made.report.contains("bind [::]:80 - kept"), "{}", made.report);
}

#[test]
fn acls_of_defaults_are_for_the_rules_of_these_alone() {
    let made = made_of(
        "defaults base\n mode http\n acl ok always_true\n http-request deny if !ok\nfrontend web from base\n bind :80\n \
         acl ok hdr(host) -i a.test\n http-request deny unless ok\n default_backend app\nbackend app\n mode http\n \
         server s 10.0.0.11:80\n",
    );
    let config = Sources::from_text(&made.toml).check().config.expect("good");
    let hosts: Vec<_> = config.sites.iter().map(|site| site.host.to_string()).collect();
    assert_eq!(hosts, ["a.test"], "{}", made.toml);
}

#[test]
fn a_listener_that_takes_the_requests_of_a_socket_that_is_left_out_is_named() {
    let http = "defaults\n mode http\nfrontend pub\n bind *:18081\n default_backend app\nfrontend internal\n bind \
                127.0.0.1:18081\n http-request deny unless { src 10.0.0.0/8 }\n default_backend adm\nbackend app\n \
                server s 10.0.0.11:80\nbackend adm\n server s 10.0.0.12:80\n";
    // the one that is left out may stand first, and may speak HTTP where the other relays bytes
    let tcp = "frontend internal\n bind 127.0.0.1:18081\n tcp-request connection reject unless { src 10.0.0.0/8 }\n \
               default_backend adm\nfrontend pub\n bind *:18081\n default_backend app\nbackend app\n server s \
               10.0.0.11:80\nbackend adm\n server s 10.0.0.12:80\n";
    let both = "frontend internal\n mode http\n bind 127.0.0.1:18081\n http-request deny\nfrontend pub\n bind *:18081\n \
                default_backend app\nbackend app\n server s 10.0.0.11:80\n";
    for (text, listener) in [(http, "[listen.http]"), (tcp, "[tcp.pub]"), (both, "[tcp.pub]")] {
        let made = made_of(text);
        let sentence = format!("what is sent to 127.0.0.1:18081 comes to {listener} now");
        assert!(made.toml.contains(&format!("# {sentence}")), "{}", made.toml);
        assert!(made.report.contains(&sentence) && !made.complete, "{}", made.report);
    }
    let narrower = http.replace("127.0.0.1", "*").replacen('*', "127.0.0.1", 1);
    assert!(!made_of(&narrower).toml.contains("comes to"), "{}", made_of(&narrower).toml);
}

#[test]
fn clients_that_have_to_show_a_certificate_have_to_here() {
    let config = |options: &str| {
        let text = format!("listen f\n mode http\n bind :443 ssl crt /a.pem {options}\n server s 10.0.0.11:80\n");
        let made = import("x", text.as_bytes(), ALONE).expect("a file");
        Sources::from_text(&made.toml).check().config.expect("good")
    };
    let required = config("verify required ca-file /ca.pem");
    assert_eq!(required.sites[0].client_ca.as_deref(), Some(Path::new("/ca.pem")));
    assert!(config("").sites[0].client_ca.is_none() && config("ca-file /ca.pem").sites[0].client_ca.is_none());
    for barred in ["verify required", "crt-list /list", "interface eth0", "new-option-of-4.0"] {
        assert!(config(barred).sites.is_empty(), "{barred}");
    }
}

#[test]
fn a_frontend_that_serves_others_is_a_file_of_its_own() {
    let file = Path::new(FILES).join("hosts-and-paths.cfg");
    let both = Sources::from_text(&imported(&file, &[]).toml).check().config.expect("good");
    let hosts: BTreeSet<String> = both.sites.iter().map(|site| site.host.to_string()).collect();
    assert!(both.listeners.len() == 1 && hosts.contains("blog.example.com"), "{hosts:?}");
    let made = imported(&file, &["backoffice".to_owned()]);
    let one = Sources::from_text(&made.toml).check().config.expect("good");
    assert_eq!((one.sites.len(), one.pools.len(), made.complete), (1, 1, true), "{}", made.report);
    assert_eq!(one.listeners[0].address.as_ref().map(ToString::to_string).as_deref(), Some("10.0.0.1:8080"));
}

#[test]
fn what_is_no_haproxy_cfg_is_refused_with_the_reason() {
    let refused = |text: &[u8]| import("x", text, ALONE).expect_err("no haproxy.cfg").to_string();
    assert!(refused(b"server {\n    listen 80;\n    location / { proxy_pass http://a; }\n}\n").contains("nginx"));
    assert!(refused(b"example.com {\n    reverse_proxy localhost:3000\n}\n").contains("Caddy"));
    assert!(refused(b"\x7fELF\0\0").contains("no text"));
    assert!(refused(b"").contains("none of its lines"));
    assert!(refused(b"[site.\"*\"]\nto = [\"10.0.0.11:80\"]\n").contains("none of its lines"));
    assert!(refused(b"global\n.if defined(A)\n.endif\n").contains("line 2"));
    let unset = import("x", b"listen a\n bind \"$ADDRESS\"\n", ALONE).expect_err("unset");
    assert_eq!(unset, ImportError::UnsetVariable { line: 2, name: "ADDRESS".to_owned() });
    let unknown = import("x", b"listen a\n", ImportOptions { only: &["b".to_owned()], ..ALONE }).expect_err("unknown");
    assert_eq!(unknown, ImportError::NoFrontend("b".to_owned()));
}

proptest::proptest! {
    /// Whatever stands in a file, each of its lines is in the report, and what is made of it passes the check.
    #[test]
    fn damaged_files_are_imported_or_refused(
        at in proptest::num::usize::ANY,
        length in 0..40_usize,
        instead in "[\\PC\n]{0,6}",
        which in proptest::num::usize::ANY,
    ) {
        let files = files();
        let text: Vec<char> = fs::read_to_string(&files[which % files.len()]).expect("text").chars().collect();
        let at = at % (text.len() + 1);
        let end = (at + length).min(text.len());
        let damaged: String = text[..at].iter().copied().chain(instead.chars()).chain(text[end..].iter().copied()).collect();
        if let Ok(made) = import("x", damaged.as_bytes(), ALONE) {
            let checked = Sources::from_text(&made.toml).check();
            proptest::prop_assert!(checked.config.is_some(), "{:#?}\n{}\n{}", checked.problems, damaged, made.toml);
        }
    }
}
