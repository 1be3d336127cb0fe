//! The first HTTPS site, as README has it: one line in the site and a reload; for certbot's files, two commands more.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use crate::support::machine::{Machine, Release};
use crate::support::{farm, wait_for};

facts![the_first_https_site_is_one_line, the_files_of_certbot_are_served];

const README: &str = include_str!("../../README.md");

/// The lines of README from the one that begins so to the end of its block, of the block with `line` in it.
fn block(first: &str, line: &str) -> String {
    let blocks = README.split("```").skip(1).step_by(2);
    let block = blocks.into_iter().find(|block| block.contains(line)).expect("the block");
    block.lines().skip_while(|line| !line.starts_with(first)).map(|line| format!("{line}\n")).collect()
}

/// pebble, which looks at ports 80 and 443 of the machine, and a name server for which every name is here. Its own
/// certificate is its root too.
fn start_authority(machine: &Machine) -> String {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["ca.internal".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    let certificate = certificate.self_signed(&key).expect("a certificate").pem();
    machine.ok("mkdir -p /srv/pebble /etc/ssl/internal");
    machine.write("/etc/ssl/internal/ca.pem", &certificate);
    machine.write("/srv/pebble/key.pem", &key.serialize_pem());
    machine.write(
        "/srv/pebble/pebble.json",
        r#"{ "pebble": { "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
             "certificate": "/etc/ssl/internal/ca.pem", "privateKey": "/srv/pebble/key.pem", "httpPort": 80, "tlsPort": 443 } }"#,
    );
    machine.ok("chmod 644 /etc/ssl/internal/ca.pem
        systemd-run --quiet --unit=names pebble-challtestsrv -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 '' \
            -dns01 127.0.0.1:8053 -management 127.0.0.1:8055
        systemd-run --quiet --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 \
            pebble -config /srv/pebble/pebble.json -dnsserver 127.0.0.1:8053
        for i in $(seq 100); do curl --silent --insecure https://127.0.0.1:14000/dir && break; sleep 0.1; done");
    "directory = \"https://127.0.0.1:14000/dir\"\nca = \"/etc/ssl/internal/ca.pem\"\n".to_owned()
}

fn the_first_https_site_is_one_line(release: Release) {
    let machine = farm::machine(release);
    let authority = start_authority(&machine);
    let site = block("[site.\"www.example.com\"]", "tls = \"auto\"").replace("10.0.0.21:3000", "10.0.0.11:80");
    machine.configure(&format!("{}\n{site}{authority}", farm::CONFIG));
    let said = machine.ok("segue check 2>&1");
    assert!(said.contains("is good") && !said.contains("warning"), "{said}");
    machine.ok("systemctl reload proxy");
    wait_for("the certificate", Duration::from_secs(30), || {
        (machine.entries("PROXY_EVENT=certificate-taken") == 1).then_some(())
    });
    wait_for("segue certs to tell of it", Duration::from_secs(10), || {
        let list = machine.ok("segue certs");
        list.lines().any(|line| line.starts_with("www.example.com  ") && line.contains("Pebble")).then_some(())
    });
    machine.ok("curl --silent --show-error --insecure https://127.0.0.1:15000/roots/0 >/tmp/root.pem");
    let get = "curl --silent --show-error --include --max-time 5 --cacert /tmp/root.pem \
               --resolve www.example.com:443:127.0.0.1";
    let page = machine.ok(&format!("{get} https://www.example.com/index.php"));
    assert!(page.starts_with("HTTP/1.1 200 ") || page.starts_with("HTTP/2 200"), "{page}");
    // readable by the service alone, and kept over a restart without the authority
    let rights = machine.ok("stat --format '%U %a' /var/lib/segue/acme/certificates/www.example.com.pem");
    assert_eq!(rights, "segue 600");
    machine.ok("systemctl stop pebble && systemctl restart proxy");
    machine.ok(&format!("{get} https://www.example.com/index.php"));
    assert_eq!(machine.entries("PROXY_EVENT=acme-account-made"), 1);
}

/// A new certificate with its links, with the rights that certbot gives.
fn issue(machine: &Machine, number: u32) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["www.example.com".to_owned()]).expect("a name");
    let chain = params.self_signed(&key).expect("a certificate").pem();
    let archive = "/etc/letsencrypt/archive/www.example.com";
    machine.ok(&format!(
        "umask 022; mkdir -p {archive} /etc/letsencrypt/live/www.example.com; cd {archive}
         if [ {number} = 1 ]; then chmod 700 /etc/letsencrypt/live /etc/letsencrypt/archive; fi
         printf %s '{}' > privkey{number}.pem; chmod 600 privkey{number}.pem
         # a renewed key has the group of the one before, and its rights for the group
         if [ {number} != 1 ]; then chgrp --reference=privkey1.pem privkey{number}.pem; chmod g+r privkey{number}.pem; fi
         printf %s '{chain}' > fullchain{number}.pem
         cd /etc/letsencrypt/live/www.example.com
         for name in privkey fullchain; do
             ln -sf ../../archive/www.example.com/${{name}}{number}.pem $name.pem
         done",
        key.serialize_pem()
    ));
}

fn the_files_of_certbot_are_served(release: Release) {
    let machine = farm::machine(release);
    issue(&machine, 1);
    let line = "tls = \"/etc/letsencrypt/live/www.example.com\"";
    let site = block("[site.\"www.example.com\"]", line).replace("10.0.0.21:3000", "10.0.0.11:80");
    machine.configure(&format!("{}\n{site}", farm::CONFIG));
    let said = machine.ok("segue check 2>&1");
    let commands = block("chgrp -R segue ", "chgrp -R segue ");
    for word in ["the service may not read it", commands.lines().next().expect("a line")] {
        assert!(said.contains(word), "{word} in {said}");
    }
    machine.ok(&commands);
    let said = machine.ok("segue check 2>&1");
    assert!(said.contains("is good") && !said.contains("warning"), "{said}");
    machine.ok("systemctl reload proxy");
    let get = "curl --silent --show-error --include --max-time 5 --insecure --resolve www.example.com:443:127.0.0.1 \
               --resolve www.example.com:80:127.0.0.1";
    let page = machine.ok(&format!("{get} https://www.example.com/index.php"));
    assert!(page.starts_with("HTTP/1.1 200 ") || page.starts_with("HTTP/2 200"), "{page}");
    let page = machine.ok(&format!("{get} http://www.example.com/index.php"));
    assert!(
        page.starts_with("HTTP/1.1 308 ") && page.contains("location: https://www.example.com/index.php\r\n"),
        "{page}"
    );
    let page = machine.ok(&format!("curl --silent --include --max-time 2 {}", farm::URL));
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    issue(&machine, 2);
    wait_for("the renewed certificate", Duration::from_secs(20), || {
        (machine.entries("PROXY_EVENT=certificate-taken") == 1).then_some(())
    });
    let list = machine.ok("segue certs");
    assert!(list.lines().any(|line| line.starts_with("www.example.com  ") && line.contains("good")), "{list}");
    // port 443 is kept, with its certificate and the keys of session tickets
    let session = |option: &str| {
        let connect = "openssl s_client -connect 127.0.0.1:443 -servername www.example.com -tls1_2";
        machine.ok(&format!("{connect} {option} /tmp/session </dev/null 2>/dev/null"))
    };
    session("-sess_out");
    machine.ok("systemctl restart proxy");
    let again = session("-sess_in");
    assert!(again.contains("Reused, TLSv1.2"), "{again}");
    machine.ok(&format!("{get} https://www.example.com/index.php"));
}
