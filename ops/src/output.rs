//! The one place that writes to the user: data to stdout, talk to stderr.
//!
//! Always true: a reader that closes its end early (`tombolo table list | head -1`) ends the
//! program quietly and successfully, as other tools do.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document per result; lists of items one per line.
    Json,
    /// Columns for people.
    Table,
}

/// Writes one line of data to stdout.
pub fn data(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
    if let Err(error) = written {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // The reader has what it wanted.
            std::process::exit(0);
        }
        talk(format!("tombolo: cannot write to standard output: {error}"));
        std::process::exit(3);
    }
}

/// Writes one line of talk to stderr. Nobody listening is no error.
pub fn talk(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}

/// Writes a serialisable value to stdout as JSON: indented for a terminal, one line for a pipe.
pub fn json(value: &impl serde::Serialize) -> crate::error::Result {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    data(text);
    Ok(())
}

/// Lines up cells in columns: two spaces between, no rules, a heading.
pub fn columns(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.trim_end().to_owned()
    };
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text.push('\n');
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["music".into(), "ACTIVE".into()], vec!["a".into(), "é".into()]];
        assert_eq!(columns(&["TABLE", "S"], &rows), "TABLE  S\nmusic  ACTIVE\na      é");
    }
}
