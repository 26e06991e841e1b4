//! Broken rules are noticed: each mistake of `mutants/lockstep.toml`, loaded in the library's place on a server of its own,
//! makes the server differ from the twin.

use std::sync::Arc;

use lockstep_schemas::policy::{DEFAULT, Policy};
use lockstep_stack::{Services, Stack};
use lockstep_tiers::Layout;
use lockstep_tiers::call::Calls;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;

use crate::bench::{options, plain};
use crate::twin::Pair;

const LIBRARY: &str = include_str!("../../src/lockstep.lua");
const TABLE: &str = include_str!("../../mutants/lockstep.toml");
/// Sequences that a mistake may go unnoticed for.
const SEQUENCES_MAX: u64 = 500;

#[derive(Deserialize)]
struct Table {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    name: String,
    rule: String,
    replace: String,
    by: String,
    /// It changes nothing that anybody could see, and says why.
    #[serde(default)]
    equivalent: bool,
}

impl Mutant {
    fn library(&self) -> String {
        assert_eq!(LIBRARY.matches(&self.replace).count(), 1, "`{}` stands once in the library", self.replace);
        LIBRARY.replace(&self.replace, &self.by)
    }
}

async fn load(server: &mut MultiplexedConnection, text: &str) {
    let loaded: Result<String, _> =
        redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text).query_async(server).await;
    loaded.unwrap_or_else(|error| panic!("{error}"));
}

/// The sequence that notices, if one does.
async fn noticed(pair: &Pair) -> Option<u64> {
    for seed in 0..SEQUENCES_MAX {
        if pair.play(seed).await.is_err() {
            return Some(seed);
        }
    }
    None
}

#[tokio::test]
async fn each_broken_rule_is_noticed() {
    lockstep_process::install_crypto_provider();
    let stack = Stack::start(options(Services { l2: true, ..Services::NONE }), &mut |_| {}).expect("a server");
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let layout = Arc::new(Layout::new(&policy, "", 1));
    let view = policy.views["product_all"].clone();
    let place = layout.place(&view.group, "7");
    let mut server = plain(&stack.endpoints().l2).await;
    let pair = Pair { server: server.clone(), calls: Calls::new(layout, false), place, view };
    load(&mut server, LIBRARY).await;
    assert_eq!(pair.play(0).await, Ok(()), "the library itself differs");
    let table: Table = toml::from_str(TABLE).expect("the table");
    let mut unnoticed = Vec::new();
    for mutant in &table.mutant {
        load(&mut server, &mutant.library()).await;
        match noticed(&pair).await {
            None if !mutant.equivalent => unnoticed.push(format!("{} ({})", mutant.name, mutant.rule)),
            Some(seed) if mutant.equivalent => panic!("{} is noticed by sequence {seed}", mutant.name),
            Some(seed) => eprintln!("{}: sequence {seed}", mutant.name),
            None => {}
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices: {unnoticed:#?}");
}
