//! A mail server on loopback that speaks SMTP (RFC 5321) and keeps what it gets. It can be slow, refuse, lose its answer,
//! say nothing, or be away.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::{eventually_within, fleet::RUNTIME};

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It takes every mail.
    Takes,
    /// It takes every mail, and each of its answers takes so long.
    Slow(Duration),
    /// It answers each recipient with this line.
    Refuses(&'static str),
    /// It asks for a user, and has none.
    AsksForUser,
    /// It takes the mail, and closes the connection before it says so.
    LosesAnswer,
    /// It takes the connection and says nothing.
    Hangs,
}

/// A mail that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    /// From whom, by the envelope.
    pub(crate) from: String,
    /// To whom, by the envelope.
    pub(crate) to: Vec<String>,
    /// The message, its dots unstuffed.
    pub(crate) data: String,
}

impl Mail {
    /// A header of the message.
    pub(crate) fn header(&self, name: &str) -> String {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\n ", " ");
        let found: Vec<_> = head.split("\r\n").filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect();
        assert_eq!(found.len(), 1, "{name} in {head}");
        found[0].to_owned()
    }

    /// The message with quoted-printable undone where it is about ASCII.
    pub(crate) fn plain(&self) -> String {
        self.data.replace("=\r\n", "").replace("=3D", "=")
    }
}

struct State {
    manner: Mutex<Manner>,
    mails: Mutex<Vec<Mail>>,
    /// How often somebody has connected.
    connections: Mutex<usize>,
    tls: Option<TlsAcceptor>,
}

/// The mail server. It ends when this is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
}

impl Sink {
    /// One without TLS.
    pub(crate) async fn start() -> Self {
        Self::with(None).await
    }

    /// One that speaks TLS from the first byte on.
    pub(crate) async fn encrypted(tls: TlsAcceptor) -> Self {
        Self::with(Some(tls)).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> Self {
        let state = State { manner: Manner::Takes.into(), mails: Mutex::default(), connections: Mutex::default(), tls };
        let mut sink = Self { address: ([127, 0, 0, 1], 0).into(), state: Arc::new(state), listening: None };
        sink.come_back().await;
        sink
    }

    /// It listens where it did before.
    pub(crate) async fn come_back(&mut self) {
        let (address, state) = (self.address, self.state.clone());
        let listener = RUNTIME.spawn(async move { TcpListener::bind(address).await.unwrap() }).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.listening = Some(RUNTIME.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *state.connections.lock().unwrap() += 1;
                tokio::spawn(serve(stream, state.clone()));
            }
        }));
    }

    /// Nobody can connect any more.
    pub(crate) async fn go_away(&mut self) {
        let listening = self.listening.take().unwrap();
        listening.abort();
        let _ = listening.await;
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// All that it got, in that order.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.state.mails.lock().unwrap().clone()
    }

    /// What it got for somebody.
    pub(crate) fn mails_to(&self, address: &str) -> Vec<Mail> {
        self.mails().into_iter().filter(|mail| mail.to == [address]).collect()
    }

    /// The first mail to somebody, once it is there.
    pub(crate) async fn mail_to(&self, address: &str) -> Mail {
        eventually_within(&format!("a mail to {address}"), Duration::from_secs(30), async || {
            self.mails_to(address).into_iter().next()
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// What a replica has to be told to use it.
    pub(crate) fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("FREEHOLD_SMTP_HOST", "127.0.0.1".to_owned()),
            ("FREEHOLD_SMTP_PORT", self.address.port().to_string()),
            ("FREEHOLD_SMTP_TLS", if self.state.tls.is_some() { "implicit" } else { "off" }.to_owned()),
            ("FREEHOLD_MAIL_FROM", "Freehold <no-reply@example.com>".to_owned()),
        ]
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// One connection; how it ends is the client's business.
async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = match &state.tls {
        None => speak(stream, &state).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => speak(stream, &state).await,
            Err(error) => Err(error),
        },
    };
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let manner = *state.manner.lock().unwrap();
    if manner == Manner::Hangs {
        // Until the client has had enough.
        stream.read_to_end(&mut Vec::new()).await?;
        return Ok(());
    }
    reply(&mut stream, manner, "220 sink.example.com ESMTP").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let line = read_line(&mut stream).await?;
        let command = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let address = || line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address);
        match command.as_str() {
            "EHLO" if manner == Manner::AsksForUser => {
                reply(&mut stream, manner, "250-sink.example.com\r\n250 AUTH PLAIN").await?;
            }
            "EHLO" => reply(&mut stream, manner, "250-sink.example.com\r\n250 8BITMIME").await?,
            "AUTH" => reply(&mut stream, manner, "535 5.7.8 nobody of that name").await?,
            "MAIL" if manner == Manner::AsksForUser => reply(&mut stream, manner, "530 5.7.0 say who you are").await?,
            "MAIL" => {
                from = address().unwrap_or_default().to_owned();
                reply(&mut stream, manner, "250 OK").await?;
            }
            "RCPT" => {
                if let Manner::Refuses(line) = manner {
                    reply(&mut stream, manner, line).await?;
                } else {
                    to.push(address().unwrap_or_default().to_owned());
                    reply(&mut stream, manner, "250 OK").await?;
                }
            }
            "DATA" => {
                reply(&mut stream, manner, "354 go on").await?;
                let data = read_data(&mut stream).await?;
                let mail = Mail { from: from.clone(), to: std::mem::take(&mut to), data };
                state.mails.lock().unwrap().push(mail);
                if manner == Manner::LosesAnswer {
                    return Ok(());
                }
                reply(&mut stream, manner, "250 OK").await?;
            }
            "QUIT" => return reply(&mut stream, manner, "221 bye").await,
            _ => reply(&mut stream, manner, "250 OK").await?,
        }
    }
}

async fn reply(stream: &mut (impl AsyncWrite + Unpin), manner: Manner, line: &str) -> io::Result<()> {
    if let Manner::Slow(pause) = manner {
        sleep(pause).await;
    }
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn read_data(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut data = String::new();
    loop {
        let line = read_line(stream).await?;
        if line == "." {
            return Ok(data);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
        data.push_str("\r\n");
    }
}
