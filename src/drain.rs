//! The end of a generation, as its tasks see it.
//!
//! One [`Drain`] per worker tells every task of every thread; each task looks at it where it may end, and is woken
//! when it changes.
