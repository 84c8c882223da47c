//! Whether a broker listens at all, asked before the client is: its own words for that name no cause. And a word to
//! whoever waits.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::output::OutputFormat;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The pause between two rounds of attempts.
const AGAIN: Duration = Duration::from_millis(500);
/// A wait that is longer than this is told.
pub(super) const SOON: Duration = Duration::from_secs(2);
/// And told again each time.
pub(super) const STILL: Duration = Duration::from_secs(5);

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 9092;

/// Whether something accepts connections at one of these addresses (`host:port`, apart by commas), tried for as long as
/// `patience`, once at least. The error has a line for each address.
pub(super) fn someone_listens(bootstrap: &str, patience: Duration) -> Result<(), String> {
    let until = Instant::now() + patience;
    loop {
        let mut why = Vec::new();
        for address in bootstrap.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            match connect(address) {
                Ok(()) => return Ok(()),
                Err(error) => why.push(format!("{address}: {error}")),
            }
        }
        if why.is_empty() {
            return Err("no address is given".to_owned());
        }
        if Instant::now() >= until {
            return Err(why.join("\n"));
        }
        std::thread::sleep(AGAIN);
    }
}

fn connect(address: &str) -> Result<(), String> {
    let host = address.rsplit_once("://").map_or(address, |(_, host)| host);
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:{DEFAULT_PORT}")
    };
    let places = with_port.to_socket_addrs().map_err(|e| e.to_string())?;
    let mut why = "the name has no address".to_owned();
    for place in places {
        match TcpStream::connect_timeout(&place, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// Who hears what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearer {
    /// Somebody who looks at standard error.
    Person,
    /// A program that wants the answer alone.
    Program,
    /// Whoever reads the log of a process that stays, line by line.
    Log,
}

impl From<OutputFormat> for Hearer {
    fn from(format: OutputFormat) -> Self {
        if format == OutputFormat::Json { Self::Program } else { Self::Person }
    }
}

/// Tells what is waited for, once the wait is long.
pub(super) struct Waiting {
    done: Option<Sender<()>>,
}

impl Waiting {
    /// Begins a wait; dropping it ends it.
    pub fn begin(hearer: impl Into<Hearer>, what: String) -> Self {
        Self::after(SOON, hearer, what)
    }

    /// As [`Waiting::begin`], with a first word after `soon`.
    pub fn after(soon: Duration, hearer: impl Into<Hearer>, what: String) -> Self {
        let hearer = hearer.into();
        if hearer == Hearer::Program {
            return Self { done: None };
        }
        let (done, ended) = channel::<()>();
        std::thread::spawn(move || {
            let began = Instant::now();
            let mut next = soon;
            while ended.recv_timeout(next) == Err(RecvTimeoutError::Timeout) {
                let seconds = began.elapsed().as_secs();
                if hearer == Hearer::Log {
                    tracing::info!(seconds, "still waiting for {what}");
                } else {
                    eprintln!("consign: still waiting for {what} ({seconds} s)");
                }
                next = STILL;
            }
        });
        Self { done: Some(done) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.done.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_is_found_and_what_does_not_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap().to_string();
        assert_eq!(someone_listens(&format!("127.0.0.1:1, PLAINTEXT://{there}"), Duration::ZERO), Ok(()));
        let why = someone_listens("127.0.0.1:1,127.0.0.1:2", Duration::ZERO).unwrap_err();
        assert!(why.starts_with("127.0.0.1:1: ") && why.contains("\n127.0.0.1:2: "), "{why}");
        assert!(someone_listens("", Duration::ZERO).is_err());
    }
}
