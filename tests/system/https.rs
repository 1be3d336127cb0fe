//! The first HTTPS site, as README has it: one line in the site, two commands for certbot's files, and a reload.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use crate::support::machine::{Machine, Release};
use crate::support::{farm, wait_for};

facts![the_first_https_site_is_one_line];

const README: &str = include_str!("../../README.md");

/// The lines of README from the one that begins so to the end of its block.
fn block(first: &str) -> String {
    let lines = README.lines().skip_while(|line| !line.starts_with(first)).take_while(|line| !line.starts_with("```"));
    lines.map(|line| format!("{line}\n")).collect()
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

fn the_first_https_site_is_one_line(release: Release) {
    let machine = farm::machine(release);
    issue(&machine, 1);
    let site = block("[site.\"www.example.com\"]").replace("10.0.0.21:3000", "10.0.0.11:80");
    assert!(site.contains("\ntls = \"/etc/letsencrypt/live/www.example.com\"\n"), "{site}");
    machine.configure(&format!("{}\n{site}", farm::CONFIG));
    let said = machine.ok("segue check 2>&1");
    let commands = block("chgrp -R segue ");
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
    // port 443 is kept, with its certificate
    machine.ok("systemctl restart proxy");
    machine.ok(&format!("{get} https://www.example.com/index.php"));
}
