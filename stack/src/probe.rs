//! Asking a server whether it serves, in the fewest bytes that tell.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long one question may take.
const LIMIT: Duration = Duration::from_millis(500);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Sends one command to a Redis node and returns the text of its answer.
pub(crate) fn redis(port: u16, command: &str) -> io::Result<String> {
    let mut stream = connect(port)?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let head = head.trim_end();
    let Some(length) = head.strip_prefix('$') else {
        return Ok(head.to_owned());
    };
    let length: usize = length.parse().map_err(invalid)?;
    read_text(&mut reader, length)
}

/// The body of the answer to `GET path` where its status is 200.
pub(crate) fn http(port: u16, path: &str) -> io::Result<String> {
    let mut stream = connect(port)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX as u64).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(invalid("not a 200")),
    }
}

/// What a Kafka broker says of its cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KafkaCluster {
    pub(crate) id: String,
    /// Brokers that may lead partitions. A broker accepts connections before it is one of them.
    pub(crate) brokers: usize,
}

/// Sends a metadata request for no topic.
pub(crate) fn kafka(port: u16) -> io::Result<KafkaCluster> {
    const METADATA: u16 = 3;
    const VERSION: u16 = 2;
    const CLIENT: &[u8] = b"lockstep-stack";
    let mut request = Vec::new();
    request.extend(METADATA.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(0_u32.to_be_bytes()); // correlation id
    request.extend((CLIENT.len() as u16).to_be_bytes());
    request.extend(CLIENT);
    request.extend(0_u32.to_be_bytes()); // topics
    let mut stream = connect(port)?;
    stream.write_all(&(request.len() as u32).to_be_bytes())?;
    stream.write_all(&request)?;
    let length = read_u32(&mut stream)? as usize;
    let mut answer = vec![0; length.min(ANSWER_BYTES_MAX)];
    stream.read_exact(&mut answer)?;
    kafka_cluster(&answer)
}

fn kafka_cluster(mut answer: &[u8]) -> io::Result<KafkaCluster> {
    let answer = &mut answer;
    read_u32(answer)?; // correlation id
    let brokers = read_u32(answer)? as usize;
    for _ in 0..brokers {
        read_u32(answer)?; // node id
        read_kafka_text(answer)?; // host
        read_u32(answer)?; // port
        read_kafka_text(answer)?; // rack
    }
    let id = read_kafka_text(answer)?;
    Ok(KafkaCluster { id, brokers })
}

/// A text with its length before it; null is the empty text here.
fn read_kafka_text(reader: &mut impl Read) -> io::Result<String> {
    let mut length = [0; 2];
    reader.read_exact(&mut length)?;
    let length = i16::from_be_bytes(length);
    read_text(reader, usize::try_from(length).unwrap_or(0))
}

fn read_u32(reader: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn read_text(reader: &mut impl Read, length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length.min(ANSWER_BYTES_MAX)];
    reader.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(invalid)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafka_metadata_is_read_as_a_broker_sends_it() {
        let answer = b"\0\0\0\0\0\0\0\x01\0\0\0\x01\0\x09127.0.0.1\0\0J\x94\xff\xff\
                       \0\x16AAAAAAAAAAAAAAAAAAAAAg\0\0\0\x01\0\0\0\0";
        let expected = KafkaCluster { id: "AAAAAAAAAAAAAAAAAAAAAg".into(), brokers: 1 };
        assert_eq!(kafka_cluster(answer).expect("a valid answer"), expected);
        assert!(kafka_cluster(&answer[..20]).is_err());
    }
}
