//! The ways of engine and gateway to their servers, each of which can be cut or slowed down.

use lockstep_stack::{Endpoints, StackOptions};
use tokio::runtime::{Builder, Runtime};

use crate::front::Front;
use crate::harness::Lockstep;
use crate::harness::cut::{Cut, Mode};

pub struct Ways {
    pub database: Cut,
    pub kafka: Cut,
    pub l2: Cut,
    /// One for each node of the cluster.
    pub l1: Vec<Cut>,
    pub edge: Front,
    _runtime: Runtime,
}

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Database,
    Kafka,
    L2,
    L1,
    Edge,
}

impl Ways {
    /// Takes the ports; leads nowhere yet.
    pub fn open(l1_nodes: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let cut = || Cut::open(runtime.handle());
        let l1 = (0..l1_nodes).map(|_| cut()).collect();
        Ways { database: cut(), kafka: cut(), l2: cut(), l1, edge: Front::open(cut()), _runtime: runtime }
    }

    /// What a stack must know of them.
    pub fn options(&self, options: StackOptions) -> StackOptions {
        StackOptions { kafka_proxy_port: Some(self.kafka.port), ..options }
    }

    /// Leads to the servers. The cluster's nodes tell their clients to come by the ways: who follows a redirection does too.
    pub fn lead_to(&self, endpoints: &Endpoints) {
        self.database.lead_to(host_of(&endpoints.database_url));
        self.kafka.lead_to(&endpoints.kafka_behind_proxy);
        self.l2.lead_to(host_of(&endpoints.l2));
        self.edge.lead_to(host_of(&endpoints.edge));
        for (way, url) in self.l1.iter().zip(&endpoints.l1) {
            way.lead_to(host_of(url));
        }
    }

    /// `lockstep`, sent by the ways.
    pub fn send_by(&self, lockstep: &Lockstep, endpoints: &Endpoints) -> Lockstep {
        let by = |cut: &Cut| format!("127.0.0.1:{}", cut.port);
        let database = endpoints.database_url.replace(host_of(&endpoints.database_url), &by(&self.database));
        let l1: Vec<String> = self.l1.iter().map(|way| format!("redis://{}/", by(way))).collect();
        lockstep
            .clone()
            .set("LOCKSTEP_DATABASE_URL", &database)
            .set("LOCKSTEP_KAFKA_BROKERS", &by(&self.kafka))
            .set("LOCKSTEP_L2_URL", &format!("redis://{}/", by(&self.l2)))
            .set("LOCKSTEP_L1_URLS", &l1.join(","))
            .set("LOCKSTEP_EDGE_URL", &format!("http://{}", self.edge.address()))
    }

    pub fn set(&self, way: Way, mode: Mode) {
        self.each(way).for_each(|cut| cut.set(mode));
    }

    /// Connections that were broken or that the server did not hear of, bytes that had to wait, and pieces that were slowed
    /// down, so far.
    pub fn met(&self, way: Way) -> usize {
        self.each(way).map(|cut| cut.broken() + cut.unheard() + cut.bytes_kept() + cut.slowed()).sum()
    }

    fn each(&self, way: Way) -> impl Iterator<Item = &Cut> {
        match way {
            Way::Database => std::slice::from_ref(&self.database),
            Way::Kafka => std::slice::from_ref(&self.kafka),
            Way::L2 => std::slice::from_ref(&self.l2),
            Way::L1 => &self.l1,
            Way::Edge => std::slice::from_ref(self.edge.way()),
        }
        .iter()
    }
}

/// `host:port` of a URL.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split_once('/').map_or(rest, |(host, _)| host);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}
