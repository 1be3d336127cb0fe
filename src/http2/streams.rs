//! The streams of a connection that are open, and what is remembered of those that are not.

use super::priority::Priority;
use super::window::{ReceiveWindow, SendWindow};

/// One open stream.
///
/// ```text
///   open ──the peer sends its end──▶ half-closed ──our end──▶ closed
///     └──our end, and a reset of what the peer still sends───▶ closed
/// ```
#[derive(Debug)]
pub struct StreamState {
    /// Its number.
    pub id: u32,
    /// What may be sent on it.
    pub send: SendWindow,
    /// What the peer may send on it.
    pub receive: ReceiveWindow,
    /// The peer has ended its side.
    pub is_received: bool,
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
        }
    }
}

/// The last streams that were closed.
#[derive(Debug, Default)]
struct RecentlyClosed {
    streams: [(u32, bool); 32],
    next: usize,
}

impl RecentlyClosed {
    fn push(&mut self, id: u32, by_reset: bool) {
        self.streams[self.next] = (id, by_reset);
        self.next = (self.next + 1) % self.streams.len();
    }

    fn find(&self, id: u32) -> Option<bool> {
        self.streams.iter().find(|(known, _)| *known == id).map(|(_, by_reset)| *by_reset)
    }
}
