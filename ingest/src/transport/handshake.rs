//! From nothing to a stream: connect, TLS, log in, ask who answers, start.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use fallible_iterator::FallibleIterator as _;
use lockstep_schemas::position::Lsn;
use lockstep_source::database::{SESSION, identifier};
use lockstep_source::sql_error::refused;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::target::{Address, Target, TlsMode};
use super::tls::{self, TlsError};
use super::{APPLICATION, SENDER_TIMEOUT};

/// Whatever bytes go over.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}
pub(super) type Wire = Box<dyn Duplex>;

/// The server's code for a publication (or a slot's plugin option) that is not there.
const UNDEFINED_OBJECT: &str = "42704";

/// What the server said in refusal.
#[derive(Debug, thiserror::Error)]
#[error("{}", shown(code, message))]
pub(crate) struct ServerError {
    pub code: String,
    pub message: String,
}

/// Without the values that it may quote.
fn shown(code: &str, message: &str) -> String {
    refused(code, message, None, None)
}

/// The stream could not be had, or broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("the database URL is not one that a replication connection understands")]
    Url,
    #[error("the replication connection leads to another server than the queries do")]
    OtherServer,
    #[error("the server ended the stream")]
    Ended,
    #[error("the server has been silent for {0:?}")]
    Silent(Duration),
    #[error("the server has no TLS, and sslmode asks for it")]
    NoTls,
    #[error("the replication connection's TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("the replication connection: {0}")]
    Io(#[from] io::Error),
    #[error("the replication connection: {0}")]
    Server(#[from] ServerError),
    #[error("the server sent what the replication protocol does not have: {0}")]
    Protocol(&'static str),
    #[error("the server asks for a way to log in that is not supported: {0}")]
    LogIn(&'static str),
}

impl TransportError {
    /// Whether the log can't be read because the publication is younger than what is read.
    pub fn is_without_publication(&self) -> bool {
        matches!(self, TransportError::Server(error) if error.code == UNDEFINED_OBJECT)
    }
}

/// Who answers.
pub(super) struct System {
    pub system_identifier: String,
    /// Eight hexadecimal digits.
    pub timeline: String,
}

/// A connection that does not stream yet.
pub(super) struct Handshake {
    pub wire: Wire,
    /// Bytes that were read and not yet looked at.
    pub rest: BytesMut,
    pub backend: i32,
}

impl Handshake {
    pub async fn connect(target: &Target) -> Result<Self, TransportError> {
        let wire = open(target).await?;
        let mut handshake = Handshake { wire, rest: BytesMut::with_capacity(8 << 10), backend: 0 };
        handshake.log_in(target).await?;
        Ok(handshake)
    }

    pub async fn identify_system(&mut self) -> Result<System, TransportError> {
        self.send(|out| frontend::query("IDENTIFY_SYSTEM", out)).await?;
        let mut system = None;
        loop {
            match self.receive().await? {
                Some(Message::DataRow(row)) => system = Some(system_of(&row)?),
                Some(Message::ReadyForQuery(_)) => break,
                _ => {}
            }
        }
        system.ok_or(TransportError::Protocol("no answer to IDENTIFY_SYSTEM"))
    }

    pub async fn start_replication(&mut self, slot: &str, publication: &str, from: Lsn) -> Result<(), TransportError> {
        let publication = identifier(publication).replace('\'', "''");
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names '{publication}', messages 'true')",
            identifier(slot)
        );
        self.send(|out| frontend::query(&command, out)).await?;
        // The answer that opens the stream is none of the library's messages.
        while self.receive().await?.is_some() {}
        Ok(())
    }

    async fn log_in(&mut self, target: &Target) -> Result<(), TransportError> {
        let mut settings: Vec<String> = SESSION.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
        settings.push(format!("-c wal_sender_timeout={}ms", SENDER_TIMEOUT.as_millis()));
        let settings = settings.join(" ");
        let parameters = [
            ("user", target.user.as_str()),
            ("database", target.database.as_str()),
            ("replication", "database"),
            ("application_name", APPLICATION),
            ("client_encoding", "UTF8"),
            ("options", settings.as_str()),
        ];
        self.send(|out| frontend::startup_message(parameters, out)).await?;
        loop {
            match self.receive().await? {
                Some(Message::AuthenticationOk) => {}
                Some(Message::AuthenticationCleartextPassword) => {
                    self.send(|out| frontend::password_message(target.password.as_bytes(), out)).await?;
                }
                Some(Message::AuthenticationMd5Password(body)) => {
                    let hash = md5_hash(target.user.as_bytes(), target.password.as_bytes(), body.salt());
                    self.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
                }
                Some(Message::AuthenticationSasl(body)) => {
                    if !body.mechanisms().any(|mechanism| Ok(mechanism == SCRAM_SHA_256))? {
                        return Err(TransportError::LogIn("SASL without SCRAM-SHA-256"));
                    }
                    self.scram(&target.password).await?;
                }
                Some(Message::BackendKeyData(body)) => self.backend = body.process_id(),
                Some(Message::ReadyForQuery(_)) => return Ok(()),
                Some(Message::ParameterStatus(_) | Message::NoticeResponse(_)) => {}
                _ => return Err(TransportError::LogIn("neither password nor SCRAM-SHA-256")),
            }
        }
    }

    async fn scram(&mut self, password: &str) -> Result<(), TransportError> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        self.send(|out| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out)).await?;
        let Some(Message::AuthenticationSaslContinue(body)) = self.receive().await? else {
            return Err(TransportError::Protocol("SASL that does not go on"));
        };
        scram.update(body.data())?;
        self.send(|out| frontend::sasl_response(scram.message(), out)).await?;
        let Some(Message::AuthenticationSaslFinal(body)) = self.receive().await? else {
            return Err(TransportError::Protocol("SASL without an end"));
        };
        // The server proves in turn that it knows the password.
        Ok(scram.finish(body.data())?)
    }

    async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), TransportError> {
        let mut out = BytesMut::new();
        write(&mut out)?;
        self.wire.write_all(&out).await?;
        Ok(self.wire.flush().await?)
    }

    /// The next message; `None`: the stream opens. A refusal is an error.
    async fn receive(&mut self) -> Result<Option<Message>, TransportError> {
        loop {
            if self.rest.first() == Some(&b'W') && self.rest.len() >= 5 {
                let length = u32::from_be_bytes([self.rest[1], self.rest[2], self.rest[3], self.rest[4]]) as usize + 1;
                if self.rest.len() >= length {
                    self.rest.advance(length);
                    return Ok(None);
                }
            } else if let Some(message) = Message::parse(&mut self.rest)? {
                return match message {
                    Message::ErrorResponse(body) => Err(refusal(&body).into()),
                    message => Ok(Some(message)),
                };
            }
            if self.wire.read_buf(&mut self.rest).await? == 0 {
                return Err(TransportError::Ended);
            }
        }
    }
}

async fn open(target: &Target) -> Result<Wire, TransportError> {
    let (host, port) = match &target.address {
        Address::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp { host, port } => (host, *port),
    };
    let mut tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    if target.tls.mode == TlsMode::Disable {
        return Ok(Box::new(tcp));
    }
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    tcp.write_all(&out).await?;
    match tcp.read_u8().await? {
        b'S' => {}
        b'N' if target.tls.mode == TlsMode::Prefer => return Ok(Box::new(tcp)),
        b'N' => return Err(TransportError::NoTls),
        _ => return Err(TransportError::Protocol("an answer to SSLRequest that is none")),
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| TransportError::Url)?;
    Ok(Box::new(tls::connector(&target.tls)?.connect(name, tcp).await?))
}

pub(super) fn refusal(body: &ErrorResponseBody) -> ServerError {
    let mut error = ServerError { code: String::new(), message: String::new() };
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => error.code = text(),
            b'M' => error.message = text(),
            _ => {}
        }
    }
    error
}

fn system_of(row: &postgres_protocol::message::backend::DataRowBody) -> Result<System, TransportError> {
    let text = |range: Option<Option<std::ops::Range<usize>>>| {
        let bytes = range.flatten().and_then(|range| row.buffer().get(range));
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.map(str::to_owned).ok_or(TransportError::Protocol("an answer to IDENTIFY_SYSTEM that is none"))
    };
    let mut ranges = row.ranges();
    let system_identifier = text(ranges.next()?)?;
    let timeline: u32 =
        text(ranges.next()?)?.parse().map_err(|_| TransportError::Protocol("a timeline that is none"))?;
    Ok(System { system_identifier, timeline: format!("{timeline:08X}") })
}
