//! The opening handshake (RFC 6455 section 4.1): what we ask, and whether the answer is a yes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::rand::{GetRandomFlags, getrandom};
use sha1::{Digest, Sha1};

use crate::limits::UPGRADE_RESPONSE_BYTES_MAX;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const RESPONSE_HEADERS_MAX: usize = 64;

/// The parts of a stream URL that matter on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamUrl {
    /// `wss`.
    pub tls: bool,
    /// Host without brackets: for SNI and the certificate.
    pub host: String,
    /// Value of the Host header.
    pub authority: String,
    /// Path and query, at least `/`.
    pub target: String,
}

impl StreamUrl {
    /// Take a `ws:` or `wss:` URL apart; `None` when it is none, or holds anything that could end
    /// a header line.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return None,
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let rest = rest.split('#').next()?;
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(cut)?;
        // Credentials in a URL have no place in a Host header.
        let authority = authority.rsplit('@').next()?;
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next()?,
            None => authority.split(':').next()?,
        };
        if host.is_empty() {
            return None;
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Some(Self { tls, host: host.to_owned(), authority: authority.to_owned(), target })
    }
}

/// A header that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {0:?} cannot be sent")]
pub struct HeaderError(String);

/// Refuse names that are no token and values that could begin a new line (RFC 9110 section 5.5).
///
/// # Errors
/// Names the header, never its value: it may be a secret.
pub fn check_headers(headers: &[(String, String)]) -> Result<(), HeaderError> {
    const RESERVED: [&str; 7] = [
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "content-length",
    ];
    for (name, value) in headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let clean = !name.is_empty()
            && name.bytes().all(token)
            && value.bytes().all(|byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7F))
            && !RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved));
        if !clean {
            return Err(HeaderError(name.chars().take(80).collect()));
        }
    }
    Ok(())
}

/// Why there is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The server answered, and it was not 101. Redirects are not followed.
    #[error("HTTP {0}")]
    Status(u16),
    /// The answer is not HTTP, or too long.
    #[error("the answer to the upgrade is not HTTP")]
    NotHttp,
    /// 101 without the right key or with something that we did not offer.
    #[error("the answer to the upgrade is not a WebSocket handshake")]
    NotWebSocket,
}

/// One attempt at the handshake.
#[derive(Debug)]
pub struct Upgrade {
    key: String,
}

impl Upgrade {
    /// An attempt with a fresh random key.
    pub fn new() -> Self {
        let mut nonce = [0_u8; 16];
        let _ = getrandom(&mut nonce[..], GetRandomFlags::empty());
        Self { key: STANDARD.encode(nonce) }
    }

    /// The request. No subprotocol and no extension is offered (contract 4.1).
    pub fn request(&self, url: &StreamUrl, headers: &[(String, String)]) -> Vec<u8> {
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
            url.target, url.authority, self.key
        );
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            text.push_str(concat!("User-Agent: offhook/", env!("CARGO_PKG_VERSION"), "\r\n"));
        }
        for (name, value) in headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// Judge the answer so far: `None` when its head is not complete yet, else how many bytes the
    /// head had; what follows is WebSocket already.
    ///
    /// # Errors
    /// When the answer is anything but a correct 101.
    pub fn check(&self, answer: &[u8]) -> Result<Option<usize>, UpgradeError> {
        let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(answer) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) if answer.len() < UPGRADE_RESPONSE_BYTES_MAX => {
                return Ok(None);
            }
            _ => return Err(UpgradeError::NotHttp),
        };
        match response.code {
            Some(101) => {}
            Some(code) => return Err(UpgradeError::Status(code)),
            None => return Err(UpgradeError::NotHttp),
        }
        let value = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value.trim_ascii())
        };
        let upgrade = value("upgrade").is_some_and(|text| text.eq_ignore_ascii_case(b"websocket"));
        let accepted = value("sec-websocket-accept") == Some(self.accept().as_bytes());
        let surprised = value("sec-websocket-extensions").is_some_and(|text| !text.is_empty())
            || value("sec-websocket-protocol").is_some_and(|text| !text.is_empty());
        if upgrade && accepted && !surprised { Ok(Some(head_bytes)) } else { Err(UpgradeError::NotWebSocket) }
    }

    fn accept(&self) -> String {
        let mut hash = Sha1::new();
        hash.update(self.key.as_bytes());
        hash.update(GUID);
        STANDARD.encode(hash.finalize())
    }
}

impl Default for Upgrade {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gives_the_accept_of_the_rfc() {
        // RFC 6455 section 1.3.
        let upgrade = Upgrade { key: "dGhlIHNhbXBsZSBub25jZQ==".into() };
        assert_eq!(upgrade.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let with_tail = [answer.as_bytes(), b"\x81\x00"].concat();
        assert_eq!(upgrade.check(&with_tail), Ok(Some(answer.len())));
        assert_eq!(upgrade.check(&with_tail[..40]), Ok(None));
        let wrong = answer.replace("s3pP", "xxxx");
        assert_eq!(upgrade.check(wrong.as_bytes()), Err(UpgradeError::NotWebSocket));
    }

    #[test]
    fn another_answer_is_told_by_its_status() {
        let answer = b"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\n\r\n";
        assert_eq!(Upgrade::new().check(answer).unwrap_err().to_string(), "HTTP 302");
        assert_eq!(Upgrade::new().check(b"SSH-2.0-x\r\n"), Err(UpgradeError::NotHttp));
        let endless = vec![b'a'; UPGRADE_RESPONSE_BYTES_MAX];
        assert_eq!(Upgrade::new().check(&endless), Err(UpgradeError::NotHttp));
    }

    #[test]
    fn a_url_is_taken_apart_as_given() {
        let url = StreamUrl::parse("wss://app.example:9443/media?a=1&b=%20#x").unwrap();
        assert!(url.tls);
        assert_eq!((url.host.as_str(), url.authority.as_str()), ("app.example", "app.example:9443"));
        assert_eq!(url.target, "/media?a=1&b=%20");
        let v6 = StreamUrl::parse("ws://user:pw@[::1]:80?q").unwrap();
        assert_eq!((v6.host.as_str(), v6.authority.as_str(), v6.target.as_str()), ("::1", "[::1]:80", "/?q"));
        for bad in ["http://x/", "ws://", "ws://x/\r\nA: b", "wss:///x", "nonsense"] {
            assert_eq!(StreamUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_header_cannot_smuggle_a_line_or_replace_ours() {
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(check_headers(&pair("x-telnyx-streaming-auth-token", "t o k")), Ok(()));
        for (name, value) in [("a", "b\r\nc: d"), ("a b", "c"), ("", "c"), ("HOST", "x")] {
            let text = check_headers(&pair(name, value)).unwrap_err().to_string();
            assert!(!text.contains("c: d"));
        }
    }
}
