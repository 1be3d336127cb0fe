//! The private upstream connections of one client connection: those that a server authenticates instead of each request
//! (NTLM, Negotiate; RFC 4559 §6). What one of them may do, no other client may.
//!
//! ```text
//!   (none) ──a scheme of this kind was offered or answered──▶ in use ──the response is whole──▶ kept
//!                                                             │  ▲                              │
//!                                                             │  └────────the next request──────┤
//!                                                             ▼                                 ▼
//!                                                            lost ◀────the server closed it─────┘
//! ```

use smallvec::SmallVec;
use tokio::time::Instant;

use super::runtime_config::RuntimeConfig;
use crate::handover::capabilities::Reach;
use crate::handover::transfer::PrivateTransfer;
use crate::observe::record::RecordNames;
use crate::upstream::connection::Connection;

/// Most pools for which one client connection has a private connection. Sites with different users are few; without a
/// bound one client could hold a descriptor for each site.
const MOST: usize = 4;

/// The private connections of one client connection, at most one for each pool. Most clients have none, so it is one word.
#[derive(Default)]
pub struct Private(Option<Box<SmallVec<[OfPool; 1]>>>);

struct OfPool {
    pool: usize,
    server: usize,
    /// None while it is in use, and once it is lost.
    kept: Option<KeptPrivate>,
}

struct KeptPrivate {
    connection: Box<Connection>,
    since: Instant,
}

/// What a client connection has for a pool.
pub(super) enum Found {
    Nothing,
    /// A connection to this server, open so far as is known.
    Kept(usize, Box<Connection>),
    /// Its connection to this server is gone.
    Lost(usize),
}

impl Private {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|all| all.is_empty())
    }

    fn all(&mut self) -> &mut [OfPool] {
        self.0.as_deref_mut().map_or(&mut [], |all| all.as_mut_slice())
    }

    /// Takes the connection to a server of this pool, for a request.
    pub(super) fn take(&mut self, pool: usize) -> Found {
        let Some(of_pool) = self.all().iter_mut().find(|of_pool| of_pool.pool == pool) else { return Found::Nothing };
        match of_pool.kept.take() {
            Some(KeptPrivate { mut connection, since }) if connection.is_fresh_now() => {
                connection.reuse(since);
                Found::Kept(of_pool.server, connection)
            }
            _ => Found::Lost(of_pool.server),
        }
    }

    /// A connection to this server has become private, and is in use.
    pub(super) fn begin(&mut self, pool: usize, server: usize) {
        let all = self.0.get_or_insert_default();
        all.retain(|of_pool| of_pool.pool != pool);
        if all.len() == MOST {
            all.remove(0);
        }
        all.push(OfPool { pool, server, kept: None });
    }

    /// Keeps the connection for the next request to this pool.
    pub(super) fn keep(&mut self, pool: usize, server: usize, connection: Box<Connection>, since: Instant) {
        let of_pool = self.all().iter_mut().find(|of_pool| (of_pool.pool, of_pool.server) == (pool, server));
        if let Some(of_pool) = of_pool {
            of_pool.kept = Some(KeptPrivate { connection, since });
        }
    }

    /// Closes those that are kept.
    pub fn close(&mut self) {
        self.all().iter_mut().for_each(|of_pool| of_pool.kept = None);
    }

    /// Whether another generation can take all that are kept.
    pub fn is_in(&self, reach: &Reach) -> bool {
        let mut kept = self.0.iter().flat_map(|all| all.iter()).filter(|of_pool| of_pool.kept.is_some());
        kept.all(|of_pool| reach.has_private(of_pool.pool, of_pool.server))
    }

    /// Makes transfers of those that are kept, and forgets the others.
    #[must_use]
    pub fn pack(&mut self, names: &RecordNames) -> Vec<PrivateTransfer> {
        let transfer = |OfPool { pool, server, kept }: OfPool| {
            let connection = kept?.connection;
            let tls = connection.tls_settings();
            let (socket, _) = connection.into_parts()?;
            let (name, servers) = names.pools.get(pool)?;
            let (pool, server) = (name.clone(), servers.get(server)?.clone());
            Some(PrivateTransfer { socket: socket.detach().ok()?, tls, pool, server })
        };
        self.0.take().into_iter().flat_map(|all| *all).filter_map(transfer).collect()
    }

    /// Goes on with those of another generation. What cannot be used here is lost.
    #[must_use]
    pub fn unpack(transfers: Vec<PrivateTransfer>, runtime_config: &RuntimeConfig) -> Self {
        let RuntimeConfig { names, pools, .. } = runtime_config;
        let mut private = Self::default();
        for PrivateTransfer { socket, tls, pool, server } in transfers {
            let found = names.pools.iter().position(|(name, _)| *name == pool).and_then(|pool| {
                let servers = &names.pools[pool].1;
                Some((pool, servers.iter().position(|name| *name == server)?))
            });
            let Some((pool, server)) = found else { continue };
            private.begin(pool, server);
            let of = &pools[pool].servers[server];
            if let Ok(stream) = socket.attach()
                && tls == of.tls_settings()
            {
                private.keep(pool, server, Connection::inherited(stream, of), Instant::now());
            }
        }
        private
    }
}
