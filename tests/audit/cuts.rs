//! The stream cut where a part hands over to the next: the auditor, who stands beside all of them, says who stands still.

use std::time::Duration;

use lockstep_stack::Service;

use crate::harness::cut::{Cut, Mode};
use crate::role::Role;
use crate::shop::{Shop, connect};

const STALLED_LIMIT: Duration = Duration::from_secs(30);
const ROLES: &str = "ingest,engine,gateway";
/// More replicas than there are: the primary refuses every write.
const NEVER: u32 = 9;

/// From ingest to Kafka, from the engine to L2, to L1 and to the edge.
pub fn between_each_pair_of_parts(shop: &mut Shop, role: &Role) {
    let stalls = |shop: &Shop, who: &str| role.complains_within(STALLED_LIMIT, who, || change(shop));
    shop.stack.kill(Service::Kafka).expect("a broker that is there");
    stalls(shop, "ingest");
    shop.stack.restart(Service::Kafka).expect("a broker that comes back");
    role.is_content_again();

    for (tier, nodes) in [("l2", vec![shop.endpoints().l2.clone()]), ("l1", shop.endpoints().l1.clone())] {
        nodes.iter().for_each(|node| need_replicas(node, NEVER));
        stalls(shop, &format!("{tier} in"));
        nodes.iter().for_each(|node| need_replicas(node, 0));
        role.is_content_again();
    }

    let way = Cut::open(shop.runtime.handle());
    way.lead_to(shop.endpoints().edge.trim_start_matches("http://"));
    let edge = format!("http://127.0.0.1:{}", way.port);
    shop.run_as(&shop.lockstep.clone().set("LOCKSTEP_EDGE_URL", &edge), ROLES);
    role.is_content_again();
    way.set(Mode::Refuse);
    stalls(shop, "l3 in");
    way.set(Mode::Pass);
    role.is_content_again();
}

fn change(shop: &Shop) {
    shop.sql("UPDATE prices SET price_pence = price_pence + 1 WHERE product_id IN ('P1', 'P2', 'P3')");
}

fn need_replicas(node: &str, replicas: u32) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("min-replicas-to-write").arg(replicas);
    set.query::<()>(&mut connect(node)).expect("a setting");
}
