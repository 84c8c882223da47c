//! A TCP proxy before a broker. It delays, cuts and half-opens connections, and it knows Kafka's requests well enough to
//! keep the end of a transaction back, or the reply to it, and to take the brokers out of what clients learn of the cluster.
//!
//! Kafka speaks in frames: a length of four bytes, then an API key, a version and a number that the reply repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The API keys of the requests that it knows.
const METADATA: i16 = 3;
const END_TXN: i16 = 26;
/// Tells a transaction's coordinator that positions of the group will be part of it.
pub const ADD_OFFSETS_TO_TXN: i16 = 25;
/// Tells the group's coordinator a transaction's positions.
pub const TXN_OFFSET_COMMIT: i16 = 28;

/// What becomes of every attempt to end one transaction: of the first that is seen from here on, repetitions included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The broker never learns of it.
    Request,
    /// The broker ends it, and nobody is told.
    Reply,
    /// The same, and the connection is cut in place of each reply.
    ReplyWithTheConnection,
    /// It reaches the broker when [`Proxy::deliver_late`] says so; the connection that it came by is cut. Repetitions pass.
    Late,
}

/// An EndTxn request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    correlation: i32,
    transactional_id: String,
    producer: i64,
    epoch: i16,
    commits: bool,
}

impl End {
    /// Reads a frame without its length; `None` for any other request.
    fn read(frame: &[u8]) -> Option<Self> {
        let mut rest = frame;
        let (api, version) = (i16::from_be_bytes(take(&mut rest)?), i16::from_be_bytes(take(&mut rest)?));
        // From version 3 on the header has another form; librdkafka speaks up to 1.
        if api != END_TXN || version > 2 {
            return None;
        }
        let correlation = i32::from_be_bytes(take(&mut rest)?);
        let _client_id = text(&mut rest)?;
        Some(Self {
            correlation,
            transactional_id: text(&mut rest)?,
            producer: i64::from_be_bytes(take(&mut rest)?),
            epoch: i16::from_be_bytes(take(&mut rest)?),
            commits: take::<1>(&mut rest)? != [0],
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(i16::from_be_bytes(take(rest)?)).unwrap_or(0);
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    String::from_utf8(taken.to_vec()).ok()
}

/// A rule on the end of one transaction.
struct Rule {
    loss: Loss,
    /// Producers whose transactional id has this within it.
    of: String,
    /// Id and epoch of the producer that it has struck, and is about alone from then on.
    struck: Option<(i64, i16)>,
    times: usize,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<u64, [TcpStream; 2]>,
    begun: u64,
    /// Connections on which nothing moves, and neither side is told.
    half_open: BTreeSet<u64>,
    delay: Duration,
    /// How long every EndTxn waits.
    ends_wait: Duration,
    rule: Option<Rule>,
    late: Option<Vec<u8>>,
    /// The kind of requests that wait, and how many do.
    holds: Option<i16>,
    held: usize,
    /// Whether clients learn that there are no brokers, and how often one did.
    hides_brokers: bool,
    hidden: usize,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    behind: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, id: u64) {
        if let Some(both) = self.lock().connections.remove(&id) {
            for stream in both {
                // It may be closed already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }

    /// Waits while requests of this kind are held back, or until their connection is cut.
    fn await_release(&self, id: u64, api: i16) {
        let mut state = self.lock();
        state.held += 1;
        while state.holds == Some(api) && state.connections.contains_key(&id) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held -= 1;
    }

    /// Whether the brokers are to be taken out of a reply, which is counted.
    fn hides_brokers(&self) -> bool {
        let mut state = self.lock();
        state.hidden += usize::from(state.hides_brokers);
        state.hides_brokers
    }

    /// Waits until something may pass on a connection; whether it still exists.
    fn passes(&self, id: u64) -> bool {
        let mut state = self.lock();
        while state.half_open.contains(&id) && state.connections.contains_key(&id) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.connections.contains_key(&id)
    }
}

/// A running proxy. Dropping it cuts all connections and stops listening.
pub struct Proxy {
    shared: Arc<Shared>,
    via: String,
}

impl Proxy {
    /// Listens at `via` and leads to `behind`, both as host:port.
    pub fn start(via: &str, behind: &str) -> Self {
        let listener = TcpListener::bind(via).unwrap_or_else(|e| panic!("{via}: {e}"));
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), behind: behind.to_owned() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&accepting, &listener));
        Self { shared, via: via.to_owned() }
    }

    /// Holds every request back for that long; zero for not at all.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Holds every EndTxn back for that long, and what comes after it on the same connection; zero for not at all.
    pub fn delay_ends(&self, delay: Duration) {
        self.shared.lock().ends_wait = delay;
    }

    /// Closes every connection on both sides; gives how many there were.
    pub fn cut(&self) -> usize {
        let ids: Vec<u64> = self.shared.lock().connections.keys().copied().collect();
        ids.iter().for_each(|id| self.shared.close(*id));
        ids.len()
    }

    /// Lets nothing pass on the connections of this moment, without a word to either side, until they are cut; gives how
    /// many there are. New connections work.
    pub fn half_open(&self) -> usize {
        let mut state = self.shared.lock();
        let ids: Vec<u64> = state.connections.keys().copied().collect();
        state.half_open.extend(&ids);
        ids.len()
    }

    /// Closes the half-open connections.
    pub fn close_half_open(&self) {
        let ids = std::mem::take(&mut self.shared.lock().half_open);
        ids.iter().for_each(|id| self.shared.close(*id));
    }

    /// From here on, the next commit by a producer whose transactional id has `of` within it suffers this loss.
    pub fn lose_commit(&self, loss: Loss, of: &str) {
        self.shared.lock().rule = Some(Rule { loss, of: of.to_owned(), struck: None, times: 0 });
    }

    /// How often the loss has struck.
    pub fn struck(&self) -> usize {
        self.shared.lock().rule.as_ref().map_or(0, |rule| rule.times)
    }

    /// From here on, requests of this kind wait, by the key of the API, or none do.
    pub fn hold(&self, api: Option<i16>) {
        self.shared.lock().holds = api;
        self.shared.changed.notify_all();
    }

    /// How many of them wait.
    pub fn held(&self) -> usize {
        self.shared.lock().held
    }

    /// From here on, clients that ask about the cluster learn of its topics and of no brokers, as of a cluster whose only broker
    /// its controller has just fenced; or no more.
    pub fn hide_brokers(&self, hide: bool) {
        self.shared.lock().hides_brokers = hide;
    }

    /// How often a client was told that.
    pub fn hidden(&self) -> usize {
        self.shared.lock().hidden
    }

    /// Sends the request that was to come late to the broker; returns once it has answered.
    pub fn deliver_late(&self) {
        let frame = self.shared.lock().late.take().expect("a request was kept");
        let mut broker = TcpStream::connect(&self.shared.behind).unwrap();
        write_frame(&mut broker, &frame).unwrap();
        read_frame(&mut broker).unwrap().expect("an answer");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.cut();
        // Wakes the listener, which then finds that it is over.
        let _ = TcpStream::connect(&self.via);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for client in listener.incoming() {
        if shared.lock().stopped {
            return;
        }
        // A broker that is away looks as it does without a proxy: nobody takes the connection.
        let Ok(client) = client else { continue };
        let Ok(broker) = TcpStream::connect(&shared.behind) else { continue };
        if let Err(error) = begin(shared, client, broker) {
            eprintln!("proxy: {error}");
        }
    }
}

fn begin(shared: &Arc<Shared>, client: TcpStream, broker: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let both = [client.try_clone()?, broker.try_clone()?];
    let id = {
        let mut state = shared.lock();
        state.begun += 1;
        let id = state.begun;
        state.connections.insert(id, both);
        id
    };
    let lost = Arc::new(Lost::default());
    let (up, down) = ((client.try_clone()?, broker.try_clone()?), (broker, client));
    let (shared_up, lost_up) = (Arc::clone(shared), Arc::clone(&lost));
    std::thread::spawn(move || {
        // Whatever ends one direction ends the connection.
        let _ = requests(&shared_up, id, up.0, up.1, &lost_up);
        shared_up.close(id);
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let _ = replies(&shared, id, down.0, down.1, &lost);
        shared.close(id);
    });
    Ok(())
}

/// What is done to replies, by the numbers of their requests.
type Lost = Mutex<BTreeMap<i32, Reply>>;

enum Reply {
    IsLost(Loss),
    /// It says which brokers there are.
    NamesBrokers,
}

/// The number of a request for metadata whose reply has the form that [`without_brokers`] knows.
fn asks_for_brokers(frame: &[u8]) -> Option<i32> {
    let mut rest = frame;
    let (api, version) = (i16::from_be_bytes(take(&mut rest)?), i16::from_be_bytes(take(&mut rest)?));
    // From version 9 on lengths and tags are of the compact kind.
    (api == METADATA && version >= 9).then(|| take(&mut rest).map(i32::from_be_bytes))?
}

/// A reply to a request for metadata, with an empty list of brokers in it.
fn without_brokers(frame: &[u8]) -> Option<Vec<u8>> {
    // Its number, no tags, a throttle time; then the brokers.
    let (head, mut rest) = frame.split_at_checked(4 + 1 + 4)?;
    for _ in 1..unsigned(&mut rest)? {
        let _id = take::<4>(&mut rest)?;
        compact(&mut rest)?;
        let _port = take::<4>(&mut rest)?;
        compact(&mut rest)?;
        assert_eq!(unsigned(&mut rest)?, 0, "a broker without tags");
    }
    Some([head, &[1], rest].concat())
}

fn unsigned(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for place in 0.. {
        let [byte] = take::<1>(rest)?;
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

/// Skips a text that may be missing.
fn compact(rest: &mut &[u8]) -> Option<()> {
    let length = unsigned(rest)?.saturating_sub(1);
    *rest = rest.split_at_checked(length)?.1;
    Some(())
}

fn requests(shared: &Shared, id: u64, mut from: TcpStream, mut to: TcpStream, lost: &Lost) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut from)? {
        let end = End::read(&frame);
        let (delay, loss) = {
            let mut state = shared.lock();
            let loss = end.as_ref().and_then(|end| strike(&mut state, end, &frame));
            (if end.is_some() { state.delay.max(state.ends_wait) } else { state.delay }, loss)
        };
        std::thread::sleep(delay);
        if let Some(api) = frame.first_chunk().copied().map(i16::from_be_bytes)
            && shared.lock().holds == Some(api)
        {
            shared.await_release(id, api);
        }
        if !shared.passes(id) {
            return Ok(());
        }
        match (loss, end) {
            (Some(Loss::Request), _) => continue,
            (Some(Loss::Late), _) => return Ok(()),
            (Some(loss), Some(end)) => drop(lost.lock().unwrap().insert(end.correlation, Reply::IsLost(loss))),
            _ => {}
        }
        if let Some(number) = asks_for_brokers(&frame) {
            lost.lock().unwrap().insert(number, Reply::NamesBrokers);
        }
        write_frame(&mut to, &frame)?;
    }
    Ok(())
}

/// Whether the rule is about this request, and what becomes of it then.
fn strike(state: &mut State, end: &End, frame: &[u8]) -> Option<Loss> {
    let rule = state.rule.as_mut()?;
    let producer = (end.producer, end.epoch);
    match rule.struck {
        None if end.commits && end.transactional_id.contains(&rule.of) => rule.struck = Some(producer),
        Some(struck) if struck == producer && rule.loss != Loss::Late => {}
        _ => return None,
    }
    rule.times += 1;
    if rule.loss == Loss::Late {
        state.late = Some(frame.to_vec());
    }
    Some(rule.loss)
}

fn replies(shared: &Shared, id: u64, mut from: TcpStream, mut to: TcpStream, lost: &Lost) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut from)? {
        if !shared.passes(id) {
            return Ok(());
        }
        let correlation = frame.first_chunk().copied().map(i32::from_be_bytes);
        match correlation.and_then(|number| lost.lock().unwrap().remove(&number)) {
            Some(Reply::IsLost(Loss::ReplyWithTheConnection)) => return Ok(()),
            Some(Reply::IsLost(_)) => {}
            Some(Reply::NamesBrokers) if shared.hides_brokers() => {
                write_frame(&mut to, &without_brokers(&frame).expect("metadata of the known form"))?;
            }
            _ => write_frame(&mut to, &frame)?,
        }
    }
    Ok(())
}

/// The next frame without its length; `None` at the end of the stream.
fn read_frame(from: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if let Err(error) = from.read_exact(&mut length) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0)];
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}

fn write_frame(to: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let mut whole = u32::try_from(frame.len()).expect("it came with such a length").to_be_bytes().to_vec();
    whole.extend_from_slice(frame);
    to.write_all(&whole)
}
