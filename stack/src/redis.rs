//! Redis: one node for L2, or a cluster of three; a cluster of six for L1.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Failed, StackError};
use crate::options::{L1_NODES, L2_NODES, Service};
use crate::probe;
use crate::process::Process;
use crate::programs::Programs;
use crate::site::Site;
use crate::spawn::{Launch, Spawner};

const START_LIMIT: Duration = Duration::from_secs(30);
const CLUSTER_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Entries have a TTL and may be evicted; watermarks and stamps have none and stay.
const POLICY: [&str; 6] = ["--maxmemory-policy", "volatile-lru", "--bind", "127.0.0.1", "--save", ""];
const ALONE: [&str; 2] = ["--maxmemory", "512mb"];
const CLUSTERED: [&str; 10] = [
    "--maxmemory",
    "256mb",
    "--cluster-enabled",
    "yes",
    "--cluster-config-file",
    "nodes.conf",
    "--cluster-node-timeout",
    "2000",
    "--repl-diskless-sync-delay",
    "0",
];

/// One Redis server and its folder.
pub(crate) struct Node {
    port: u16,
    launch: Launch,
}

impl Node {
    /// The node that is L2.
    pub(crate) fn build_l2(site: &mut Site<'_>, programs: &Programs, persist: bool) -> Result<Self, StackError> {
        let port = site.ports.take()?;
        let append = if persist { "yes" } else { "no" };
        Self::build(site, programs, Service::L2, port, &[&ALONE[..], &["--appendonly", append]].concat())
    }

    fn build_clustered(site: &mut Site<'_>, programs: &Programs, service: Service) -> Result<Self, StackError> {
        let port = site.ports.take_with_bus()?;
        let arguments = [&CLUSTERED[..], &["--appendonly", "no"]].concat();
        Self::build(site, programs, service, port, &arguments)
    }

    fn build(
        site: &mut Site<'_>,
        programs: &Programs,
        service: Service,
        port: u16,
        arguments: &[&str],
    ) -> Result<Self, StackError> {
        let name = service.to_string();
        let folder = site.folder.part(&name, None)?;
        let launch = Launch::new(&name, &programs.redis_server, &folder, &site.log(&name));
        let launch = launch.arguments(["--port", &port.to_string()]).arguments(POLICY).arguments(arguments);
        Ok(Self { port, launch })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn start(&self, spawner: &Spawner) -> Result<Process, StackError> {
        let mut process = spawner.spawn(&self.launch)?;
        let pid = process.pid();
        process.wait_until(START_LIMIT, || self.serves(pid))?;
        Ok(process)
    }

    /// Whether this very process answers, its data loaded.
    pub(crate) fn serves(&self, pid: u32) -> bool {
        let info = probe::redis(self.port, "INFO").unwrap_or_default();
        has(&info, &format!("process_id:{pid}")) && has(&info, "loading:0")
    }

    /// Whether this node sees the whole cluster serve, and a replica its primary.
    fn is_joined(&self, nodes: usize) -> bool {
        let cluster = probe::redis(self.port, "CLUSTER INFO").unwrap_or_default();
        let known = format!("cluster_known_nodes:{nodes}");
        if !has(&cluster, "cluster_state:ok") || !has(&cluster, &known) {
            return false;
        }
        let replication = probe::redis(self.port, "INFO replication").unwrap_or_default();
        has(&replication, "role:master") || has(&replication, "master_link_status:up")
    }
}

fn has(info: &str, line: &str) -> bool {
    info.lines().any(|found| found.trim_end() == line)
}

/// A cluster of three primaries, with as many replicas of each.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    replicas: usize,
    redis_cli: PathBuf,
    log: PathBuf,
}

impl Cluster {
    pub(crate) fn build_l1(site: &mut Site<'_>, programs: &Programs) -> Result<Self, StackError> {
        let nodes = (0..L1_NODES).map(|node| Node::build_clustered(site, programs, Service::L1(node)));
        let nodes = nodes.collect::<Result<_, _>>()?;
        Ok(Self { nodes, replicas: 1, redis_cli: programs.redis_cli.clone(), log: site.log("l1") })
    }

    pub(crate) fn build_l2(site: &mut Site<'_>, programs: &Programs) -> Result<Self, StackError> {
        let nodes = (0..L2_NODES).map(|node| Node::build_clustered(site, programs, Service::L2Node(node)));
        let nodes = nodes.collect::<Result<_, _>>()?;
        Ok(Self { nodes, replicas: 0, redis_cli: programs.redis_cli.clone(), log: site.log("l2") })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    pub(crate) fn node(&self, node: usize) -> Option<&Node> {
        self.nodes.get(node)
    }

    /// Starts the nodes and joins them.
    pub(crate) fn create(&self, spawner: &Spawner) -> Result<Vec<Process>, StackError> {
        let processes = self.nodes.iter().map(|node| node.start(spawner));
        let processes: Vec<Process> = processes.collect::<Result<_, _>>()?;
        let folder = &self.nodes[0].launch.folder;
        let join = Launch::new("redis-cli --cluster create", &self.redis_cli, folder, &self.log);
        let join = join.arguments(["--cluster", "create"]);
        let join = join.arguments(self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let replicas = self.replicas.to_string();
        spawner.run(&join.arguments(["--cluster-replicas", &replicas, "--cluster-yes"]), CLUSTER_LIMIT)?;
        self.wait_joined()?;
        Ok(processes)
    }

    /// Waits until all nodes agree: `--cluster create` returns before they do.
    pub(crate) fn wait_joined(&self) -> Result<(), StackError> {
        let deadline = Instant::now() + CLUSTER_LIMIT;
        for node in &self.nodes {
            while !node.is_joined(self.nodes.len()) {
                if Instant::now() > deadline {
                    let what = format!("did not join the cluster within {} s", CLUSTER_LIMIT.as_secs());
                    return Err(Failed::new(&node.launch.name, what, &node.launch.log).into());
                }
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }
}
