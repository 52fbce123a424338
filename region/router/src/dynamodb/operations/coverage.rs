//! The table of every operation and parameter of the API model, and what becomes of it here.
//!
//! It is generated from the model and from [`super::elsewhere`]; the test below fails when the file is
//! another, and writes it when `TOMBOLO_WRITE` is set.

use std::fmt::Write as _;

use super::elsewhere::{Served, parameter, served};
use crate::dynamodb::STREAMS_TARGET;
use crate::dynamodb::model::{Kind, model};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/coverage.md");

fn cell(of: Served) -> (&'static str, &'static str) {
    match of {
        Served::Yes => ("supported", ""),
        Served::Later(why) => ("later", why),
        Served::Never(why) => ("not applicable", why),
    }
}

fn table(wanted: impl Fn(&str) -> bool) -> String {
    let model = model();
    let mut out = String::from("| operation | parameter | here | why |\n|---|---|---|---|\n");
    for (_, name, input) in model.operations().filter(|(target, ..)| wanted(target)) {
        let (here, why) = cell(served(name));
        let _ = writeln!(out, "| **{name}** | | {here} | {why} |");
        let Kind::Structure(members) = &model.shape(input).kind else { continue };
        if served(name) != Served::Yes {
            continue;
        }
        let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        for member in names {
            let (here, why) = cell(parameter(name, member));
            let _ = writeln!(out, "| | {member} | {here} | {why} |");
        }
    }
    out
}

fn page() -> String {
    let count = |of: fn(Served) -> bool| {
        model().operations().filter(|(_, name, _)| of(served(name))).count()
    };
    format!(
        "# The DynamoDB protocol: what is here\n\n\
         Generated from the API model ({}) and from the router's code; a test holds it to both. Of {} \
         operations {} are supported, {} come later, {} have no meaning here. An operation that is not \
         supported is refused with a `ValidationException` that says why. Parameters are listed for \
         supported operations.\n\n\
         ## DynamoDB\n\n{}\n## DynamoDB Streams\n\n{}",
        model().source,
        model().operations().count(),
        count(|of| of == Served::Yes),
        count(|of| matches!(of, Served::Later(_))),
        count(|of| matches!(of, Served::Never(_))),
        table(|target| target != STREAMS_TARGET),
        table(|target| target == STREAMS_TARGET),
    )
}

#[test]
fn the_table_is_current() {
    let page = page();
    if std::env::var_os("TOMBOLO_WRITE").is_some() {
        std::fs::write(FILE, &page).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == page, "{FILE} is stale: run this test with TOMBOLO_WRITE=1");
}
