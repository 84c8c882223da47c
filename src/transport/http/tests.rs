//! Against real sockets on the loopback interface.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::record::{Bytes, Confirmation, ConfirmedBy, FileBody, OutcomeKind, TokenCheck, TransportKind};
use crate::transport::testing::{RecordingAppender, attempt, codec, plan, soon};
use crate::transport::{Answer, Capacity};

mod bounds;
mod credentials;
mod fetching;
mod files;
mod guard;
mod hostile;
mod requests;
mod tls;

/// What a peer does with the next request.
enum Act {
    /// Writes these bytes and waits for the next request on the connection.
    Answer(String),
    /// Writes these bytes and closes the connection.
    AnswerAndClose(String),
    /// Writes these bytes and then nothing.
    Hang(String),
    /// Resets the connection.
    Reset,
    /// Writes these bytes and waits for the next request.
    Bytes(Vec<u8>),
    /// Writes these bytes and resets the connection.
    AnswerAndReset(String),
}

/// A listener that counts connections, remembers what it reads and acts as told.
struct Peer {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: watch::Receiver<Vec<Vec<u8>>>,
    received: Arc<AtomicUsize>,
    closed: watch::Receiver<usize>,
}

impl Peer {
    async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(AtomicUsize::new(0));
        let acts = Arc::new(Mutex::new(acts.into_iter().collect::<VecDeque<_>>()));
        let (seen, requests) = watch::channel(Vec::new());
        let (count, bytes, seen) = (Arc::clone(&connections), Arc::clone(&received), Arc::new(seen));
        let (ended, closed) = watch::channel(0);
        let ended = Arc::new(ended);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let serving = serve(stream, Arc::clone(&acts), Arc::clone(&bytes), Arc::clone(&seen));
                let ended = Arc::clone(&ended);
                tokio::spawn(async move {
                    serving.await;
                    ended.send_modify(|closed| *closed += 1);
                });
            }
        });
        Self { port, connections, requests, received, closed }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in?x=1", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until that many connections have ended.
    async fn closed(&self, count: usize) {
        soon(self.closed.clone().wait_for(|closed| *closed >= count)).await.expect("the peer is there");
    }

    /// Waits for that many requests and gives them.
    async fn requests(&self, count: usize) -> Vec<Vec<u8>> {
        let mut requests = self.requests.clone();
        soon(requests.wait_for(|all| all.len() >= count)).await.expect("the peer is there").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    received: Arc<AtomicUsize>,
    seen: Arc<watch::Sender<Vec<Vec<u8>>>>,
) {
    while let Some(request) = read_request(&mut stream, &received).await {
        let act = acts.lock().expect("not poisoned").pop_front();
        seen.send_modify(|all| all.push(request));
        match act {
            Some(Act::Answer(bytes)) => stream.write_all(bytes.as_bytes()).await.expect("written"),
            Some(Act::AnswerAndClose(bytes)) => return stream.write_all(bytes.as_bytes()).await.expect("written"),
            Some(Act::Hang(bytes)) => {
                stream.write_all(bytes.as_bytes()).await.expect("written");
                // Until the other side gives up.
                while matches!(stream.read(&mut [0; 64]).await, Ok(n) if n > 0) {}
                return;
            }
            Some(Act::Reset) => return stream.set_zero_linger().expect("a socket option"),
            // Who has read enough may be gone.
            Some(Act::Bytes(bytes)) => drop(stream.write_all(&bytes).await),
            Some(Act::AnswerAndReset(bytes)) => {
                stream.write_all(bytes.as_bytes()).await.expect("written");
                return stream.set_zero_linger().expect("a socket option");
            }
            None => panic!("a request that nobody expected"),
        }
    }
}

/// The bytes of one request, or nothing where the connection ends before.
async fn read_request(stream: &mut TcpStream, received: &AtomicUsize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let length = header(&bytes, "content-length").map_or(0, |value| value.parse().expect("a number"));
            if bytes.len() >= end + 4 + length {
                return Some(bytes);
            }
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        received.fetch_add(n, Ordering::SeqCst);
        if n == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..n]);
    }
}

fn split(request: &[u8]) -> (String, Vec<u8>) {
    let end = request.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    (String::from_utf8(request[..end].to_vec()).expect("text"), request[end + 4..].to_vec())
}

fn header(request: &[u8], name: &str) -> Option<String> {
    let (head, _) = split(request);
    head.lines().skip(1).find_map(|line| {
        let (n, value) = line.split_once(": ")?;
        n.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// The rule of the tests: the body is exactly the rule's text.
fn rule() -> Rule {
    Arc::new(|text: &str, answer: &Answer| Ok(answer.body == text.as_bytes()))
}

/// A transport that reports to an appender which remembers.
struct Rig {
    transport: HttpTransport,
    log: Arc<RecordingAppender>,
    capacity: Capacity,
}

impl Rig {
    fn new() -> Self {
        Self::with(Duration::from_mins(1), wall_clock())
    }

    fn with(connect_timeout: Duration, clock: Clock) -> Self {
        Self::over(&[], clock, |parts| parts.connect_timeout = connect_timeout)
    }

    /// Trusts these certificates beside the system's, with other parts where the test wants them.
    fn over(trusted: &[reqwest::Certificate], clock: Clock, edit: impl FnOnce(&mut HttpParts)) -> Self {
        let log = RecordingAppender::new();
        let mut parts = HttpParts {
            appender: Arc::clone(&log) as Arc<dyn Appender>,
            codec: codec(),
            tokens: tokens(),
            rule: rule(),
            clock,
            connect_timeout: Duration::from_mins(1),
            egress: Egress::with_loopback(),
            secrets: Secrets::default(),
            callback_base: Some("https://consign.example".into()),
            kafka: KafkaTargets::default(),
            places: Places::default(),
        };
        edit(&mut parts);
        let transport = HttpTransport::trusting(trusted, Handle::current(), parts, "w");
        Self { transport, log, capacity: Capacity::default() }
    }

    fn send(&mut self, plan: &PlannedDispatch, attempt: DispatchAttempt) {
        self.transport.send(Dispatch {
            plan: Arc::new(plan.clone()),
            attempt: Arc::new(attempt),
            home: 7,
            fetch: None,
            permit: self.capacity.acquire_over(&plan.target),
        });
    }

    /// Sends the first attempt and gives its report.
    async fn exchange(&mut self, plan: &PlannedDispatch) -> Outcome {
        let before = self.log.outcomes(0).await.len();
        self.send(plan, attempt(plan, 1));
        self.log.outcomes(before + 1).await.remove(before)
    }
}

fn tokens() -> Arc<AckTokens> {
    Arc::new(AckTokens::new(vec![("k1".into(), vec![7; 32])]).expect("a key"))
}

fn judged(outcome: &Outcome) -> (OutcomeKind, &str) {
    (outcome.kind, outcome.code.as_str())
}
