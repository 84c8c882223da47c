//! A stream that ends well only if what was read is what was announced.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Announced, Fault, Source};
use crate::transport::hex;

/// What was read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Bytes.
    pub size: u64,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
}

/// A file that is being read.
///
/// Its last part is held back until size and digest are known to be right, so that whoever passes the parts on breaks off
/// before the last byte of a file that is another one than announced.
pub struct Opened {
    source: Source,
    announced: Announced,
    digest: Sha256,
    read: u64,
    /// The newest part.
    held: Option<Bytes>,
    found: Option<Found>,
}

impl Opened {
    /// `size` is what the place says, if it does.
    pub(super) fn new(source: Source, announced: Announced, size: Option<u64>) -> Result<Self, Fault> {
        if let Some(size) = size {
            check_size(&announced, size)?;
            check_limit(&announced, size)?;
        }
        Ok(Self { source, announced, digest: Sha256::new(), read: 0, held: None, found: None })
    }

    /// The next part; `None` after the last one, and only if the whole file was what was announced.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.found.is_some() {
            return Ok(None);
        }
        loop {
            match self.source.next().await? {
                Some(part) if part.is_empty() => {}
                Some(part) => {
                    self.take_in(&part)?;
                    if let Some(held) = self.held.replace(part) {
                        return Ok(Some(held));
                    }
                }
                None => {
                    let found = self.ended()?;
                    self.found = Some(found);
                    return Ok(self.held.take());
                }
            }
        }
    }

    /// What was read; `None` before the end.
    pub const fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// Reads to the end and keeps nothing.
    pub async fn verify(mut self) -> Result<Found, Fault> {
        while self.next().await?.is_some() {}
        Ok(self.found.take().expect("the end was read"))
    }

    /// Reads to the end and keeps all of it, `max_size` bytes at most.
    pub async fn whole(mut self) -> Result<(Vec<u8>, Found), Fault> {
        let mut bytes = Vec::new();
        while let Some(part) = self.next().await? {
            bytes.extend_from_slice(&part);
        }
        Ok((bytes, self.found.take().expect("the end was read")))
    }

    fn take_in(&mut self, part: &Bytes) -> Result<(), Fault> {
        self.read = self.read.saturating_add(part.len() as u64);
        self.digest.update(part);
        match self.announced.size.filter(|size| self.read > *size) {
            Some(size) => Err(Fault::last("size_differs", format!("expected {size} bytes, found more"))),
            None => check_limit(&self.announced, self.read),
        }
    }

    fn ended(&mut self) -> Result<Found, Fault> {
        let digest = std::mem::take(&mut self.digest).finalize();
        let found = Found { size: self.read, digest: format!("sha256:{}", hex(&digest)) };
        self.announced.check(&found).map(|()| found)
    }
}

impl Announced {
    /// Whether what was found is what was announced. The error says expected and found.
    pub fn check(&self, found: &Found) -> Result<(), Fault> {
        self.check_itself()?;
        check_size(self, found.size)?;
        check_limit(self, found.size)?;
        match self.digest.as_ref().filter(|expected| **expected != found.digest) {
            Some(expected) => {
                Err(Fault::last("digest_differs", format!("expected {expected}, found {}", found.digest)))
            }
            None => Ok(()),
        }
    }
}

fn check_size(announced: &Announced, found: u64) -> Result<(), Fault> {
    match announced.size.filter(|size| *size != found) {
        Some(expected) => Err(Fault::last("size_differs", format!("expected {expected} bytes, found {found}"))),
        None => Ok(()),
    }
}

fn check_limit(announced: &Announced, found: u64) -> Result<(), Fault> {
    if found > announced.max_size {
        return Err(Fault::last("too_large", format!("it has more than {} bytes", announced.max_size)));
    }
    Ok(())
}
