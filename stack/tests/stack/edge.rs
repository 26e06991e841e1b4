//! What the edge does with the answers of a gateway.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lockstep_stack::Endpoints;

use crate::port;
use crate::processes::wait_until;

/// The first answer to `/v1/turns` may not be kept, the next may.
static TURNS: AtomicU32 = AtomicU32::new(0);

const ORIGIN_DELAY: Duration = Duration::from_millis(100);

pub fn check(endpoints: &Endpoints) {
    let edge = port(&endpoints.edge);
    let ask = |method: &str, path: &str, header: &str| ask(edge, method, path, header);
    assert!(ask("GET", "/_edge/health", "").starts_with("HTTP/1.1 200 "));
    assert!(ask("GET", "/v1/cached", "").starts_with("HTTP/1.1 503 "), "no gateway yet");

    serve(TcpListener::bind(("127.0.0.1", port(&endpoints.gateway))).expect("the gateway's port"));
    // Varnish does not ask again at once where nobody listened.
    let is_up = || ask("GET", "/v1/no-store", "").starts_with("HTTP/1.1 200 ");
    assert!(wait_until(Duration::from_secs(2), is_up));
    let outcome = |path: &str, header: &str| {
        let answer = ask("GET", path, header);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.to_lowercase().contains("xkey:"), "{answer}");
        let line = answer.lines().find_map(|line| line.strip_prefix("X-Cache: "));
        line.expect("X-Cache").to_owned()
    };
    assert_eq!(outcome("/v1/cached", "Cookie: a=b"), "MISS");
    assert_eq!(outcome("/v1/cached", "Cookie: c=d"), "HIT");

    let purge = |header: &str| ask("PURGE", "/", header).lines().next().unwrap_or_default().to_owned();
    assert_eq!(purge("xkey-purge: nobody's"), "HTTP/1.1 200 Purged 0");
    assert_eq!(purge("xkey-purge: other product:1"), "HTTP/1.1 200 Purged 1");
    assert_eq!(purge(""), "HTTP/1.1 400 xkey-purge is missing");
    assert_eq!(outcome("/v1/cached", ""), "MISS");
    assert_eq!(outcome("/v1/cached", ""), "HIT");

    for path in ["/v1/no-store", "/v1/unsaid"] {
        assert_eq!([outcome(path, ""), outcome(path, "")], ["MISS", "MISS"]);
    }
    assert_eq!(["", "", ""].map(|header| outcome("/v1/turns", header)), ["MISS", "MISS", "HIT"]);
    side_by_side(edge);
}

/// What may not be kept is not queued for either.
fn side_by_side(edge: u16) {
    const READERS: u32 = 8;
    ask(edge, "GET", "/v1/no-store", "");
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| ask(edge, "GET", "/v1/no-store", ""));
        }
    });
    let took = began.elapsed();
    assert!(took < ORIGIN_DELAY * READERS / 2, "{READERS} readers took {took:?}");
}

fn ask(edge: u16, method: &str, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", edge)).expect("the edge");
    let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n{header}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a written request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A gateway in miniature. Its threads end with the test binary.
fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut path = String::new();
    for line in BufReader::new(&mut stream).lines() {
        match line?.as_str() {
            "" => break,
            line if path.is_empty() => path = line.to_owned(),
            _ => {}
        }
    }
    thread::sleep(ORIGIN_DELAY);
    let control = match path.split(' ').nth(1) {
        Some("/v1/cached") => "Cache-Control: public, s-maxage=60\r\nxkey: product:1 list\r\n",
        Some("/v1/turns") if TURNS.fetch_add(1, Ordering::Relaxed) > 0 => "Cache-Control: s-maxage=60\r\n",
        Some("/v1/no-store" | "/v1/turns") => "Cache-Control: no-store, s-maxage=60\r\n",
        _ => "",
    };
    write!(stream, "HTTP/1.1 200 OK\r\n{control}Connection: close\r\nContent-Length: 2\r\n\r\nok")
}
