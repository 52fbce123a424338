//! Access keys on gRPC: the metadata `authorization: Bearer <access key>.<secret>`.
//!
//! Always true: whoever brings a token is who the token says or is refused, whatever else would speak for
//! it; an unknown key, a revoked one and a wrong secret are told alike, and secrets are compared in
//! constant time. The first dot ends the access key, which has none.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use ring::hmac;

use crate::authorize::Principal;
use crate::dynamodb::Credentials;
use crate::errors;
use crate::failure::Failure;

const SCHEME: &str = "bearer";

/// Knows whom a token stands for.
#[derive(Clone)]
pub(crate) struct Bearers {
    credentials: Arc<dyn Credentials>,
    /// Compares: equal texts have equal tags, and tags are compared in constant time.
    compare: hmac::Key,
}

impl Bearers {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Bearers {
        let compare = hmac::Key::new(hmac::HMAC_SHA256, b"tombolo bearer token");
        Bearers { credentials, compare }
    }

    /// Whom these headers name, and the claim to be looked at again later; nothing without a token.
    pub(crate) fn principal(&self, headers: &HeaderMap) -> Result<Option<Principal>, Failure> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => self.holder(value).map(Some),
            (Some(_), Some(_)) => Err(errors::no_bearer_token()),
        }
    }

    /// Whom the token stands for now.
    fn holder(&self, value: &HeaderValue) -> Result<Principal, Failure> {
        let token = value.to_str().ok().and_then(|text| text.split_once(' '));
        let (access_key, secret) = token
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
            .and_then(|(_, token)| token.trim_start_matches(' ').split_once('.'))
            .ok_or_else(errors::no_bearer_token)?;
        let known = self.credentials.secret(access_key).ok_or_else(errors::invalid_token)?;
        let tag = hmac::sign(&self.compare, known.as_bytes());
        hmac::verify(&self.compare, secret.as_bytes(), tag.as_ref())
            .map_err(|_| errors::invalid_token())?;
        Ok(Principal::AccessKey(access_key.into()))
    }
}

/// A claim that is looked at again while a stream lasts: its token may be revoked.
#[derive(Clone)]
pub(crate) struct Standing {
    bearers: Bearers,
    headers: HeaderMap,
}

impl Standing {
    /// Of a request with these headers.
    pub(crate) fn of(bearers: &Bearers, headers: &HeaderMap) -> Standing {
        let given = headers.get(header::AUTHORIZATION);
        let given = given.map(|value| (header::AUTHORIZATION, value.clone()));
        Standing { bearers: bearers.clone(), headers: given.into_iter().collect() }
    }

    /// Whether the token is still good; so is a claim without one.
    pub(crate) fn holds(&self) -> Result<(), Failure> {
        self.bearers.principal(&self.headers).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Credentials for Known {
        fn secret(&self, access_key: &str) -> Option<String> {
            (access_key == "AKID").then(|| "s3.cret/+=".into())
        }
    }

    #[test]
    fn a_token_is_one_pair_in_one_header() {
        let bearers = Bearers::new(Arc::new(Known));
        let of = |values: &[&[u8]]| {
            let value = |bytes: &&[u8]| HeaderValue::from_bytes(bytes).unwrap();
            let headers = values.iter().map(|bytes| (header::AUTHORIZATION, value(bytes)));
            bearers.principal(&headers.collect()).map_err(|failure| {
                assert_eq!(failure.code, tonic::Code::Unauthenticated);
                assert!(!failure.retryable && !failure.message.contains("s3"));
                failure.reason
            })
        };
        let holder = Ok(Some(Principal::AccessKey("AKID".into())));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b"Bearer AKID.s3.cret/+="]), holder);
        // RFC 9110, 11.1: a scheme's name has no case; one or more spaces follow.
        assert_eq!(of(&[b"bEARER  AKID.s3.cret/+="]), holder);
        let wrong: [&[u8]; 8] = [
            b"Bearer AKID.s3.cret/+",
            b"Bearer AKID.s3.cret/+=x",
            b"Bearer AKID.",
            b"Bearer akid.s3.cret/+=",
            b"Bearer .s3.cret/+=",
            b"Bearer AKID",
            b"AKID.s3.cret/+=",
            b"Bearer AKID.s3.cret/+=\xff",
        ];
        for value in wrong.into_iter().chain([b"" as &[u8], b"Bearer", b"Basic QTpi", b"AWS4-x y"])
        {
            assert!(of(&[value]).is_err(), "{}", String::from_utf8_lossy(value));
        }
        assert!(of(&[b"Bearer AKID.s3.cret/+=", b"Bearer AKID.s3.cret/+="]).is_err());
        assert_eq!(of(&[b"Bearer AKID.wrong"]), of(&[b"Bearer UNKNOWN.wrong"]));
    }
}
