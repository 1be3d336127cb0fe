//! The users of the status page: HTTP Basic (RFC 7617), passwords as hashes of Argon2.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use aws_lc_rs::{digest, rand};
use base64ct::{Base64, Encoding};
use tokio::sync::Semaphore;

use crate::config::PageUser;

/// Logins of a client address that may fail in [`WINDOW`].
const MOST_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Client addresses that are remembered.
const MOST_CLIENTS: usize = 4096;
/// A password is looked at this long at least, right or wrong: so guesses take no processor.
const PAUSE: Duration = Duration::from_millis(250);
/// Logins that wait for their turn.
const MOST_WAITING: usize = 16;
/// Logins that were right are known again for as long as the process serves; the oldest is forgotten for a new one.
const MOST_KNOWN: usize = 64;
/// In bytes: a longer one is none.
const LONGEST_LOGIN: usize = 1024;
/// What an unknown user is held against: it takes as long as that of a known one.
const OF_NONE: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2VndWUtbm8tc3VjaC11c2Vy$DKZgmMi5vRG4bXvMVrKnRLjxlk9BE+RTFSB4MSCDIaA";

/// What comes of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// This user.
    User(String),
    /// None is named, or it is no HTTP Basic.
    Missing,
    /// The user is unknown or the password wrong.
    Wrong,
    /// Too many were wrong lately that came from there.
    TooMany,
    /// Too many wait.
    Busy,
}

/// The users, and what was tried.
#[derive(Clone, Debug)]
pub(super) struct Logins(Rc<LoginState>);

#[derive(Debug)]
struct LoginState {
    users: RefCell<Arc<[PageUser]>>,
    /// Digests of logins that were right, with their users, the oldest first.
    right: RefCell<Vec<(Vec<u8>, String)>>,
    /// What the digests are salted with.
    salt: [u8; 32],
    /// By client address: how many failed, since when.
    failed: RefCell<HashMap<String, (u32, Instant)>>,
    waiting: Arc<Semaphore>,
    turn: Semaphore,
}

impl Logins {
    /// Of these users.
    pub(super) fn new(users: Vec<PageUser>) -> Self {
        let mut salt = [0; 32];
        // what is not random is still unknown to clients: they never see a digest
        let _ = rand::fill(&mut salt);
        Self(Rc::new(LoginState {
            users: RefCell::new(users.into()),
            right: RefCell::default(),
            salt,
            failed: RefCell::default(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            turn: Semaphore::new(1),
        }))
    }

    /// Other users: what logged in before has to do so again.
    pub(super) fn set_users(&self, users: Vec<PageUser>) {
        self.0.users.replace(users.into());
        self.0.right.take();
    }

    /// A number that changes with the password of a user, the same in every process; none for an unknown user.
    pub(super) fn mark(&self, name: &str) -> Option<u64> {
        let users = self.0.users.borrow();
        let user = users.iter().find(|user| user.name == name)?;
        let digest = digest::digest(&digest::SHA256, user.hash.as_bytes());
        digest.as_ref().first_chunk().map(|first| u64::from_be_bytes(*first))
    }

    /// What an `Authorization` field says that came from `client`.
    pub(super) async fn check(&self, authorization: Option<&str>, client: &str) -> Login {
        let Some((name, password)) = authorization.and_then(credentials) else { return Login::Missing };
        let known = &*self.0;
        let client = &*network(client);
        let digest = known.digest(&name, &password);
        if known.was_right(&digest) {
            return Login::User(name);
        }
        if known.is_barred(client) {
            return Login::TooMany;
        }
        let Ok(_waits) = known.waiting.clone().try_acquire_owned() else { return Login::Busy };
        let Ok(_turn) = known.turn.acquire().await else { return Login::Busy };
        // what came before it in the queue
        if known.was_right(&digest) {
            return Login::User(name);
        }
        if known.is_barred(client) {
            return Login::TooMany;
        }
        let began = Instant::now();
        let (users, user) = (known.users.borrow().clone(), name.clone());
        let verified = tokio::task::spawn_blocking(move || is_right(&users, &user, &password));
        let is_right = verified.await.unwrap_or(false);
        tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
        if !is_right {
            known.failed(client);
            return Login::Wrong;
        }
        let mut right = known.right.borrow_mut();
        if right.len() >= MOST_KNOWN {
            right.remove(0);
        }
        right.push((digest, name.clone()));
        Login::User(name)
    }
}

impl LoginState {
    fn digest(&self, name: &str, password: &str) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&self.salt, name.as_bytes(), b":", password.as_bytes()] {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }

    fn was_right(&self, digest: &[u8]) -> bool {
        self.right.borrow().iter().any(|(right, _)| right == digest)
    }

    fn is_barred(&self, client: &str) -> bool {
        let failed = self.failed.borrow();
        failed.get(client).is_some_and(|(count, since)| *count >= MOST_FAILURES && since.elapsed() < WINDOW)
    }

    fn failed(&self, client: &str) {
        let mut failed = self.failed.borrow_mut();
        failed.retain(|_, (_, since)| since.elapsed() < WINDOW);
        if failed.len() >= MOST_CLIENTS {
            failed.clear(); // so many addresses are bounded by the pause alone
        }
        failed.entry(client.to_owned()).or_insert((0, Instant::now())).0 += 1;
    }
}

/// What one client has in its hand: an address, of IPv6 the network of 64 bits.
fn network(client: &str) -> Cow<'_, str> {
    match client.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_none() => {
            let network = six.to_bits() >> 64;
            format!("{network:x}").into()
        }
        _ => client.into(),
    }
}

/// Whether the password is that of the user. It takes as long where there is no such user.
fn is_right(users: &[PageUser], name: &str, password: &str) -> bool {
    let user = users.iter().find(|user| user.name == name);
    let Ok(hash) = PasswordHash::new(user.map_or(OF_NONE, |user| &user.hash)) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && user.is_some()
}

/// User and password of HTTP Basic (RFC 7617 2).
fn credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > LONGEST_LOGIN {
        return None;
    }
    let decoded = String::from_utf8(Base64::decode_vec(encoded.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher;

    use super::*;

    fn logins() -> Logins {
        let cheap = Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(8, 1, 1, None).expect("parameters"),
        );
        let hash = cheap.hash_password(b"right:one").expect("a hash").to_string();
        Logins::new(vec![PageUser::parse(&format!("admin:{hash}")).expect("a user")])
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", Base64::encode_string(text.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_is_known_again_and_wrong_ones_bar_their_client() {
        let logins = logins();
        let right = basic("admin:right:one");
        assert_eq!(logins.check(None, "c").await, Login::Missing);
        assert_eq!(logins.check(Some("Bearer x"), "c").await, Login::Missing);
        assert_eq!(logins.check(Some(&right), "c").await, Login::User("admin".to_owned()));
        for _ in 0..MOST_FAILURES {
            assert_eq!(logins.check(Some(&basic("admin:wrong")), "bad").await, Login::Wrong);
        }
        assert_eq!(logins.check(Some(&basic("admin:wrong")), "bad").await, Login::TooMany);
        assert_eq!(logins.check(Some(&basic("none:right:one")), "c").await, Login::Wrong);
        assert_eq!(logins.check(Some(&right), "bad").await, Login::User("admin".to_owned()), "it is known");
        assert_eq!(logins.check(Some(&basic("admin:wrong")), "c").await, Login::Wrong, "another client");
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_client() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn users_that_are_taken_away_are_out_at_once() {
        let logins = logins();
        let right = basic("admin:right:one");
        assert_eq!(logins.check(Some(&right), "c").await, Login::User("admin".to_owned()));
        assert!(logins.mark("admin").is_some());
        logins.set_users(Vec::new());
        assert_eq!(logins.check(Some(&right), "c").await, Login::Wrong);
        assert_eq!(logins.mark("admin"), None);
    }

    #[test]
    fn what_an_unknown_user_is_held_against_is_a_hash() {
        assert!(PasswordHash::new(OF_NONE).is_ok());
        assert!(!is_right(&[], "admin", "segue"));
    }
}
