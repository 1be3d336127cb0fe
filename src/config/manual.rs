//! segue.toml(5), in roff, from the declarations of the tables.

use std::fmt::Write as _;

use super::file::{DrainTable, ListenTable, LogTable, Policy, PoolTable, SiteTable, TcpTable, WorkerTable};
use super::load::VARIABLES;
use super::servers::ServerTable;
use super::table::{Fallback, Key, Keys, Table};

/// The manual page, for `man`: macros of man(7).
#[must_use]
pub fn segue_toml_5() -> String {
    let mut page = String::from(HEAD);
    page.push_str(".SH EXAMPLES\n");
    for (task, toml) in EXAMPLES {
        let _ = write!(page, "{}\n.PP\n.nf\n.RS 4\n{}\n.RE\n.fi\n.PP\n", escape(task), verbatim(toml.trim()));
    }
    for tables in SECTIONS {
        section(&mut page, tables);
    }
    page.push_str(
        ".SH ENVIRONMENT\nThese variables win over the files. The service has those that its unit sets: \
         \\fBsystemctl edit proxy\\fR, and below \\fB[Service]\\fR for example \
         \\fBEnvironment=SEGUE_LOG_ACCESS=errors+slow\\fR; they are in effect from its next restart on. \
         \\fBsegue check\\fR and \\fBsegue config\\fR know only those of the shell that they run in, \
         \\fBsegue diff\\fR those of the service.\n",
    );
    for (name, setting) in VARIABLES {
        let _ = write!(page, ".TP\n.B {}\n{}\n", escape(name), escape(&format!("sets `{}`", setting.key())));
    }
    page.push_str(COMMAND_LINE);
    page.push_str(include_str!("manual/sockets.5"));
    page.push_str(include_str!("manual/fields.5"));
    page.push_str(TAIL);
    page
}

/// The tables under each heading, which is the header of the first.
const SECTIONS: [&[&Table]; 8] = [
    &[&SiteTable::TABLE],
    &[&PoolTable::TABLE, &Policy::TABLE],
    &[&ServerTable::TABLE],
    &[&TcpTable::TABLE],
    &[&ListenTable::TABLE],
    &[&LogTable::TABLE],
    &[&DrainTable::TABLE],
    &[&WorkerTable::TABLE],
];

const HEAD: &str = r#".TH segue.toml 5 "" "Segue" "File formats"
.SH NAME
segue.toml \- configuration of the reverse proxy Segue
.SH SYNOPSIS
.I /etc/segue/segue.toml
.br
.I /etc/segue/conf.d/*.toml
.SH DESCRIPTION
The configuration is TOML. The files of
.I conf.d
are read after the main file, in the order of their names; a key in a later file wins, key by key in every table.
Some keys can also be set by variables of the environment, which win over the files, and on the command line, which wins
over both: see ENVIRONMENT and COMMAND LINE.
Every key has a default unless said otherwise, and
.B segue config \-\-effective
shows the value of each and where it comes from.
.B segue check
says everything that is wrong with a configuration, without touching anything.
.PP
Durations are text with a unit: ms, s, m or min, h, days. Sizes too: B, KiB, MiB, GiB (times 1024) and kB, MB, GB (times
1000).
"#;

const COMMAND_LINE: &str = r".SH COMMAND LINE
.B segue run\fR, \fBsegue check\fR and \fBsegue config
take
.B \-\-set \fIKEY\fB=\fIVALUE\fR,
which wins over the files and the variables, and can be given again: the last one for a key counts. The keys are those
that a variable can set. The service goes by what its unit gives to
.B segue run
as long as it runs, over every reload:
.B systemctl edit proxy\fR,
and for example
.PP
.nf
.RS 4
[Service]
ExecStart=
ExecStart=/usr/bin/segue run \-\-set log.access=all
.RE
.fi
.PP
It is in effect from the next restart on. A % is written %% in a unit.
";

const TAIL: &str = r".SH SEE ALSO
.BR segue (1),
.BR systemd.socket (5),
.BR journalctl (1)
";

/// A whole configuration for each common task.
const EXAMPLES: [(&str, &str); 10] = [
    (
        "Three web servers behind every host name, checked every two seconds:",
        r#"
[site."*"]
to = "web-farm"

[pool.web-farm]
servers = ["10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"]
check   = "HEAD /index.php"
"#,
    ),
    (
        "One host with servers of its own, every name below a domain, and everything else:",
        r#"
[site."app.example.com"]
to    = ["127.0.0.1:3000", "127.0.0.1:3001"]
check = "GET /healthz"

[site."*.example.com"]
to = "web"

[site."*"]
to = "web"

[pool.web]
servers = ["10.0.0.11:80", "10.0.0.12:80"]
"#,
    ),
    (
        "An application on this machine that listens on a unix socket:",
        r#"
[site."app.example.com"]
to = ["unix:/run/app/app.sock"]
"#,
    ),
    (
        "A new version that gets one request in ten, and a server that helps out when no other one is up:",
        r#"
[site."*"]
to = "web"

[pool.web]
servers = [
    { address = "10.0.0.11:80", weight = 9 },
    { address = "10.0.0.12:80", weight = 1 },
]
backup = ["10.0.0.19:80"]
check  = "GET /healthz"
"#,
    ),
    (
        "A server is taken out for maintenance: it gets no new requests, and finishes those that it has:",
        r#"
[site."*"]
to = ["10.0.0.11:80", { address = "10.0.0.12:80", weight = 0 }]
"#,
    ),
    (
        "Behind something that ends TLS, whose word on the client is taken:",
        r#"
[listen.http]
trusted_proxies = ["127.0.0.0/8", "10.1.0.5"]

[site."*"]
to = ["10.0.0.11:80"]
"#,
    ),
    (
        "Large uploads, slow reports and long silence on WebSockets:",
        r#"
[listen.http]
body_timeout = "2min"

[site."files.example.com"]
to               = ["10.0.0.11:80"]
max_body         = "50GiB"
response_timeout = "10min"
tunnel_timeout   = "12h"
"#,
    ),
    (
        "Another port, on this machine alone, and one that lets in at most a hundred connections:",
        r#"
[listen.internal]
address = "127.0.0.1:8080"

[listen.small]
address         = ":8081"
max_connections = 100

[site."*"]
to = ["10.0.0.11:80"]
"#,
    ),
    (
        "PostgreSQL with a standby: bytes are relayed, and a check connects:",
        r#"
[tcp.postgres]
listen  = "127.0.0.1:5432"
to      = ["10.0.0.31:5432", "10.0.0.32:5432"]
backup  = ["10.0.0.33:5432"]
balance = "least-connections"
check   = "connect"
"#,
    ),
    (
        "Fewer records in the journal: what failed or was slow, and one in a hundred of the rest:",
        r#"
[log]
access = "sample:1%"
slow   = "500ms"

[site."*"]
to = ["10.0.0.11:80"]
"#,
    ),
];

/// Lines that stand as they are.
fn verbatim(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn section(page: &mut String, tables: &[&Table]) {
    for (index, table) in tables.iter().enumerate() {
        if index == 0 {
            // Quotes delimit the arguments of a request.
            let _ = writeln!(page, ".SH {}", escape(table.header).replace('"', "\\(dq"));
            paragraphs(page, table.about);
        }
        for key in table.keys {
            entry(page, key);
        }
    }
}

fn entry(page: &mut String, key: &Key) {
    let _ = writeln!(page, ".TP\n.B {}", escape(key.name));
    paragraphs(page, key.about);
    let _ = writeln!(page, ".br\n{}", escape(&format!("Must be {}.", (key.form)())));
    let fallback = match key.fallback {
        Fallback::Text(text) => format!("Default: `\"{text}\"`."),
        Fallback::Number(number) => format!("Default: `{number}`."),
        Fallback::Truth(truth) => format!("Default: `{truth}`."),
        Fallback::Empty => "Default: `[]`.".to_owned(),
        Fallback::Unset(instead) => format!("When it is not set: {instead}."),
        Fallback::Required(_) => "Must be given.".to_owned(),
    };
    let _ = writeln!(page, ".br\n{}", escape(&fallback));
}

/// The lines of a doc-comment; an empty one begins a new paragraph.
fn paragraphs(page: &mut String, about: &[&str]) {
    for line in about.iter().map(|line| line.trim()) {
        if line.is_empty() {
            page.push_str(".PP\n");
        } else {
            let _ = writeln!(page, "{}", escape(line));
        }
    }
}

/// Text for roff: no escapes or requests by accident, and what stands between backquotes in bold.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for character in text.chars() {
        match character {
            '`' => {
                out.push_str(if code { "\\fR" } else { "\\fB" });
                code = !code;
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '…' => out.push_str("\\&..."),
            _ => out.push(character),
        }
    }
    if code {
        out.push_str("\\fR");
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_table_is_documented() {
        let page = segue_toml_5();
        for table in SECTIONS.iter().flat_map(|tables| tables.iter()) {
            assert!(!table.about.is_empty(), "{}", table.header);
            for key in table.keys {
                assert!(!key.about.is_empty(), "{}.{}", table.header, key.name);
                assert!(page.contains(&format!(".TP\n.B {}\n", escape(key.name))), "{}.{}", table.header, key.name);
            }
        }
    }

    #[test]
    fn text_is_safe_for_roff() {
        assert_eq!(escape("a `b-c` \\ d"), "a \\fBb\\-c\\fR \\e d");
        assert_eq!(escape(".so x"), "\\&.so x");
    }
}
