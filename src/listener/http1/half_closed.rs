//! A client that has closed its sending side while its answer is outstanding: it waits for the answer, or it has left.
//!
//! Both look the same to the kernel until something is sent: then that of a client which has left answers with a reset
//! ([decision 12](../../../docs/decisions/0012-half-closed-clients.md)). What is sent belongs to the response: its first
//! bytes, one by one, or a leading zero of the next chunk size. A client that waits has nothing but its response, a little
//! of it early.

use std::time::Duration;

use tokio::time::Instant;

use crate::handover::transfer::SavedHalfClosed;
use crate::proxy::client::before;

/// From the end of what the client sends to the first look: most responses come sooner, and in one piece. The next looks
/// come twice as late each: the second finds the reset that the first had for an answer, the others find a client that
/// leaves while it waits.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// With so little time or less no look is taken: the time is over before a look is worth its packet.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// No client of another generation is waited for any longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What is known of such a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfClosed {
    since: Instant,
    /// It is waited for until then.
    until: Instant,
    /// From `since` to the next look; none when there is none.
    next_look: Option<Duration>,
}

impl HalfClosed {
    /// A client that closed its sending side just now, and is waited for as long as `timeout`.
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        Self { since: now, until: now + timeout, next_look: (timeout > TOO_SHORT).then_some(FIRST_LOOK) }
    }

    /// A client that closed its sending side while another generation had it.
    pub(super) fn resumed(now: Instant, saved: SavedHalfClosed) -> Self {
        let (since, left) = (before(now, saved.age), saved.left.min(LONGEST));
        let mut client = Self::new(since, now - since + left);
        client.until = now + left;
        while client.is_to_look(now) {} // those looks were taken
        client
    }

    /// What another generation has to know of it.
    pub(super) fn save(&self, now: Instant) -> SavedHalfClosed {
        let age = now.saturating_duration_since(self.since);
        SavedHalfClosed { age, left: self.until.saturating_duration_since(now) }
    }

    /// It took bytes, so it has not left.
    pub(super) fn took(&mut self, now: Instant, timeout: Duration) {
        self.until = now + timeout;
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Whether it is time to look; it is asked once for each look.
    pub(super) fn is_to_look(&mut self, now: Instant) -> bool {
        let Some(after) = self.next_look.filter(|after| now >= self.since + *after) else { return false };
        self.next_look = after.checked_mul(2);
        true
    }

    /// When the next look is due, or the time is over.
    pub(super) fn due(&self) -> Instant {
        self.next_look.map_or(self.until, |after| self.until.min(self.since + after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_and_end_with_the_time() {
        let began = Instant::now();
        let mut client = HalfClosed::new(began, Duration::from_secs(60));
        let mut looks = Vec::new();
        while !client.is_over(client.due()) {
            looks.push((client.due() - began).as_millis());
            assert!(client.is_to_look(client.due()));
        }
        assert_eq!(looks, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]);
        assert_eq!(client.due(), began + Duration::from_secs(60));
    }

    #[test]
    fn a_client_that_has_little_time_is_not_looked_at() {
        let began = Instant::now();
        let mut client = HalfClosed::new(began, Duration::from_secs(1));
        assert_eq!(client.due(), began + Duration::from_secs(1));
        assert!(!client.is_to_look(began + Duration::from_millis(900)));
        client.took(began + Duration::from_millis(900), Duration::from_secs(1));
        assert!(!client.is_over(began + Duration::from_secs(1)));
    }
}
