//! Times as the protocol writes them.

/// Days before a month in a year that is not a leap year.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970 to the first of a year.
fn days_to(year: u64) -> u64 {
    let before = year - 1;
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(before) - leaps(1969)
}

/// `20130609T100015Z` as seconds since 1970.
pub(crate) fn parse_basic_iso(text: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten()
    };
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute, second) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leap_day = u64::from(month > 2 && is_leap(year));
    let days = days_to(year) + DAYS_BEFORE[month as usize - 1] + leap_day + day - 1;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Year, month, day, and seconds of the day.
fn civil(seconds: u64) -> (u64, u64, u64, u64) {
    let days = seconds / 86_400;
    let mut year = 1970 + days / 366;
    while days_to(year + 1) <= days {
        year += 1;
    }
    let day_of_year = days - days_to(year);
    let first_of = |month: usize| DAYS_BEFORE[month - 1] + u64::from(month > 2 && is_leap(year));
    let month = (1..=12).rev().find(|&month| first_of(month) <= day_of_year).unwrap_or(1);
    (year, month as u64, day_of_year - first_of(month) + 1, seconds % 86_400)
}

/// Seconds since 1970 as `20130609T100015Z`.
pub(crate) fn basic_iso(seconds: u64) -> String {
    let (year, month, day, rest) = civil(seconds);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        // From `date -u -d @N`.
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_827_696, "20000229T123456Z"),
            (1_370_772_015, "20130609T100015Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
        ] {
            assert_eq!(basic_iso(seconds), text);
            assert_eq!(parse_basic_iso(text), Some(seconds), "{text}");
        }
        for bad in [
            "",
            "201",
            "20130609T100015",
            "20131309T100015Z",
            "2013060\u{e9}T10001Z",
            "20130609 100015Z",
        ] {
            assert_eq!(parse_basic_iso(bad), None, "{bad}");
        }
    }
}
