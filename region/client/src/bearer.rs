//! Access keys on gRPC: the metadata `authorization: Bearer <access key>.<secret>`.
//!
//! Always true: a token is never printed, and a peer is told not to keep it among compressed headers; it
//! goes over TLS, or to this machine, and nowhere else ([`crate::Client`] refuses other endpoints).

use std::str::FromStr;

use tonic::codegen::http::{HeaderValue, Request, Response, header};
use tonic::codegen::{Context, Poll, Service};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

/// The scheme, as it is sent.
const SCHEME: &str = "Bearer ";

/// An access key and its secret, as `tombolo credentials create` makes them.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(HeaderValue);

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token is an access key, a dot and its secret, in printable characters without spaces; \
     `tombolo credentials create` makes one"
)]
pub struct NoToken;

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

impl BearerToken {
    /// Of this pair.
    pub fn new(access_key: &str, secret: &str) -> Result<BearerToken, NoToken> {
        // The first dot ends the access key.
        if access_key.contains('.') {
            return Err(NoToken);
        }
        format!("{access_key}.{secret}").parse()
    }
}

impl FromStr for BearerToken {
    type Err = NoToken;

    /// From `<access key>.<secret>`.
    fn from_str(text: &str) -> Result<BearerToken, NoToken> {
        let (access_key, secret) = text.split_once('.').ok_or(NoToken)?;
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if access_key.is_empty() || secret.is_empty() || !printable {
            return Err(NoToken);
        }
        let mut value = HeaderValue::try_from(format!("{SCHEME}{text}")).map_err(|_| NoToken)?;
        value.set_sensitive(true);
        Ok(BearerToken(value))
    }
}

/// A connection on which every request says who asks.
#[derive(Debug, Clone)]
pub struct Line {
    channel: Channel,
    token: Option<BearerToken>,
}

impl Line {
    pub(crate) fn new(channel: Channel, token: Option<BearerToken>) -> Line {
        Line { channel, token }
    }
}

impl Service<Request<tonic::body::Body>> for Line {
    type Response = Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> ResponseFuture {
        if let Some(BearerToken(value)) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        self.channel.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_pair_and_is_not_shown() {
        let token: BearerToken = "AKID.s3.cret/+=".parse().unwrap();
        assert_eq!(token, BearerToken::new("AKID", "s3.cret/+=").unwrap());
        assert_eq!(token.0.to_str().unwrap(), "Bearer AKID.s3.cret/+=");
        assert!(!format!("{token:?} {:?}", token.0).contains("s3"));
        for bad in ["", ".", "AKID", "AKID.", ".secret", "AKID.se cret", "AKID.s\n", "AKID.s\u{e9}"]
        {
            assert_eq!(bad.parse::<BearerToken>().unwrap_err(), NoToken, "{bad:?}");
        }
        assert_eq!(BearerToken::new("A.B", "secret").unwrap_err(), NoToken);
    }
}
