//! Events: what an operator may want to know that is no exchange. Plain data; [`super::journal`] writes it.
