//! The streams of a connection that are open, and what is remembered of those that are not.

use serde::{Deserialize, Serialize};

use super::priority::Priority;
use super::window::{ReceiveWindow, SendWindow};

/// One open stream.
///
/// ```text
///   open ──the peer sends its end──▶ half-closed ──our end──▶ closed
///     └──our end, and a reset of what the peer still sends───▶ closed
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Its number.
    pub id: u32,
    /// What may be sent on it.
    pub send: SendWindow,
    /// What the peer may send on it.
    pub receive: ReceiveWindow,
    /// The peer has ended its side.
    pub is_received: bool,
    /// A client has ended its side.
    #[serde(default)]
    pub is_sent: bool,
    /// The response to a client has no body whatever it says: that to HEAD.
    #[serde(default)]
    pub is_head: bool,
    /// A client has the head of the response that is the last one.
    #[serde(default)]
    pub has_response: bool,
    /// Octets that `Content-Length` says and that have not come.
    pub length: Option<u64>,
    /// Octets that came and were not given back to the windows.
    pub held: usize,
    /// In which order it is served, if the client said that.
    pub priority: Option<Priority>,
}

impl StreamState {
    /// Whether the body can have so many octets more, and end with them, by what `Content-Length` says.
    pub(super) fn counts(&mut self, octets: usize, ends: bool) -> bool {
        let Some(length) = &mut self.length else { return true };
        let Some(left) = length.checked_sub(octets as u64) else { return false };
        *length = left;
        !ends || left == 0
    }
}

/// The open streams, each with a place that it keeps: its key.
#[derive(Debug, Default)]
pub struct Streams {
    /// By key; 0 where the place is free. Looked through from the start: with 128 streams that is 512 octets, and faster
    /// than a map.
    ids: Vec<u32>,
    states: Vec<Option<Box<StreamState>>>,
    open: usize,
    /// A stream has said its priority since none was open.
    has_priorities: bool,
    closed: RecentlyClosed,
}

impl Streams {
    /// Those that are open, in the order of their keys, and what is remembered of those that are not, the oldest first.
    pub(super) fn save(mut self) -> (Vec<StreamState>, Vec<u32>) {
        self.closed.streams.rotate_left(self.closed.oldest);
        (self.states.into_iter().flatten().map(|state| *state).collect(), self.closed.streams)
    }

    /// Streams that were saved. The keys of those that are open are their places.
    pub(super) fn restored(open: Vec<StreamState>, closed: Vec<u32>) -> Self {
        let closed = RecentlyClosed { streams: closed, oldest: 0 };
        let mut streams = Self { closed, ..Self::default() };
        for state in open {
            streams.insert(state);
        }
        streams
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// The key of the open stream with this number.
    #[must_use]
    pub fn key(&self, id: u32) -> Option<usize> {
        self.ids.iter().position(|known| *known == id).filter(|_| id != 0)
    }

    /// The open stream with this key.
    #[must_use]
    pub fn get(&self, key: usize) -> Option<&StreamState> {
        self.states.get(key)?.as_deref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut StreamState> {
        self.states.get_mut(key)?.as_deref_mut()
    }

    /// All of them, each with its key.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut StreamState)> {
        self.states.iter_mut().enumerate().filter_map(|(key, state)| state.as_deref_mut().map(|state| (key, state)))
    }

    /// Opens a stream.
    pub fn insert(&mut self, state: StreamState) -> usize {
        self.open += 1;
        self.has_priorities |= state.priority.is_some();
        let key = match self.ids.iter().position(|id| *id == 0) {
            Some(key) => key,
            None => {
                self.ids.push(0);
                self.states.push(None);
                self.ids.len() - 1
            }
        };
        self.ids[key] = state.id;
        self.states[key] = Some(Box::new(state));
        key
    }

    /// Closes a stream. `by_reset` when this side reset it: the peer may have sent more before it heard of that.
    pub fn remove(&mut self, key: usize, by_reset: bool) -> Option<Box<StreamState>> {
        let state = self.states.get_mut(key)?.take()?;
        self.ids[key] = 0;
        self.open -= 1;
        self.has_priorities &= self.open > 0;
        self.closed.push(state.id, by_reset);
        Some(state)
    }

    /// Says in which order a stream is served.
    pub fn set_priority(&mut self, key: usize, priority: Priority) {
        if let Some(state) = self.get_mut(key) {
            state.priority = Some(priority);
            self.has_priorities = true;
        }
    }

    /// Whether a stream that is open, or was while another one is, has said its priority.
    #[must_use]
    pub fn has_priorities(&self) -> bool {
        self.has_priorities
    }

    /// Remembers a stream that was never opened.
    pub fn refused(&mut self, id: u32) {
        self.closed.push(id, true);
    }

    /// How a stream was closed that is not open: `Some(true)` when this side reset it lately, `Some(false)` when it ended
    /// lately, none when it is not remembered.
    #[must_use]
    pub fn closed(&self, id: u32) -> Option<bool> {
        self.closed.find(id)
    }

    /// Gives back memory while none is open.
    pub fn shrink(&mut self) {
        if self.open == 0 {
            (self.ids, self.states) = (Vec::new(), Vec::new());
            self.closed.shrink();
        }
    }
}

/// The last streams that were closed, each as its number and, in the lowest bit, whether this side reset it. A stream of
/// a client has an odd number, of which the lowest bit says nothing.
#[derive(Debug, Default)]
pub(super) struct RecentlyClosed {
    streams: Vec<u32>,
    /// The oldest one, once there are as many as are remembered.
    oldest: usize,
}

impl RecentlyClosed {
    /// As many as are remembered: a client hears of a reset within a round trip.
    pub(super) const MOST: usize = 32;

    fn push(&mut self, id: u32, by_reset: bool) {
        let closed = id & !1 | u32::from(by_reset);
        if self.streams.len() < Self::MOST {
            self.streams.push(closed);
        } else {
            self.streams[self.oldest] = closed;
            self.oldest = (self.oldest + 1) % Self::MOST;
        }
    }

    fn find(&self, id: u32) -> Option<bool> {
        self.streams.iter().find(|closed| **closed | 1 == id | 1).map(|closed| closed & 1 == 1)
    }

    /// Forgets those that have ended, and keeps those that were reset: what was on its way to them may come still.
    fn shrink(&mut self) {
        self.streams.rotate_left(self.oldest);
        self.oldest = 0;
        self.streams.retain(|closed| closed & 1 == 1);
        self.streams.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_streams_are_remembered_and_over_a_rest_those_that_were_reset() {
        let mut closed = RecentlyClosed::default();
        (0..50).for_each(|place| closed.push(2 * place + 1, place % 2 == 0));
        assert_eq!((closed.find(35), closed.find(37), closed.find(39)), (None, Some(true), Some(false)));
        closed.shrink();
        assert_eq!((closed.find(37), closed.find(39), closed.streams.len()), (Some(true), None, 16));
        (50..70).for_each(|place| closed.push(2 * place + 1, false));
        // 16 more fill the places, 4 more take those of the oldest: 37, 41, 45 and 49
        assert_eq!((closed.find(49), closed.find(53), closed.find(139)), (None, Some(true), Some(false)));
    }
}
