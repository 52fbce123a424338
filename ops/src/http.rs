//! A very small HTTP/1.0 client for the admin ports and NATS' monitor: one request per connection.
//!
//! HTTP/1.0, because answers to it are never chunked. Deliberately absent: TLS, redirects.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers larger than this are an error.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The status code and the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// `GET http://authority/path`.
pub async fn get(url: &str, patience: Duration) -> std::io::Result<Answer> {
    request("GET", url, &[], "", patience).await
}

/// `POST` with a JSON body.
pub async fn post(
    url: &str,
    headers: &[(&str, &str)],
    json: &str,
    patience: Duration,
) -> std::io::Result<Answer> {
    request("POST", url, headers, json, patience).await
}

async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
    patience: Duration,
) -> std::io::Result<Answer> {
    let answer = tokio::time::timeout(patience, exchange(method, url, headers, body)).await;
    answer.unwrap_or_else(|_| {
        let waited = format!("{url} did not answer within {} ms", patience.as_millis());
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, waited))
    })
}

async fn exchange(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let invalid = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(|| invalid("only http:// is spoken here"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut head =
        format!("{method} /{path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n");
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| invalid("the answer is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno quorum\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "no quorum\n"));
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_none());
    }
}
