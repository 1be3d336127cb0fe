//! The admin API and the status page, as a worker has them.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crate::admin::api::OpenHere;
use crate::admin::server::AdminServer;
use crate::control::admin::{ADMIN, DASHBOARD};
use crate::control::message::{Held, Start};
use crate::observe::journal::Journal;
use crate::proxy::RuntimeConfig;
use crate::proxy::certificate_files::secret_path;

/// The sockets of the admin API and of the status page.
pub(super) struct AdminListeners {
    admin: Option<OwnedFd>,
    page: Option<OwnedFd>,
}

/// These sockets, and all others.
pub(super) fn sockets(held: Vec<(Held, OwnedFd)>) -> (AdminListeners, Vec<(Held, OwnedFd)>) {
    let (mut found, mut others) = (AdminListeners { admin: None, page: None }, Vec::new());
    for (held, socket) in held {
        match held.listener.as_str() {
            ADMIN => found.admin = Some(socket),
            DASHBOARD => found.page = Some(socket),
            _ => others.push((held, socket)),
        }
    }
    (found, others)
}

/// What answers, and warnings about the users of the page.
pub(super) fn server(
    monitoring: Vec<OwnedFd>,
    AdminListeners { admin, page }: AdminListeners,
    Start { run_dir, page_token, .. }: &Start,
    journal: &Journal,
    runtime_config: &Arc<RuntimeConfig>,
) -> (AdminServer, Vec<String>) {
    let open_here = open_here(runtime_config.clone());
    let mut server = AdminServer::new(monitoring, admin, run_dir, journal.clone(), open_here, page_token);
    let dashboard = &runtime_config.config.dashboard;
    let wrong = page.map(|socket| server.serve_page(socket, dashboard, secret_path)).unwrap_or_default();
    (server, wrong.iter().map(|why| format!("warning: users of the status page: {why}\n")).collect())
}

/// What this worker has open with a server, by pool and name.
fn open_here(runtime_config: Arc<RuntimeConfig>) -> OpenHere {
    OpenHere(Rc::new(move |pool, server| {
        let pools = runtime_config.pools.iter().filter(|one| one.name == pool);
        let servers = pools.flat_map(|pool| &pool.servers).filter(|one| one.name == server);
        servers.map(|one| u64::from(one.open_attempts())).sum()
    }))
}
