//! The parts of a stack, each a service with its servers.

use crate::endpoints::Endpoints;
use crate::error::StackError;
use crate::kafka::Kafka;
use crate::options::{L1_NODES, L2_NODES, Service, StackOptions};
use crate::postgres::Postgres;
use crate::process::Process;
use crate::programs::Programs;
use crate::redis::{Cluster, Node};
use crate::site::Site;
use crate::spawn::Spawner;
use crate::varnish::Varnish;

/// One part, built: its port, its folder and how to start it are fixed.
pub(crate) enum Part {
    Kafka(Kafka),
    L1(Cluster),
    Postgres(Postgres),
    Varnish(Varnish),
    L2(Node),
    L2Cluster(Cluster),
}

impl Part {
    /// Builds what was asked for, the slowest to start first.
    pub(crate) fn build_all(
        site: &mut Site<'_>,
        programs: &Programs,
        options: &StackOptions,
        gateway_port: u16,
    ) -> Result<Vec<Self>, StackError> {
        let services = options.services;
        let mut parts = Vec::new();
        if services.kafka {
            parts.push(Self::Kafka(Kafka::build(site, programs, options)?));
        }
        if services.l1 {
            parts.push(Self::L1(Cluster::build_l1(site, programs)?));
        }
        if services.postgres {
            parts.push(Self::Postgres(Postgres::build(site, programs, options)?));
        }
        if services.varnish {
            parts.push(Self::Varnish(Varnish::build(site, programs, gateway_port)?));
        }
        if services.l2 && options.redis_l2_cluster {
            parts.push(Self::L2Cluster(Cluster::build_l2(site, programs)?));
        } else if services.l2 {
            parts.push(Self::L2(Node::build_l2(site, programs, options.redis_l2_persist)?));
        }
        Ok(parts)
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::L1(_) => "redis cluster of 6 (L1)",
            Self::Postgres(postgres) => postgres.label(),
            Self::Varnish(_) => "varnish with xkey (the edge)",
            Self::L2(_) => "redis (L2)",
            Self::L2Cluster(_) => "redis cluster of 3 (L2)",
        }
    }

    pub(crate) fn add_to(&self, endpoints: &mut Endpoints) {
        match self {
            Self::Kafka(kafka) => {
                endpoints.kafka = kafka.address();
                endpoints.kafka_secured = kafka.secured_address();
                endpoints.kafka_behind_proxy = kafka.address_behind_proxy();
            }
            Self::L1(cluster) => endpoints.l1 = cluster.urls(),
            Self::Postgres(postgres) => {
                endpoints.database_url = postgres.url();
                endpoints.standby_url = postgres.standby().map(Postgres::url).unwrap_or_default();
            }
            Self::Varnish(varnish) => endpoints.edge = varnish.url(),
            Self::L2(node) => endpoints.l2 = node.url(),
            Self::L2Cluster(cluster) => endpoints.l2_nodes = cluster.urls(),
        }
    }

    /// Prepares the part's folder, starts its servers and waits until they serve.
    pub(crate) fn create(&self, spawner: &Spawner) -> Result<Vec<(Service, Process)>, StackError> {
        let one = |service, process| Ok(vec![(service, process)]);
        match self {
            Self::Kafka(kafka) => one(Service::Kafka, kafka.create(spawner)?),
            Self::L1(cluster) => {
                let processes = cluster.create(spawner)?;
                Ok((0..L1_NODES).map(Service::L1).zip(processes).collect())
            }
            Self::Postgres(postgres) => postgres.create(spawner),
            Self::Varnish(varnish) => one(Service::Varnish, varnish.start(spawner)?),
            Self::L2(node) => one(Service::L2, node.start(spawner)?),
            Self::L2Cluster(cluster) => {
                let processes = cluster.create(spawner)?;
                Ok((0..L2_NODES).map(Service::L2Node).zip(processes).collect())
            }
        }
    }

    pub(crate) fn has(&self, service: Service) -> bool {
        match (self, service) {
            (Self::L1(cluster), Service::L1(node)) | (Self::L2Cluster(cluster), Service::L2Node(node)) => {
                cluster.node(node).is_some()
            }
            (Self::Postgres(postgres), Service::Standby) => postgres.standby().is_some(),
            (Self::Kafka(_), Service::Kafka)
            | (Self::Postgres(_), Service::Postgres)
            | (Self::Varnish(_), Service::Varnish)
            | (Self::L2(_), Service::L2) => true,
            _ => false,
        }
    }

    /// Whether the server that runs as `pid` serves.
    pub(crate) fn serves(&self, service: Service, pid: u32) -> bool {
        match (self, service) {
            (Self::L1(cluster), Service::L1(node)) | (Self::L2Cluster(cluster), Service::L2Node(node)) => {
                cluster.node(node).is_some_and(|node| node.serves(pid))
            }
            (Self::Kafka(kafka), Service::Kafka) => kafka.serves(),
            (Self::Postgres(postgres), Service::Postgres) => postgres.serves(pid),
            (Self::Postgres(postgres), Service::Standby) => postgres.standby().is_some_and(|it| it.serves(pid)),
            (Self::Varnish(varnish), Service::Varnish) => varnish.serves(),
            (Self::L2(node), Service::L2) => node.serves(pid),
            _ => false,
        }
    }

    /// Starts one server again on the folder that it left. `None`: it is not of this part.
    pub(crate) fn restart(&self, service: Service, spawner: &Spawner) -> Option<Result<Process, StackError>> {
        match (self, service) {
            (Self::Kafka(kafka), Service::Kafka) => Some(kafka.start(spawner)),
            (Self::L1(cluster), Service::L1(node)) | (Self::L2Cluster(cluster), Service::L2Node(node)) => {
                cluster.node(node).map(|node| node.start(spawner))
            }
            (Self::Postgres(postgres), Service::Postgres) => Some(postgres.start(spawner)),
            (Self::Postgres(postgres), Service::Standby) => postgres.standby().map(|it| it.start(spawner)),
            (Self::Varnish(varnish), Service::Varnish) => Some(varnish.start(spawner)),
            (Self::L2(node), Service::L2) => Some(node.start(spawner)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::folder::Folder;

    /// What another process may do between the choice of a port and its use.
    #[test]
    fn a_lost_port_is_told_from_other_failures() {
        let options = StackOptions::default();
        let programs = Programs::find(&options).expect("the programs");
        let folder = Folder::create(None, programs.has_account()).expect("a folder");
        let mut site = Site::open(&folder).expect("a site");
        let parts = Part::build_all(&mut site, &programs, &options, 1).expect("the parts");
        drop(site);
        let spawner = Spawner::start().expect("a spawner");
        for part in &parts {
            let mut endpoints = Endpoints::default();
            part.add_to(&mut endpoints);
            let Endpoints { database_url, kafka, l2, l1, edge, .. } = endpoints;
            let urls = [database_url, kafka, l2, edge].into_iter().chain(l1);
            let address = |url: String| {
                let start = url.find("127.0.0.1")?;
                url[start..].split('/').next().map(str::to_owned)
            };
            let address = urls.filter_map(address).next_back().expect("an address");
            let _other = TcpListener::bind(&address).expect("the port that was chosen");
            let Err(error) = part.create(&spawner) else {
                panic!("{} took {address}", part.label());
            };
            assert!(error.is_port_lost(), "{error}");
        }
    }
}
