//! What processes complained about. ERROR means that a person must look, so a run in which nothing was
//! broken on purpose has none.

use std::path::Path;

/// Lines with ERROR, or that speak of a panic, of every log in the folder.
pub fn complaints(logs: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(files) = std::fs::read_dir(logs) else { return found };
    for file in files.flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let name = file.file_name().to_string_lossy().into_owned();
        // nats-server writes [ERR].
        let bad = text
            .lines()
            .filter(|l| l.contains(" ERROR ") || l.contains("panicked") || l.contains("[ERR]"));
        found.extend(bad.map(|line| format!("{name}: {line}")));
    }
    found
}

/// For the output of a failed test: the complaints, and the end of each log.
pub fn print_complaints(logs: &Path) {
    for line in complaints(logs).iter().take(60) {
        eprintln!("{line}");
    }
    for file in std::fs::read_dir(logs).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        eprintln!("--- the end of {}", file.file_name().to_string_lossy());
        for line in &lines[lines.len().saturating_sub(8)..] {
            eprintln!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn complaints_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let text = "2026 INFO fine\n2026 ERROR group: bad\nthread 'x' panicked at y\n";
        std::fs::write(dir.path().join("a.log"), text).unwrap();
        assert_eq!(super::complaints(dir.path()).len(), 2);
    }
}
