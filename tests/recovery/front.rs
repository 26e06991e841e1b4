//! What stands before the edge and answers its purges as badly as CDNs do. Everything else goes on to the real one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::harness::cut::Cut;

/// What a purge gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    Done,
    /// An answer of this status, with nothing purged.
    Answered(&'static str),
    /// No answer, and an end of the connection.
    Unanswered,
}

struct Shared {
    purge: Mutex<Purge>,
    met: AtomicUsize,
}

pub struct Front {
    port: u16,
    shared: Arc<Shared>,
    /// Behind it.
    way: Cut,
}

impl Front {
    pub fn open(way: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { purge: Mutex::new(Purge::Done), met: AtomicUsize::new(0) });
        let (all, target) = (shared.clone(), way.port);
        // It ends with the process: nobody comes any more once the site is closed.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let all = all.clone();
                thread::spawn(move || drop(serve(client, target, &all)));
            }
        });
        Front { port, shared, way }
    }

    pub fn lead_to(&self, target: &str) {
        self.way.lead_to(target);
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn way(&self) -> &Cut {
        &self.way
    }

    /// What purges get from now on.
    pub fn purges_get(&self, purge: Purge) {
        *self.shared.purge.lock().unwrap_or_else(PoisonError::into_inner) = purge;
    }

    /// Purges that were not done, so far.
    pub fn met(&self) -> usize {
        self.shared.met.load(Ordering::SeqCst)
    }
}

/// One request, which has no body, and its answer; then the connection ends.
fn serve(client: TcpStream, target: u16, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut client) = (String::new(), client);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    if head.starts_with("PURGE ") {
        let purge = *shared.purge.lock().unwrap_or_else(PoisonError::into_inner);
        if purge != Purge::Done {
            shared.met.fetch_add(1, Ordering::SeqCst);
        }
        match purge {
            Purge::Done => {}
            Purge::Unanswered => return Ok(()),
            Purge::Answered(status) => {
                return write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    }
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    let first = head.find("\r\n").map_or(0, |end| end + 2);
    write!(server, "{}Connection: close\r\n{}", &head[..first], &head[first..])?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.shutdown(Shutdown::Both)
}
