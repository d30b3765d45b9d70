//! Stands between Kafka's clients and a broker, and cuts, delays or holds requests by what they ask for.
//!
//! A connection ends both ways: answers to other requests on it are lost too. What is held reaches the broker when it is let
//! go, though its client may have given up. It reads of a request its length, the key of its API and its number; of an answer its length and that number. What
//! they say it does not know. As answers come in the order of their requests, one that is held holds those behind it.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Longest request or answer that is passed on.
const BYTES_MAX: usize = 64 << 20;

/// What a request asks for, by its number in Kafka's protocol (<https://kafka.apache.org/protocol#protocol_api_keys>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the protocol")]
#[repr(i16)]
pub enum Api {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    SyncGroup = 14,
    InitProducerId = 22,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends, and the broker never sees the request.
    CutRequest,
    /// The broker carries it out; the connection ends in place of the answer.
    CutAnswer,
    /// The broker sees it so much later.
    Delay(Duration),
    /// The broker sees it when [`Proxy::release`] lets it go.
    Hold,
}

/// A proxy on a port of its own; it ends with the value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Whoever waits for a change of the state.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    broker: Option<SocketAddr>,
    /// What becomes of the next requests of an API, in order.
    faults: HashMap<i16, VecDeque<Fault>>,
    /// How many requests of an API have come.
    seen: HashMap<i16, u64>,
    /// How many requests were held since `release` was said last.
    held: usize,
    /// How often `release` was said.
    releases: u64,
    /// The ends of each connection, by its number.
    sockets: HashMap<u64, [TcpStream; 2]>,
    connections: u64,
    is_closed: bool,
}

impl Proxy {
    /// Listens; until it knows a broker it closes what comes.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let of = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if of.lock().is_closed {
                    return;
                }
                if let Err(error) = client.and_then(|client| connect(&of, client)) {
                    eprintln!("a connection through the proxy failed: {error}");
                }
            }
        });
        Self { port, shared }
    }

    /// Where clients find it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As in `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whom it stands before, from the next connection on.
    pub fn stand_before(&self, broker: SocketAddr) {
        self.shared.lock().broker = Some(broker);
    }

    /// Lets the next `times` requests of an API, after those that were said before, meet this.
    pub fn meet(&self, api: Api, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n(fault, times);
        self.shared.lock().faults.entry(api as i16).or_default().extend(faults);
    }

    /// Requests of the API that have come, those that were cut among them.
    #[must_use]
    pub fn seen(&self, api: Api) -> u64 {
        self.shared.lock().seen.get(&(api as i16)).copied().unwrap_or(0)
    }

    /// Forgets the faults that no request has met; how many they are.
    pub fn clear(&self) -> usize {
        self.shared.lock().faults.drain().map(|(_, faults)| faults.len()).sum()
    }

    /// Waits until so many requests were held since the last release.
    ///
    /// # Panics
    /// When they were not within `timeout`.
    pub fn wait_for_held(&self, requests: usize, timeout: Duration) {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, |state| state.held < requests);
        let held = waited.unwrap_or_else(PoisonError::into_inner).0.held;
        assert!(held >= requests, "{held} of {requests} requests are held after {timeout:?}");
    }

    /// Lets go what is held.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        (state.releases, state.held) = (state.releases + 1, 0);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.sockets.drain().for_each(|(_, ends)| ends.iter().for_each(close));
        drop(state);
        self.shared.changed.notify_all();
        // The thread that accepts wakes up to see it.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a connection, if it has not ended.
    fn end(&self, connection: u64) {
        if let Some(ends) = self.lock().sockets.remove(&connection) {
            ends.iter().for_each(close);
        }
    }

    /// What becomes of a request that has come; one that is held comes back from here when it is let go.
    fn fault(&self, api: i16) -> Option<Fault> {
        let mut state = self.lock();
        *state.seen.entry(api).or_default() += 1;
        let fault = state.faults.get_mut(&api).and_then(VecDeque::pop_front);
        if fault == Some(Fault::Hold) {
            let releases = state.releases;
            state.held += 1;
            self.changed.notify_all();
            let waited = self.changed.wait_while(state, |state| state.releases == releases && !state.is_closed);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        fault
    }
}

/// The numbers of requests whose answers are cut.
type Cut = Arc<Mutex<Vec<i32>>>;

/// Passes on what a client and the broker say, on two threads, until one of them ends or is cut.
fn connect(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let Some(to) = shared.lock().broker else { return client.shutdown(Shutdown::Both) };
    let broker = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let ends = [client.try_clone()?, broker.try_clone()?];
    let mut state = shared.lock();
    state.connections += 1;
    let connection = state.connections;
    state.sockets.insert(connection, ends);
    drop(state);
    let cut = Cut::default();
    let (from, to, of, cut_of) = (client.try_clone()?, broker.try_clone()?, Arc::clone(shared), Arc::clone(&cut));
    thread::spawn(move || {
        // An end is no error: it is passed on.
        let _ = requests(&of, &from, &to, &cut_of);
        of.end(connection);
    });
    let of = Arc::clone(shared);
    thread::spawn(move || {
        let _ = answers(&broker, &client, &cut);
        of.end(connection);
    });
    Ok(())
}

fn close(socket: &TcpStream) {
    // It may have been closed from the other side.
    let _ = socket.shutdown(Shutdown::Both);
}

fn requests(shared: &Shared, mut client: &TcpStream, mut broker: &TcpStream, cut: &Cut) -> io::Result<()> {
    loop {
        let request = message(&mut client)?;
        let [k0, k1, _, _, n0, n1, n2, n3, ..] = request[..] else {
            let problem = "a request begins with its API, its version and its number";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        };
        match shared.fault(i16::from_be_bytes([k0, k1])) {
            None | Some(Fault::Hold) => {}
            Some(Fault::CutRequest) => return Ok(()),
            Some(Fault::CutAnswer) => {
                cut.lock().unwrap_or_else(PoisonError::into_inner).push(i32::from_be_bytes([n0, n1, n2, n3]));
            }
            Some(Fault::Delay(time)) => thread::sleep(time),
        }
        pass_on(&mut broker, &request)?;
    }
}

fn answers(mut broker: &TcpStream, mut client: &TcpStream, cut: &Cut) -> io::Result<()> {
    loop {
        let answer = message(&mut broker)?;
        let number = answer.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        if number.is_some_and(|number| cut.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)) {
            return Ok(());
        }
        pass_on(&mut client, &answer)?;
    }
}

/// The next message without its length.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no length of a message"))?;
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(message)
}

fn pass_on(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = i32::try_from(message.len()).expect("messages are shorter than BYTES_MAX");
    to.write_all(&[&length.to_be_bytes()[..], message].concat())
}
