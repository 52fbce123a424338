//! Programs that tests need besides the one under test: Python with packages, Prometheus.
//!
//! They are found, or put where a later run finds them: `~/.cache/tombolo/tests` (or `$XDG_CACHE_HOME`).
//! Nothing is skipped: what cannot be had fails the test with a sentence.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        home.unwrap_or_else(std::env::temp_dir).join(".cache")
    });
    base.join("tombolo").join("tests")
}

fn run(command: &mut Command, why: &str) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{why}: {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{why}: {command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A Python of its own with the packages of `tests/python/requirements.txt`.
pub fn python() -> PathBuf {
    static PYTHON: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    PYTHON.get_or_init(install_python).clone()
}

fn install_python() -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("the list of packages is there");
    let venv = cache().join("python");
    let (python, stamp) = (venv.join("bin/python"), venv.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|had| had == wanted) {
        return python;
    }
    let why = "Python 3 with venv and pip is needed for the tests of other languages";
    std::fs::create_dir_all(cache()).expect("the cache folder can be made");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), why);
    run(
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements),
        "installing the packages of tests/python/requirements.txt",
    );
    std::fs::write(&stamp, wanted).expect("the cache folder can be written");
    python
}

/// Runs a script of `tests/python`; gives what it printed.
pub fn run_python(script: &str, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let output = run(Command::new(python()).arg(path).args(arguments), script);
    String::from_utf8(output.stdout).expect("scripts print text")
}

/// Runs a file of pytest tests of `tests/python`, with these variables set.
pub fn run_pytest(file: &str, environment: &[(&str, &Path)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(file);
    let mut pytest = Command::new(python());
    pytest.args(["-B", "-m", "pytest"]).arg(path).envs(environment.iter().copied());
    run(&mut pytest, file);
}

/// A Prometheus server: from PATH, or unpacked from Debian's package without installing it.
pub fn prometheus() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("prometheus")).find(|p| p.exists());
    if let Some(found) = found {
        return found;
    }
    let folder = cache().join("prometheus");
    let program = folder.join("usr/bin/prometheus");
    if program.exists() {
        return program;
    }
    let why = "prometheus is not on PATH; on Debian its package is unpacked for the test, elsewhere \
               install Prometheus 2.40 or newer";
    std::fs::create_dir_all(&folder).expect("the cache folder can be made");
    run(Command::new("apt-get").args(["download", "prometheus"]).current_dir(&folder), why);
    let package = std::fs::read_dir(&folder)
        .expect("the cache folder can be read")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .expect("apt-get download leaves a package");
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder), why);
    program
}
