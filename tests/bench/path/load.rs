//! What asks: connections that send the same request again as soon as it is answered, and look at nothing but its end.
//! On one thread, without an HTTP client: the machine is for what is measured.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

/// Who is asked for what.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    /// The head of the request.
    pub(crate) request: String,
    /// What every answer begins with.
    pub(crate) answer: &'static str,
}

impl Target {
    /// Asks for `time` on so many connections at once; answers with how long each answer took.
    pub(crate) async fn ask(&self, connections: usize, time: Duration) -> anyhow::Result<Vec<Duration>> {
        let (mut asking, mut took) = (JoinSet::new(), Vec::new());
        let until = Instant::now() + time;
        for _ in 0..connections {
            asking.spawn(self.clone().ask_on_one(until));
        }
        while let Some(asked) = asking.join_next().await {
            took.extend(asked??);
        }
        Ok(took)
    }

    async fn ask_on_one(self, until: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let (mut took, mut received) = (Vec::new(), Vec::with_capacity(8 * 1024));
        loop {
            let began = Instant::now();
            if began >= until {
                return Ok(took);
            }
            stream.write_all(self.request.as_bytes()).await?;
            received.clear();
            while !is_whole(&received)? {
                ensure!(stream.read_buf(&mut received).await? > 0, "a connection was closed before its answer");
            }
            let is_expected = received.starts_with(self.answer.as_bytes());
            ensure!(is_expected, "an unexpected answer: {}", String::from_utf8_lossy(&received));
            took.push(began.elapsed());
        }
    }
}

/// Whether an answer has been received with its body.
fn is_whole(received: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(&received[..end])?;
    let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).context("no Content-Length")?.1;
    Ok(received.len() - end - 4 >= length.trim().parse()?)
}
