//! A way to a server that can be cut as networks are: refused, reset, slow, or open and silent in either direction.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

const BUFFER_BYTES: usize = 64 * 1024;
/// Ports below those that outgoing connections are given, so that a refused port stays ours.
const PORTS: std::ops::Range<u16> = 10_240..22_768;
const BACKLOG: u32 = 64;

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens; what was open is closed.
    Refuse,
    /// What is open is reset, and so is what is opened.
    Reset,
    /// Connections stay open and new ones are accepted, but what is sent to this side is kept back, an end included.
    Silent(Towards),
    /// What is sent arrives so much later, to either side.
    Slow(Duration),
}

/// Which direction is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    Server,
    Client,
    Both,
}

impl Mode {
    fn breaks(self) -> bool {
        matches!(self, Mode::Refuse | Mode::Reset)
    }

    fn silences(self, side: Towards) -> bool {
        matches!(self, Mode::Silent(towards) if towards == Towards::Both || towards == side)
    }
}

/// The mode, and which connections are lost whatever it is.
#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections with a lower number are open and silent for ever: somebody on the way has forgotten them.
    lost_below: usize,
}

impl State {
    fn silences(self, side: Towards, number: usize) -> bool {
        number < self.lost_below || self.mode.silences(side)
    }
}

/// How often the fault was met.
#[derive(Default)]
struct Met {
    opened: AtomicUsize,
    unheard: AtomicUsize,
    broken: AtomicUsize,
    bytes_kept: AtomicUsize,
    slowed: AtomicUsize,
}

/// The way. It ends with the runtime that it was opened on.
pub struct Cut {
    pub port: u16,
    state: watch::Sender<State>,
    /// Where it leads to: not known before the server runs.
    target: watch::Sender<String>,
    met: Arc<Met>,
}

impl Cut {
    /// Takes a port. Who comes before the way leads anywhere waits.
    pub fn open(runtime: &Handle) -> Self {
        let _within = runtime.enter();
        let (port, listener) = std::iter::repeat_with(|| fastrand::u16(PORTS))
            .find_map(|port| Some((port, listen(port).ok()?)))
            .expect("a free port");
        let state = watch::Sender::new(State { mode: Mode::Pass, lost_below: 0 });
        let target = watch::Sender::new(String::new());
        let met = Arc::new(Met::default());
        let way = Way { number: 0, state: state.subscribe(), target: target.subscribe(), met: met.clone() };
        runtime.spawn(serve(listener, port, way));
        Cut { port, state, target, met }
    }

    /// Leads to `host:port`.
    pub fn lead_to(&self, target: &str) {
        self.target.send_replace(target.to_owned());
    }

    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Loses all connections that are open: neither side is told. New ones pass.
    pub fn lose_open_ones(&self) {
        let opened = self.met.opened.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.lost_below = opened);
    }

    /// Connections that were broken so far.
    pub fn broken(&self) -> usize {
        self.met.broken.load(Ordering::SeqCst)
    }

    /// Connections that were opened, and of which the server did not hear at once, so far.
    pub fn unheard(&self) -> usize {
        self.met.unheard.load(Ordering::SeqCst)
    }

    /// Pieces that were slowed down so far.
    pub fn slowed(&self) -> usize {
        self.met.slowed.load(Ordering::SeqCst)
    }

    /// Bytes that had to wait so far.
    pub fn bytes_kept(&self) -> usize {
        self.met.bytes_kept.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Way {
    /// The connection's.
    number: usize,
    state: watch::Receiver<State>,
    target: watch::Receiver<String>,
    met: Arc<Met>,
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, port: u16, mut way: Way) {
    let mut listener = Some(listener);
    loop {
        let mode = way.state.borrow_and_update().mode;
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(port).expect("the port that was ours"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok((client, _)) = accepted => {
                let number = way.met.opened.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, Way { number, ..way.clone() }));
            }
            changed = way.state.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection's life.
async fn carry(mut client: TcpStream, mut way: Way) {
    // Set before the first byte, so that a small request does not wait for an acknowledgement.
    let _ = client.set_nodelay(true);
    let mut server = None;
    let mut breaking = way.state.clone();
    let broken = tokio::select! {
        // The server is gone, or both sides have ended.
        _ = exchange(&mut client, &mut server, &mut way) => false,
        state = breaking.wait_for(|state| state.mode.breaks()) => state.is_ok(),
    };
    if broken {
        way.met.broken.fetch_add(1, Ordering::SeqCst);
        if way.state.borrow().mode == Mode::Reset {
            for side in [Some(&client), server.as_ref()].into_iter().flatten() {
                let _ = side.set_zero_linger();
            }
        }
    }
}

async fn exchange(client: &mut TcpStream, server: &mut Option<TcpStream>, way: &mut Way) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::NotConnected);
    let target = way.target.wait_for(|target| !target.is_empty()).await.map_err(gone)?.clone();
    // Where the server would not even hear of it, it does not.
    if way.state.borrow().silences(Towards::Server, way.number) {
        way.met.unheard.fetch_add(1, Ordering::SeqCst);
    }
    way.state.wait_for(|state| !state.silences(Towards::Server, way.number)).await.map_err(gone)?;
    let server = server.insert(TcpStream::connect(&target).await?);
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let up = pump(from_client, to_server, Towards::Server, way.clone());
    let down = pump(from_server, to_client, Towards::Client, way.clone());
    tokio::try_join!(up, down).map(drop)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    side: Towards,
    mut way: Way,
) -> io::Result<()> {
    let mut bytes = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut bytes).await;
        if way.state.borrow().silences(side, way.number) {
            way.met.bytes_kept.fetch_add(*read.as_ref().unwrap_or(&0), Ordering::SeqCst);
            let silent = way.state.wait_for(|state| !state.silences(side, way.number)).await;
            drop(silent.map_err(|_| io::Error::from(io::ErrorKind::NotConnected))?);
        }
        let mode = way.state.borrow().mode;
        if let Mode::Slow(delay) = mode {
            way.met.slowed.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(delay).await;
        }
        match read? {
            0 => return to.shutdown().await,
            count => to.write_all(&bytes[..count]).await?,
        }
    }
}
