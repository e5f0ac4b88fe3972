//! Bytes to and from one application, plain or through TLS, never blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::ClientConnection;

/// An open connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(TcpStream, Box<ClientConnection>),
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// Nothing more for now.
    Open,
    /// The peer will send no more.
    Eof,
}

impl Transport {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(tcp) | Self::Tls(tcp, _) => tcp.as_fd(),
        }
    }

    /// Write as much as the socket takes now. TLS takes all and keeps what the socket does not.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => not_blocked(tcp.write(bytes)),
            Self::Tls(_, session) => {
                session.writer().write_all(bytes)?;
                self.flush()?;
                Ok(bytes.len())
            }
        }
    }

    /// Send on what TLS has kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Self::Tls(tcp, session) = self {
            while session.wants_write() {
                if not_blocked(session.write_tls(tcp))? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether TLS holds bytes that the socket did not take.
    pub(crate) fn holds_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_, session) => session.wants_write(),
        }
    }

    /// One read from the socket; what it meant goes to `each`.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8])) -> io::Result<ReadEnd> {
        match self {
            Self::Plain(tcp) => match tcp.read(buffer) {
                Ok(0) => Ok(ReadEnd::Eof),
                Ok(count) => {
                    each(buffer.get(..count).unwrap_or_default());
                    Ok(ReadEnd::Open)
                }
                Err(err) => not_blocked(Err(err)).map(|_| ReadEnd::Open),
            },
            Self::Tls(tcp, session) => {
                let mut end = ReadEnd::Open;
                match session.read_tls(tcp) {
                    Ok(0) => end = ReadEnd::Eof,
                    Ok(_) => {}
                    Err(err) => {
                        not_blocked(Err(err))?;
                    }
                }
                session.process_new_packets().map_err(io::Error::other)?;
                self.read_held(buffer, each).map(|held| if held == ReadEnd::Eof { held } else { end })
            }
        }
    }

    /// Take what TLS has opened already, without asking the socket.
    pub(crate) fn read_held(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<ReadEnd> {
        let Self::Tls(_, session) = self else { return Ok(ReadEnd::Open) };
        loop {
            match session.reader().read(buffer) {
                Ok(0) => return Ok(ReadEnd::Eof),
                Ok(count) => each(buffer.get(..count).unwrap_or_default()),
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(ReadEnd::Open),
                // The peer left without close_notify; the WebSocket close says more than TLS does.
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(ReadEnd::Eof),
                Err(err) => return Err(err),
            }
        }
    }

    /// Say goodbye where the protocol has a word for it.
    pub(crate) fn close(&mut self) {
        if let Self::Tls(_, session) = self {
            session.send_close_notify();
            // The peer may have gone already.
            let _ = self.flush();
        }
    }
}

fn not_blocked(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}
