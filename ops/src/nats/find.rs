//! Which nats-server a development cluster runs.
//!
//! In this order: the one that was named, the one on PATH if it is new enough, the one in the
//! user's cache, and at last one that is fetched into the cache, unless that was forbidden.

use std::path::{Path, PathBuf};

use super::{OLDEST, install, version_of};
use crate::error::{Failure, Result};

/// What to look at and what is allowed.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// `--nats-server` or `TOMBOLO_NATS_SERVER`: used, or an error; nothing else is tried then.
    pub named: Option<PathBuf>,
    /// Never download.
    pub offline: bool,
    /// Where fetched servers are kept; default [`cache_dir`].
    pub cache: Option<PathBuf>,
}

/// The user's cache: `$XDG_CACHE_HOME/tombolo`, else `~/.cache/tombolo`.
pub fn cache_dir() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("tombolo"))
}

/// Finds a server, or fetches one. `talk` gets a line when something is downloaded.
pub fn find_or_install(search: &Search, talk: &dyn Fn(&str)) -> Result<PathBuf> {
    if let Some(named) = &search.named {
        let version = version_of(named)?;
        if version < OLDEST {
            return Err(Failure::usage(format!(
                "{} is nats-server {version}; {OLDEST} or newer is needed. {HOW_TO_GET_ONE}",
                named.display()
            )));
        }
        return Ok(named.clone());
    }
    let mut passed_over = String::new();
    if let Some(found) = on_path(&std::env::var_os("PATH").unwrap_or_default()) {
        match version_of(&found) {
            Ok(version) if version >= OLDEST => return Ok(found),
            Ok(version) => {
                passed_over = format!("{} is too old ({version}); ", found.display());
            }
            Err(error) => passed_over = format!("{}; ", error.message),
        }
    }
    let Some(cache) = search.cache.clone().or_else(cache_dir) else {
        return Err(Failure::unavailable(format!(
            "no nats-server: {passed_over}and neither HOME nor XDG_CACHE_HOME says where to keep \
             one. {HOW_TO_GET_ONE}"
        )));
    };
    let cached = install::place(&cache);
    if cached.exists() && version_of(&cached).is_ok_and(|version| version >= OLDEST) {
        return Ok(cached);
    }
    if search.offline {
        return Err(Failure::unavailable(format!(
            "no nats-server: {passed_over}none on PATH, none at {}, and --offline forbids fetching \
             one. {HOW_TO_GET_ONE}",
            cached.display()
        )));
    }
    install::install(&cache, talk).map_err(|failure| {
        Failure::unavailable(format!(
            "no nats-server: {passed_over}none on PATH, none at {}, and fetching one failed: {}. \
             {HOW_TO_GET_ONE}",
            cached.display(),
            failure.message
        ))
    })
}

const HOW_TO_GET_ONE: &str = "Get one from https://github.com/nats-io/nats-server/releases (2.12.7 \
    or newer) and put it on PATH, or name it with --nats-server or TOMBOLO_NATS_SERVER";

fn on_path(path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("nats-server"))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that says it is nats-server `version`.
    fn pretend(dir: &Path, version: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join("nats-server");
        let script = format!("#!/bin/sh\necho 'nats-server: v{version}'\n");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_named_server_is_used_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let new = pretend(&dir.path().join("new"), "2.15.1");
        let old = pretend(&dir.path().join("old"), "2.9.10");
        let named = |path: PathBuf| Search { named: Some(path), ..Search::default() };
        assert_eq!(find_or_install(&named(new.clone()), &|_| ()).unwrap(), new);
        let refused = find_or_install(&named(old), &|_| ()).expect_err("too old");
        assert!(refused.message.contains("2.9.10") && refused.message.contains("2.12.7"));
        assert!(find_or_install(&named("/no/such".into()), &|_| ()).is_err());
    }

    #[test]
    fn offline_never_fetches_and_says_how_to_get_one() {
        let dir = tempfile::tempdir().unwrap();
        let search =
            Search { offline: true, cache: Some(dir.path().to_owned()), ..Search::default() };
        let found = find_or_install(&search, &|line| panic!("it must stay quiet: {line}"));
        // A machine may have a new server on its PATH; else the refusal explains itself.
        if let Err(refused) = found {
            assert!(refused.message.contains("--offline"), "{}", refused.message);
            assert!(refused.message.contains("TOMBOLO_NATS_SERVER"), "{}", refused.message);
        }
    }

    #[test]
    fn programs_are_found_on_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let program = pretend(&dir.path().join("bin"), "2.15.1");
        std::fs::create_dir_all(dir.path().join("empty")).unwrap();
        let path = std::env::join_paths([dir.path().join("empty"), dir.path().join("bin")]);
        assert_eq!(on_path(&path.unwrap()), Some(program));
        assert_eq!(on_path(std::ffi::OsStr::new("")), None);
    }
}
