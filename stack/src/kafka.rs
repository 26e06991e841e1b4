//! Kafka: one broker that is its own controller.

mod archive;
mod jars;
mod secured;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::StackError;
use crate::kafka::jars::Jars;
use crate::kafka::secured::SecuredListener;
use crate::options::{Service, StackOptions};
use crate::probe::{self, KafkaCluster};
use crate::process::Process;
use crate::programs::Programs;
use crate::site::Site;
use crate::spawn::{Launch, Spawner};

const FORMAT_LIMIT: Duration = Duration::from_secs(60);
/// After a kill a broker first waits for its old session to end.
const START_LIMIT: Duration = Duration::from_secs(60);

const JVM: [&str; 4] =
    ["-Xms64m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"];
const QUICK: [&str; 2] = ["-Xmx384m", "-XX:TieredStopAtLevel=1"];
const THROUGHPUT: [&str; 1] = ["-Xmx1g"];

/// One node instead of three, small files, and no waiting for members or sessions that a test would notice.
const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL,PROXIED:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.backoff.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
";

/// One broker and its folder.
#[derive(Clone)]
pub(crate) struct Kafka {
    java: PathBuf,
    jars: Jars,
    jvm: Vec<String>,
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    controller_port: u16,
    secured: Option<SecuredListener>,
    /// Where the broker listens for clients of a proxy, and the proxy's port.
    proxied: Option<(u16, u16)>,
    cluster_id: String,
}

impl Kafka {
    pub(crate) fn build(site: &mut Site<'_>, programs: &Programs, options: &StackOptions) -> Result<Self, StackError> {
        let pace = if options.kafka_throughput { &THROUGHPUT[..] } else { &QUICK[..] };
        Ok(Self {
            java: programs.java.clone(),
            jars: Jars::find(&options.kafka_jars)?,
            jvm: JVM.iter().chain(pace).map(|&flag| flag.to_owned()).collect(),
            folder: site.folder.part("kafka", None)?,
            log: site.log("kafka"),
            port: site.ports.take()?,
            controller_port: site.ports.take()?,
            secured: SecuredListener::build(site, options)?,
            proxied: options
                .kafka_proxy_port
                .map(|proxy| Ok::<_, StackError>((site.ports.take()?, proxy)))
                .transpose()?,
            cluster_id: new_cluster_id(),
        })
    }

    /// Empty where the broker has no secured listener.
    pub(crate) fn secured_address(&self) -> String {
        self.secured.as_ref().map(SecuredListener::address).unwrap_or_default()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn address_behind_proxy(&self) -> String {
        self.proxied.map(|(port, _)| format!("127.0.0.1:{port}")).unwrap_or_default()
    }

    /// A new broker with no topic. With the archive of classes it starts in half the time; the first stack on this
    /// machine makes it.
    pub(crate) fn create(&self, spawner: &Spawner) -> Result<Process, StackError> {
        self.format(spawner)?;
        self.start(spawner)
    }

    /// The broker on its folder as it is.
    pub(crate) fn start(&self, spawner: &Spawner) -> Result<Process, StackError> {
        let launch = self.launch(&Service::Kafka.to_string(), self.archived());
        self.start_by(spawner, &launch.arguments(["kafka.Kafka"]).arguments([self.settings_file()]))
    }

    fn start_by(&self, spawner: &Spawner, launch: &Launch) -> Result<Process, StackError> {
        let mut process = spawner.spawn(launch)?;
        process.wait_until(START_LIMIT, || self.serves())?;
        Ok(process)
    }

    pub(crate) fn serves(&self) -> bool {
        let expected = KafkaCluster { id: self.cluster_id.clone(), brokers: 1 };
        probe::kafka(self.port).is_ok_and(|found| found == expected)
    }

    fn format(&self, spawner: &Spawner) -> Result<(), StackError> {
        let (port, controller_port) = (self.port, self.controller_port);
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}");
        if let Some(secured) = &self.secured {
            listeners = format!("{listeners},SECURED://{}", secured.address());
        }
        let mut advertised = listeners.clone();
        if let Some((port, proxy_port)) = self.proxied {
            listeners += &format!(",PROXIED://127.0.0.1:{port}");
            advertised += &format!(",PROXIED://127.0.0.1:{proxy_port}");
        }
        let data = self.folder.join("data");
        let settings = format!(
            "{SETTINGS}listeners={listeners}\nadvertised.listeners={advertised}\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\nlog.dirs={}\n{}",
            data.display(),
            self.secured.as_ref().map(SecuredListener::settings).unwrap_or_default()
        );
        fs::write(self.settings_file(), settings).map_err(StackError::io("write the broker's settings"))?;
        let run = |archive: Vec<String>| {
            let launch = self.launch("kafka's format", archive);
            let launch = launch.arguments(["kafka.tools.StorageTool", "format", "--standalone", "-t"]);
            let launch = launch.arguments([&self.cluster_id, "-c"]).arguments([self.settings_file()]);
            let scram = self.secured.iter().flat_map(SecuredListener::scram_arguments);
            spawner.run(&launch.arguments(scram), FORMAT_LIMIT)
        };
        // An archive that does not fit is passed over by the JVM, but a damaged one breaks it.
        run(self.archived()).or_else(|error| match archive::discard(&self.java, &self.jars) {
            true => run(Vec::new()),
            false => Err(error),
        })
    }

    fn archived(&self) -> Vec<String> {
        let found = archive::find(&self.java, &self.jars);
        found.map(|path| format!("-XX:SharedArchiveFile={}", path.display())).into_iter().collect()
    }

    fn launch(&self, name: &str, flags: Vec<String>) -> Launch {
        let launch = Launch::new(name, &self.java, &self.folder, &self.log);
        // Libraries that a killed JVM cannot remove go with the private folder.
        let temporary = format!("-Djava.io.tmpdir={}", self.folder.display());
        let launch = launch.arguments(&self.jvm).arguments(flags).arguments([temporary]);
        launch.arguments(["-cp".to_owned(), self.jars.class_path()])
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }
}

/// A random UUID in 22 characters of base64, the last of which holds two bits only.
fn new_cluster_id() -> String {
    let head = std::iter::repeat_with(fastrand::alphanumeric).take(21);
    head.chain(fastrand::choice(['A', 'Q', 'g', 'w'])).collect()
}
