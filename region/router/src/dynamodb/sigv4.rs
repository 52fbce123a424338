//! Checks signatures: AWS Signature Version 4, in headers or in the query (AWS General Reference,
//! "Create a signed AWS API request").
//!
//! Always true: the hash of the body that arrived is part of what is checked, whatever the caller said
//! it was; `host` and every `x-amz-` header that arrived must be signed; the clock of the caller may
//! be five minutes off; signatures are compared in constant time. The region in a credential's scope is
//! the caller's choice: SDKs need one, and the endpoint says which region is meant.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderMap, Uri};
use ring::digest::{SHA256, digest};
use ring::hmac;

use super::clock::{basic_iso, parse_basic_iso};
use super::fault::Fault;

/// How far a caller's clock may be off, in seconds.
const SKEW_SECONDS: u64 = 5 * 60;
/// Longest validity of a signed query, in seconds: a week, as AWS has it.
const MOST_EXPIRES: u64 = 7 * 24 * 3600;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "dynamodb";
const TERMINATOR: &str = "aws4_request";

/// A request as it arrived.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What a signature says of itself.
struct Claim {
    algorithm: String,
    credential: String,
    signature: String,
    signed_headers: String,
    date: String,
    /// Validity in seconds of a signed query.
    expires: Option<u64>,
}

/// Who signed: the access key, or why nobody did. `now` in seconds since 1970.
pub(crate) fn verify(
    request: &Signed<'_>,
    now: u64,
    secret_of: impl FnOnce(&str) -> Option<String>,
) -> Result<Arc<str>, Fault> {
    let query = decoded_query(request.uri.query().unwrap_or_default());
    let in_query = query.iter().any(|(name, _)| name == "X-Amz-Algorithm");
    let header = header(request.headers, "authorization");
    let claim = match (header, in_query) {
        (Some(_), true) => {
            return Err(Fault::invalid_signature(
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            ));
        }
        (Some(text), false) if text.trim().starts_with("AWS4-") => {
            from_header(&text, request.headers)?
        }
        (None, true) => from_query(&query)?,
        _ => return Err(Fault::missing_token()),
    };
    in_time(&claim, now)?;
    let signed: Vec<&str> = claim.signed_headers.split(';').filter(|n| !n.is_empty()).collect();
    if !signed.iter().any(|name| name.eq_ignore_ascii_case("host")) {
        return Err(Fault::invalid_signature(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ));
    }
    let unsigned = request.headers.keys().map(http::HeaderName::as_str).find(|name| {
        name.starts_with("x-amz-") && !signed.iter().any(|s| s.eq_ignore_ascii_case(name))
    });
    if let Some(name) = unsigned {
        return Err(Fault::invalid_signature(format!(
            "There were headers present in the request which were not signed: {name}"
        )));
    }
    if claim.algorithm != ALGORITHM {
        return Err(Fault::incomplete_signature(format!(
            "Unsupported AWS 'algorithm': '{}' (only {ALGORITHM} for now). ",
            claim.algorithm
        )));
    }
    let (access_key, scope) = scope_of(&claim)?;
    let secret = secret_of(access_key).ok_or_else(Fault::unrecognized_client)?;
    if request.headers.contains_key("x-amz-security-token") {
        // Keys of ours have no sessions.
        return Err(Fault::unrecognized_client());
    }
    let canonical = canonical_request(request, &query, &signed);
    let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{}\n{}\n{hash}", claim.date, scope.join("/"));
    let key = signing_key(&secret, &scope);
    let given = unhex(&claim.signature).unwrap_or_default();
    // `ring` compares in constant time.
    if hmac::verify(&key, to_sign.as_bytes(), &given).is_err() {
        return Err(Fault::invalid_signature(format!(
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.\n\nThe Canonical String for this request should have been\n'{canonical}'\n\nThe \
             String-to-Sign should have been\n'{to_sign}'\n"
        )));
    }
    Ok(access_key.into())
}

/// The access key that a request names, before anything is checked.
pub(crate) fn access_key(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let key = |credential: &str| credential.split_once('/').map(|(key, _)| key.to_owned());
    if let Some(text) = header(headers, "authorization") {
        let mut parts = text.split([',', ' ']);
        return parts.find_map(|part| part.strip_prefix("Credential=").and_then(key));
    }
    let query = decoded_query(uri.query().unwrap_or_default());
    query.iter().find(|(name, _)| name == "X-Amz-Credential").and_then(|(_, value)| key(value))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn from_header(text: &str, headers: &HeaderMap) -> Result<Claim, Fault> {
    let text = text.trim();
    let (algorithm, rest) = text.split_once([' ', ',']).unwrap_or((text, ""));
    let mut parts: [Option<&str>; 3] = [None; 3];
    const NAMES: [&str; 3] = ["Credential", "Signature", "SignedHeaders"];
    for pair in rest.split([',', ' ']).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Fault::incomplete_signature(format!(
                "'{pair}' not a valid key=value pair (missing equal-sign) in Authorization header: '{text}'."
            )));
        };
        if let Some(at) = NAMES.iter().position(|known| *known == name) {
            parts[at] = Some(value);
        }
    }
    let date = header(headers, "x-amz-date").or_else(|| header(headers, "date"));
    let mut wrong = String::new();
    for (name, part) in NAMES.iter().zip(parts) {
        if part.is_none_or(str::is_empty) {
            let _ = write!(wrong, "Authorization header requires '{name}' parameter. ");
        }
    }
    if date.is_none() {
        wrong.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    let ([Some(credential), Some(signature), Some(signed_headers)], Some(date), true) =
        (parts, date, wrong.is_empty())
    else {
        return Err(Fault::incomplete_signature(format!("{wrong}Authorization={text}")));
    };
    Ok(Claim {
        algorithm: algorithm.to_owned(),
        credential: credential.to_owned(),
        signature: signature.to_owned(),
        signed_headers: signed_headers.to_owned(),
        date,
        expires: None,
    })
}

fn from_query(query: &[(String, String)]) -> Result<Claim, Fault> {
    let get = |wanted: &str| {
        let found = query.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let mut wrong = String::new();
    let mut required = |name| {
        if get(name).is_none() {
            let _ = write!(wrong, "AWS query-string parameters must include '{name}'. ");
        }
        get(name).unwrap_or_default()
    };
    let algorithm = required("X-Amz-Algorithm").to_owned();
    let credential = required("X-Amz-Credential").to_owned();
    let signature = required("X-Amz-Signature").to_owned();
    let signed_headers = required("X-Amz-SignedHeaders").to_owned();
    let date = required("X-Amz-Date").to_owned();
    if !wrong.is_empty() {
        wrong.push_str("Re-examine the query-string parameters.");
        return Err(Fault::incomplete_signature(wrong));
    }
    let expires = get("X-Amz-Expires").and_then(|text| text.parse::<u64>().ok());
    let expires = Some(expires.unwrap_or(SKEW_SECONDS).min(MOST_EXPIRES));
    Ok(Claim { algorithm, credential, signature, signed_headers, date, expires })
}

fn in_time(claim: &Claim, now: u64) -> Result<(), Fault> {
    let Some(signed) = parse_basic_iso(&claim.date) else {
        return Err(Fault::incomplete_signature(format!(
            "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
            claim.date
        )));
    };
    let (shown, minutes) = (basic_iso(now), SKEW_SECONDS / 60);
    let validity = claim.expires.unwrap_or(SKEW_SECONDS);
    if signed + validity < now {
        return Err(Fault::invalid_signature(match claim.expires {
            None => format!(
                "Signature expired: {} is now earlier than {} ({shown} - {minutes} min.)",
                claim.date,
                basic_iso(now.saturating_sub(SKEW_SECONDS))
            ),
            Some(seconds) => {
                format!("Signature expired: {} + {seconds} s is earlier than {shown}", claim.date)
            }
        }));
    }
    if signed > now + SKEW_SECONDS {
        return Err(Fault::invalid_signature(format!(
            "Signature not yet current: {} is still later than {} ({shown} + {minutes} min.)",
            claim.date,
            basic_iso(now + SKEW_SECONDS)
        )));
    }
    Ok(())
}

/// The access key, and date, region, service and terminator.
fn scope_of(claim: &Claim) -> Result<(&str, [&str; 4]), Fault> {
    let parts: Vec<&str> = claim.credential.trim_end_matches('/').split('/').collect();
    let [access_key, date, region, service, term] = parts[..] else {
        return Err(Fault::incomplete_signature(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term, got '{}'",
            claim.credential
        )));
    };
    let mut wrong = String::new();
    if region.is_empty() {
        wrong.push_str("Credential should be scoped to a valid region, not ''. ");
    }
    if service != SERVICE {
        let _ = write!(wrong, "Credential should be scoped to correct service: '{SERVICE}'. ");
    }
    if term != TERMINATOR {
        let _ = write!(
            wrong,
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{term}'. "
        );
    }
    let day = claim.date.get(..8).unwrap_or_default();
    if date != day {
        let _ = write!(
            wrong,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: '{date}' != '{day}', from '{}'.",
            claim.date
        );
    }
    match wrong.is_empty() {
        true => Ok((access_key, [date, region, service, term])),
        false => Err(Fault::invalid_signature(wrong)),
    }
}

fn signing_key(secret: &str, scope: &[&str; 4]) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    for part in scope {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

fn canonical_request(request: &Signed<'_>, query: &[(String, String)], signed: &[&str]) -> String {
    let path = encode(request.uri.path(), true);
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name, false), encode(value, false)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut out = format!("{}\n{path}\n{}\n", request.method, pairs.join("&"));
    for name in signed {
        let name = name.to_ascii_lowercase();
        let _ = writeln!(out, "{name}:{}", header_value(request, &name));
    }
    let _ = write!(out, "\n{}\n", signed.join(";"));
    out.push_str(&hex(digest(&SHA256, request.body).as_ref()));
    out
}

/// A header as it is signed: values joined, runs of spaces as one.
fn header_value(request: &Signed<'_>, name: &str) -> String {
    let mut values: Vec<String> = request
        .headers
        .get_all(name)
        .iter()
        .map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect();
    // HTTP/2 has the host elsewhere.
    if name == "host" && values.is_empty() {
        values.extend(request.uri.authority().map(|authority| authority.as_str().to_owned()));
    }
    values.join(",")
}

/// Percent-encodes all but unreserved characters.
fn encode(text: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if keep_slashes => out.push('/'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

fn decoded_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    out
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
    };
    use aws_sigv4::sign::v4;

    use super::*;

    const BODY: &str = r#"{"TableName":"music"}"#;
    /// 2013-06-09T10:00:15Z.
    const NOW: u64 = 1_370_772_015;

    /// A request that AWS's own signer signed.
    fn signed(location: SignatureLocation, uri: &str, at: u64) -> http::Request<String> {
        let identity = Credentials::new("AKID", "secret", None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.signature_location = location;
        if location == SignatureLocation::QueryParams {
            settings.expires_in = Some(Duration::from_secs(900));
        }
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west")
            .name("dynamodb")
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let mut request = http::Request::builder()
            .method("POST")
            .uri(uri)
            .header("host", "127.0.0.1:8000")
            .header("x-amz-target", "DynamoDB_20120810.DescribeTable")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-spaces", "a   b  c")
            .body(BODY.to_owned())
            .unwrap();
        let (instructions, _) = {
            let headers = request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap()));
            let body = SignableBody::Bytes(BODY.as_bytes());
            let signable = SignableRequest::new("POST", uri, headers, body).unwrap();
            sign(signable, &params).unwrap().into_parts()
        };
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    fn check(request: &http::Request<String>, now: u64) -> Result<String, String> {
        let signed = Signed {
            method: request.method().as_str(),
            uri: request.uri(),
            headers: request.headers(),
            body: request.body().as_bytes(),
        };
        verify(&signed, now, |key| (key == "AKID").then(|| "secret".to_owned()))
            .map(|key| key.to_string())
            .map_err(|fault| format!("{}: {}", fault.name(), fault.message().unwrap_or_default()))
    }

    const PLAIN: &str = "http://127.0.0.1:8000/";

    #[test]
    fn what_awss_signer_signed_is_accepted() {
        for uri in [PLAIN, "http://127.0.0.1:8000/a%20b/c?z=1&a=%2F%20x&a=0&empty"] {
            for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
                let request = signed(location, uri, NOW);
                assert_eq!(check(&request, NOW), Ok("AKID".into()), "{uri}");
                let named = access_key(request.uri(), request.headers());
                assert_eq!(named.as_deref(), Some("AKID"), "{uri}");
            }
        }
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let altered = |change: fn(&mut http::Request<String>)| {
            let mut request = signed(SignatureLocation::Headers, PLAIN, NOW);
            change(&mut request);
            check(&request, NOW).expect_err("it was changed")
        };
        let mismatch =
            "InvalidSignatureException: The request signature we calculated does not match";
        assert!(altered(|r| r.body_mut().push(' ')).starts_with(mismatch));
        assert!(altered(|r| *r.method_mut() = http::Method::PUT).starts_with(mismatch));
        assert!(
            altered(|r| *r.uri_mut() = "http://127.0.0.1:8000/x".parse().unwrap())
                .starts_with(mismatch)
        );
        let target = altered(|r| {
            r.headers_mut()
                .insert("x-amz-target", "DynamoDB_20120810.DeleteTable".parse().unwrap());
        });
        assert!(target.starts_with(mismatch));
        let added = altered(|r| {
            r.headers_mut().insert("x-amz-more", "1".parse().unwrap());
        });
        assert!(added.contains("not signed: x-amz-more"), "{added}");
        let other = altered(|r| {
            let text = r.headers()["authorization"].to_str().unwrap().replace("AKID", "OTHER");
            r.headers_mut().insert("authorization", text.parse().unwrap());
        });
        assert_eq!(
            other,
            "UnrecognizedClientException: The security token included in the request is invalid."
        );
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_and_a_query_as_long_as_it_says() {
        let request = signed(SignatureLocation::Headers, PLAIN, NOW);
        assert!(check(&request, NOW + 300).is_ok() && check(&request, NOW - 300).is_ok());
        assert_eq!(
            check(&request, NOW + 301),
            Err("InvalidSignatureException: Signature expired: 20130609T100015Z is now earlier than \
                 20130609T100016Z (20130609T100516Z - 5 min.)".into())
        );
        assert!(check(&request, NOW - 301).unwrap_err().contains("not yet current"));
        let query = signed(SignatureLocation::QueryParams, PLAIN, NOW);
        assert!(check(&query, NOW + 900).is_ok());
        assert!(check(&query, NOW + 901).unwrap_err().contains("expired"));
    }

    /// Texts as the service gives them (dynalite's notes and tests, which run against the service).
    #[test]
    fn what_is_incomplete_is_told_in_the_services_words() {
        let of = |authorization: Option<&str>, date: Option<&str>| {
            let mut request = http::Request::builder().method("POST").uri(PLAIN);
            for (name, value) in [("authorization", authorization), ("x-amz-date", date)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            check(&request.body(String::new()).unwrap(), NOW).unwrap_err()
        };
        let missing =
            "MissingAuthenticationTokenException: Request is missing Authentication Token";
        assert_eq!(of(None, None), missing);
        assert_eq!(of(Some("AWS4"), None), missing);
        assert_eq!(
            of(Some("AWS4-"), None),
            "IncompleteSignatureException: Authorization header requires 'Credential' parameter. \
             Authorization header requires 'Signature' parameter. Authorization header requires \
             'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' \
             or a 'Date' header. Authorization=AWS4-"
        );
        let date = Some("20130609T100015Z");
        let with = |credential: &str, headers: &str, algorithm: &str| {
            of(
                Some(&format!(
                    "{algorithm} Credential={credential}, SignedHeaders={headers}, Signature=b"
                )),
                date,
            )
        };
        let good = "a/20130609/eu-west/dynamodb/aws4_request";
        assert!(with(good, "a", ALGORITHM).contains("must be a 'SignedHeader'"));
        let headers = "host;x-amz-date";
        assert_eq!(
            with(good, headers, "AWS4-HMAC-SHA25"),
            "IncompleteSignatureException: Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA25' (only \
             AWS4-HMAC-SHA256 for now). "
        );
        assert!(with("a/b/c/d", headers, ALGORITHM).contains("exactly 5 slash-delimited elements"));
        let scoped = with("a/b/c/d/e", headers, ALGORITHM);
        assert!(
            scoped.contains("correct service: 'dynamodb'. ")
                && scoped.contains("'b' != '20130609'")
        );
        assert!(
            of(
                Some(&format!("{ALGORITHM} Credential={good}, SignedHeaders=host, Signature=b")),
                Some("201")
            )
            .contains("Date must be in ISO-8601 'basic format'. Got '201'.")
        );
        let pair = of(Some(&format!("{ALGORITHM} Signature=b,    Credential")), date);
        assert!(pair.contains("'Credential' not a valid key=value pair"));
    }
}
