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
.SH EXAMPLE
Three web servers behind every host name, checked every two seconds:
.PP
.nf
.RS 4
[site."*"]
to = "web\-farm"

[pool.web\-farm]
servers = ["10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"]
check   = "HEAD /index.php"
.RE
.fi
.PP
PostgreSQL with a standby, and two servers written in place:
.PP
.nf
.RS 4
[tcp.postgres]
listen  = "127.0.0.1:5432"
to      = ["10.0.0.31:5432", "10.0.0.32:5432"]
backup  = ["10.0.0.33:5432"]
balance = "least\-connections"
.RE
.fi
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
