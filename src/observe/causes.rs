//! Errors as text for people.

/// An error with its causes, in one line.
#[derive(Debug)]
pub struct WithCauses<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for WithCauses<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(out, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
