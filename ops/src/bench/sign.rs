//! Signs requests: AWS Signature Version 4, in headers (AWS General Reference, "Create a signed AWS
//! API request"), as lean as a load generator needs it: one method, one path, the same headers.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::hmac;

/// An access key and its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

/// Signs `POST /` for one access key, region and host; keeps the key of the day.
pub(super) struct Signer {
    credentials: Credentials,
    region: String,
    host: String,
    day: Option<(String, hmac::Key)>,
}

/// The headers that a signature adds.
pub(super) struct Signature {
    /// `x-amz-date`.
    pub(super) date: String,
    /// `authorization`.
    pub(super) authorization: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// ISO 8601 basic format, from seconds since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", civil_from_days).
fn basic_iso(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{:02}Z", second % 60)
}

impl Signer {
    pub(super) fn new(credentials: Credentials, region: &str, host: &str) -> Self {
        Self { credentials, region: region.into(), host: host.into(), day: None }
    }

    /// For a body and the operation in `x-amz-target`, at this second since 1970.
    pub(super) fn sign(&mut self, target: &str, body: &[u8], now: u64) -> Signature {
        let date = basic_iso(now);
        let today = date[..8].to_owned();
        let scope = format!("{today}/{}/dynamodb/aws4_request", self.region);
        let Self { credentials, region, host, day } = self;
        if day.as_ref().is_none_or(|(known, _)| *known != today) {
            let secret = format!("AWS4{}", credentials.secret_key);
            let first = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let parts = [today.as_str(), region, "dynamodb", "aws4_request"];
            let key = parts.into_iter().fold(first, |key, part| {
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
            });
            *day = Some((today, key));
        }
        const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:{host}\nx-amz-date:{date}\n\
             x-amz-target:{target}\n\n{SIGNED}\n{}",
            hex(digest(&SHA256, body).as_ref())
        );
        let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
        let signature = match day {
            Some((_, key)) => hex(hmac::sign(key, to_sign.as_bytes()).as_ref()),
            None => String::new(),
        };
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
            credentials.access_key
        );
        Signature { date, authorization }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dates from date(1).
    #[test]
    fn seconds_are_dates() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(basic_iso(seconds), text);
        }
    }

    /// The signature that botocore 1.43.11 (SigV4Auth) gives for the same request.
    #[test]
    fn the_signature_is_botocores() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        };
        let mut signer = Signer::new(credentials, "us-east-1", "127.0.0.1:8000");
        let signed = signer.sign("DynamoDB_20120810.ListTables", b"{}", 1_440_938_160);
        assert_eq!(signed.date, "20150830T123600Z");
        assert_eq!(
            signed.authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/dynamodb/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=ed4d26ecc5b84a2e7026dbbc02c70e1fc0132f8eb32a500a6a406bb64efda3ce"
        );
    }
}
