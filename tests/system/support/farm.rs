//! The web farm of 2011 in a machine: three real servers on 10.0.0.11 to 13, port 80, and the proxy in front of them.

use std::time::Duration;

use super::machine::{Machine, Release};
use super::wait_for;

/// The configuration that serves the farm.
pub(crate) const CONFIG: &str = r#"[site."*"]
to = "web-farm"

[pool.web-farm]
servers = ["10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"]
check   = "HEAD /index.php"
"#;

/// The address that loads and single requests go to.
pub(crate) const URL: &str = "http://127.0.0.1/index.php";

/// A machine with the package, the farm behind it, and all three servers up.
pub(crate) fn machine(release: Release) -> Machine {
    set_up(Machine::installed(release))
}

/// The same with no other machine beside it.
pub(crate) fn lone_machine(release: Release) -> Machine {
    set_up(Machine::installed_alone(release))
}

fn set_up(machine: Machine) -> Machine {
    start(&machine);
    machine.configure(CONFIG);
    machine.ok("systemctl reload proxy");
    wait_for("every server to answer", Duration::from_secs(10), || {
        let answers =
            machine.ok(&format!("for i in 1 2 3; do curl --silent --max-time 2 {URL}; done | sort -u | wc -l"));
        (answers == "3").then_some(())
    });
    machine
}

/// Waits until one worker is left: the generation of the last reload has proved itself, and the one before is gone.
pub(crate) fn one_generation(machine: &Machine) {
    wait_for("the earlier generation to be gone", Duration::from_secs(20), || {
        (machine.workers().len() == 1).then_some(())
    });
}

/// The unit of the server with this address.
pub(crate) fn unit(address: &str) -> String {
    format!("server@{address}.service")
}

/// Starts the three servers. They live in a network namespace of their own: the proxy's socket has port 80 of every
/// address here.
pub(crate) fn start(machine: &Machine) {
    machine.ok("ip netns add farm \
        && ip link add farm0 type veth peer name eth0 netns farm \
        && ip address add 10.0.0.1/24 dev farm0 && ip link set farm0 up \
        && ip -n farm link set lo up && ip -n farm link set eth0 up && mkdir /etc/farm /srv/farm \
        && head -c 300000 /dev/zero >/srv/farm/long");
    machine.write(
        "/etc/systemd/system/server@.service",
        "[Service]\nNetworkNamespacePath=/run/netns/farm\nExecStart=/usr/sbin/nginx -c /etc/farm/%i\n",
    );
    for address in ["10.0.0.11", "10.0.0.12", "10.0.0.13"] {
        machine.ok(&format!("ip -n farm address add {address}/24 dev eth0"));
        machine.write(&format!("/etc/farm/{address}"), &server(address));
        machine.ok(&format!("systemctl start {}", unit(address)));
    }
}

// `/broken` closes the connection without an answer; `/long` takes ten seconds.
fn server(address: &str) -> String {
    format!(
        "daemon off;
pid /run/server-{address}.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    default_type text/plain;
    root /srv/farm;
    server {{
        listen {address}:80 backlog=4096;
        location = /index.php {{ return 200 \"{address}\\n\"; }}
        location = /broken {{ return 444; }}
        location = /long {{ limit_rate 30k; }}
    }}
}}
"
    )
}
