//! Opening stream sockets: one thread for all of them, because a TLS handshake costs as much as a
//! second of somebody's call and must not be done by a media worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;

use crate::limits::{CONNECTING_MAX, STREAM_SEND_BUFFER_BYTES};
use crate::mailbox::{Command, Home};
use crate::reconnect::ReconnectPlan;
use crate::transport::Transport;
use crate::ws::{StreamUrl, Upgrade};

/// A socket on which the upgrade is done.
#[derive(Debug)]
pub(crate) struct OpenSocket {
    pub transport: Transport,
    /// What the server sent right behind its handshake.
    pub first_bytes: Vec<u8>,
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub url: StreamUrl,
    pub addresses: Vec<SocketAddr>,
    pub headers: Vec<(String, String)>,
    pub timeout: Duration,
    /// Pauses before further tries of the first connection.
    pub retries: Vec<Duration>,
    /// What is tried when that is lost.
    pub reconnect: ReconnectPlan,
}

/// One stream that wants a socket.
pub(crate) struct Request {
    pub leg: u64,
    pub serial: u16,
    /// Where the socket goes.
    pub home: Home,
    pub destination: Arc<Destination>,
    pub attempts: Attempts,
    /// Closed by the stream when it needs the socket no more.
    pub cancelled: oneshot::Receiver<()>,
}

/// How often to try.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// One try for each, after so long.
    pub pauses: Vec<Duration>,
    /// No try goes on after this.
    pub until: Option<std::time::Instant>,
    /// Why there is no socket yet: what is told when no try begins.
    pub reason: String,
}

/// The way to the thread that connects.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    requests: mpsc::Sender<Request>,
}

impl Connector {
    /// Start the thread; it ends when the last `Connector` is dropped.
    pub(crate) fn start(tls: Arc<ClientConfig>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (requests, mut queue) = mpsc::channel::<Request>(CONNECTING_MAX);
        let run = async move {
            while let Some(request) = queue.recv().await {
                let tls = TlsConnector::from(Arc::clone(&tls));
                tokio::spawn(serve(request, tls));
            }
        };
        let thread = std::thread::Builder::new()
            .name("offhook-connect".into())
            .spawn(move || runtime.block_on(run))?;
        Ok((Self { requests }, thread))
    }

    /// Ask for a socket; false when too many wait.
    pub(crate) fn request(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }
}

async fn serve(request: Request, tls: TlsConnector) {
    let Request { leg, serial, home, destination, attempts, mut cancelled } = request;
    let mut tries = 0;
    let work = async {
        let mut last = attempts.reason;
        for pause in attempts.pauses {
            let begin = Instant::now() + pause;
            let until = attempts.until.map(Instant::from_std);
            if until.is_some_and(|until| begin >= until) {
                break;
            }
            sleep_until(begin).await;
            tries += 1;
            let now = Instant::now();
            let left = until.map_or(destination.timeout, |until| until.saturating_duration_since(now));
            let given = destination.timeout.min(left);
            let deadline = now + given;
            match timeout_at(deadline, attempt(&destination, &tls, deadline)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(reason)) => last = reason,
                Err(_) => last = format!("no answer within {} ms", given.as_millis()),
            }
        }
        Err(last)
    };
    let result = tokio::select! {
        result = work => result,
        _ = &mut cancelled => return,
    };
    let command = Command::StreamOpened { leg, home: home.clone(), serial, result, tries };
    home.post_result(command);
}

async fn attempt(
    destination: &Destination,
    tls: &TlsConnector,
    deadline: Instant,
) -> Result<OpenSocket, String> {
    let url = &destination.url;
    let tcp = connect_first(&destination.addresses, deadline).await?;
    if !url.tls {
        let mut tcp = tcp;
        let first_bytes = upgrade(&mut tcp, destination).await?;
        let tcp = tcp.into_std().map_err(|err| err.to_string())?;
        return Ok(OpenSocket { transport: Transport::Plain(tcp), first_bytes });
    }
    let name =
        ServerName::try_from(url.host.clone()).map_err(|_| "TLS: the host name is not valid".to_owned())?;
    let mut stream = tls.connect(name, tcp).await.map_err(|err| format!("TLS: {err}"))?;
    let first_bytes = upgrade(&mut stream, destination).await?;
    let (tcp, mut session) = stream.into_inner();
    session.set_buffer_limit(None);
    let tcp = tcp.into_std().map_err(|err| err.to_string())?;
    Ok(OpenSocket { transport: Transport::Tls(tcp, Box::new(session)), first_bytes })
}

/// Each address gets its share of the time that is left, so that a dead one does not use it all.
async fn connect_first(addresses: &[SocketAddr], deadline: Instant) -> Result<tokio::net::TcpStream, String> {
    let mut last = "no address".to_owned();
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        match timeout_at(Instant::now() + share, connect(*address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(err)) => last = format!("{address}: {err}"),
            Err(_) => last = format!("{address}: no answer"),
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_send_buffer_size(u32::try_from(STREAM_SEND_BUFFER_BYTES).unwrap_or(u32::MAX))?;
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn upgrade<S>(stream: &mut S, destination: &Destination) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let upgrade = Upgrade::new();
    let request = upgrade.request(&destination.url, &destination.headers);
    stream.write_all(&request).await.map_err(|err| err.to_string())?;
    stream.flush().await.map_err(|err| err.to_string())?;
    let mut answer = Vec::with_capacity(1_024);
    loop {
        let count = stream.read_buf(&mut answer).await.map_err(|err| err.to_string())?;
        if count == 0 {
            return Err("the connection ended before the upgrade was answered".into());
        }
        if let Some(head_bytes) = upgrade.check(&answer).map_err(|err| err.to_string())? {
            return Ok(answer.split_off(head_bytes));
        }
    }
}
