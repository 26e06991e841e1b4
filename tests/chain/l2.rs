//! L2 as this run has it: one node, or, with `LOCKSTEP_TEST_L2=cluster`, a cluster with tagged names.

use lockstep_stack::{Endpoints, Service, StackOptions};

use crate::compare::connect;

const KIND: &str = "LOCKSTEP_TEST_L2";

/// All servers, with L2 as it is asked for.
pub fn options() -> StackOptions {
    let redis_l2_cluster = match std::env::var(KIND).as_deref() {
        Err(_) | Ok("node") => false,
        Ok("cluster") => true,
        Ok(other) => panic!("{KIND} is node or cluster, not {other}"),
    };
    StackOptions { redis_l2_cluster, ..StackOptions::default() }
}

/// All of its nodes.
pub fn nodes(endpoints: &Endpoints) -> Vec<String> {
    if endpoints.l2_nodes.is_empty() { vec![endpoints.l2.clone()] } else { endpoints.l2_nodes.clone() }
}

/// The node that has this name: the server, and its URL.
pub async fn home(endpoints: &Endpoints, name: &str) -> (Service, String) {
    for (node, url) in nodes(endpoints).into_iter().enumerate() {
        let asked: Result<bool, _> = redis::cmd("EXISTS").arg(name).query_async(&mut connect(&url).await).await;
        if asked.is_ok() {
            return (if endpoints.l2_nodes.is_empty() { Service::L2 } else { Service::L2Node(node) }, url);
        }
    }
    panic!("no node of L2 has {name}")
}
