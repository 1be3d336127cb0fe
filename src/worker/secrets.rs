//! What one generation gives the next that must never be in a file: certificates with their private keys, the keys of
//! session tickets. It lies in a
//! memory file of its own, which the supervisor holds and does not read.
//!
//! ```text
//! for each section: the length of its name, 1 byte · its name · the length of its content, 4 bytes, big endian · its content
//! ```
//! A reader passes over sections that it does not know.

use std::io;

use zeroize::Zeroizing;

use crate::control::payload::Payload;

/// Secrets by name.
#[derive(Default)]
pub struct Secrets {
    sections: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl Secrets {
    /// The same, with another section.
    #[must_use]
    pub fn with(mut self, name: &str, content: Zeroizing<Vec<u8>>) -> Self {
        self.sections.push((name.to_owned(), content));
        self
    }

    /// The content of the section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|(own, _)| own == name).map(|(_, content)| content.as_slice())
    }

    /// The memory file.
    ///
    /// # Errors
    /// When there is no memory or no descriptor left.
    pub fn write(&self) -> io::Result<Payload> {
        let length = self.sections.iter().map(|(name, content)| 5 + name.len() + content.len()).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        for (name, content) in &self.sections {
            bytes.push(u8::try_from(name.len()).map_err(io::Error::other)?);
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&u32::try_from(content.len()).map_err(io::Error::other)?.to_be_bytes());
            bytes.extend_from_slice(content);
        }
        Payload::new(&bytes)
    }

    /// What another generation wrote; what cannot be read is left out.
    #[must_use]
    pub fn read(payload: &Payload) -> Self {
        let bytes = Zeroizing::new(payload.read().unwrap_or_default());
        let mut rest = bytes.as_slice();
        let mut sections = Vec::new();
        while let Some((section, after)) = section(rest) {
            sections.push(section);
            rest = after;
        }
        Self { sections }
    }
}

type Section = (String, Zeroizing<Vec<u8>>);

fn section(bytes: &[u8]) -> Option<(Section, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk()?;
    let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some(((String::from_utf8_lossy(name).into_owned(), Zeroizing::new(content.to_vec())), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_left_out() {
        let content = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let secrets = Secrets::default().with("one", content("1")).with("two", content("22"));
        let whole = secrets.write().expect("written").read().expect("read");
        for cut in 0..=whole.len() {
            let read = Secrets::read(&Payload::new(&whole[..cut]).expect("memfd"));
            assert_eq!(read.section("one"), (cut >= 9).then_some(&b"1"[..]), "{cut}");
            assert_eq!(read.section("two"), (cut == whole.len()).then_some(&b"22"[..]), "{cut}");
        }
    }
}
