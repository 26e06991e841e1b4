//! Starting, changing and stopping the servers of one stack.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::certificates::Certificates;
use crate::endpoints::Endpoints;
use crate::error::StackError;
use crate::folder::Folder;
use crate::options::{L1_NODES, L2_NODES, Service, StackOptions};
use crate::part::Part;
use crate::process::{Process, STOP_LIMIT};
use crate::programs::Programs;
use crate::site::Site;
use crate::spawn::Spawner;

/// How often a start is tried with other ports, when another process takes one of those chosen.
const ATTEMPTS_MAX: usize = 3;

/// A running stack. Dropping it stops it.
pub struct Stack {
    endpoints: Endpoints,
    parts: Vec<Part>,
    // Dropped in this order: servers first, then the thread that their lives hang on, then what they wrote.
    servers: BTreeMap<Service, Process>,
    spawner: Spawner,
    folder: Folder,
}

impl Stack {
    /// Starts the services side by side and waits until each of them serves. `progress` is told of each, in a line
    /// like `postgresql 15 is up (0.9 s)`.
    pub fn start(options: StackOptions, progress: &mut dyn FnMut(&str)) -> Result<Self, StackError> {
        let programs = Programs::find(&options)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let folder = Folder::create(options.dir.as_deref(), programs.has_account())?;
            match Self::attempt(folder, &programs, &options, progress) {
                Err(error) if error.is_port_lost() && attempts < ATTEMPTS_MAX => {
                    progress("a port was taken by another process; trying others");
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt(
        folder: Folder,
        programs: &Programs,
        options: &StackOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, StackError> {
        let spawner = Spawner::start()?;
        let mut site = Site::open(&folder)?;
        if let Some(secured) = &options.secured {
            site.certificates = Some(Certificates::make(&site, &programs.openssl, &secured.names, &spawner)?);
        }
        let gateway_port = match options.gateway_port {
            Some(port) => port,
            None => site.ports.take()?,
        };
        let parts = Part::build_all(&mut site, programs, options, gateway_port)?;
        let mut endpoints = Endpoints {
            dir: folder.path().to_owned(),
            temporary: folder.is_temporary(),
            gateway: format!("http://127.0.0.1:{gateway_port}"),
            ..Endpoints::default()
        };
        parts.iter().for_each(|part| part.add_to(&mut endpoints));
        endpoints.ca_file = site.certificates.as_ref().map(|made| made.authority.clone()).unwrap_or_default();
        make_archive(&parts, &site, &spawner, progress);
        drop(site);
        let servers = BTreeMap::new();
        let mut stack = Self { endpoints, parts, servers, spawner, folder };
        if let Err(error) = stack.create_all(progress) {
            if error.is_port_lost() {
                stack.servers.clear();
                stack.folder.clear()?;
            }
            return Err(error);
        }
        Ok(stack)
    }

    fn create_all(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), StackError> {
        let (spawner, parts) = (&self.spawner, &self.parts);
        let (outcomes, inbox) = mpsc::channel();
        let mut first_error = None;
        thread::scope(|scope| {
            for part in parts {
                let outcomes = outcomes.clone();
                scope.spawn(move || {
                    let began = Instant::now();
                    let outcome = part.create(spawner);
                    // Unheard where `progress` has panicked; the servers then end here.
                    let _ = outcomes.send((part.label(), outcome, began.elapsed()));
                });
            }
            drop(outcomes);
            for (label, outcome, took) in inbox {
                match outcome {
                    Ok(servers) => {
                        self.servers.extend(servers);
                        progress(&format!("{label} is up ({:.1} s)", took.as_secs_f64()));
                    }
                    Err(error) => drop(first_error.get_or_insert(error)),
                }
            }
        });
        match first_error {
            Some(error) => Err(error),
            None => {
                self.note_pids();
                Ok(())
            }
        }
    }

    /// Where the servers listen, and their processes as of now.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Asks a server whether it serves, in the way that a start does. A killed one does not.
    pub fn serves(&self, service: Service) -> bool {
        let Some(process) = self.servers.get(&service) else {
            return false;
        };
        let mut parts = self.parts.iter().filter(|part| part.has(service));
        parts.any(|part| part.serves(service, process.pid()))
    }

    /// Kills a server and its children (SIGKILL) and waits until they are gone. One that is down already stays so.
    pub fn kill(&mut self, service: Service) -> Result<(), StackError> {
        if !self.has(service) {
            return Err(StackError::NotPart { service });
        }
        if let Some(process) = self.servers.remove(&service) {
            process.kill();
        }
        self.note_pids();
        Ok(())
    }

    /// Starts a server again on the same port and folder and waits until it serves; one that still runs is killed
    /// first. A cluster's node is waited for until the whole cluster agrees, as soon as all its nodes run.
    pub fn restart(&mut self, service: Service) -> Result<(), StackError> {
        self.kill(service)?;
        let restarted = self.parts.iter().find_map(|part| part.restart(service, &self.spawner));
        let process = restarted.unwrap_or(Err(StackError::NotPart { service }))?;
        self.servers.insert(service, process);
        self.note_pids();
        for part in &self.parts {
            match (part, service) {
                (Part::L1(cluster), Service::L1(_)) if self.runs_all((0..L1_NODES).map(Service::L1)) => {
                    cluster.wait_joined()?;
                }
                (Part::L2Cluster(cluster), Service::L2Node(_)) if self.runs_all((0..L2_NODES).map(Service::L2Node)) => {
                    cluster.wait_joined()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes PostgreSQL's standby a server of its own and waits until it takes writes. The primary must be gone.
    pub fn promote_standby(&mut self) -> Result<(), StackError> {
        let standby = self.parts.iter().find_map(|part| match part {
            Part::Postgres(postgres) => postgres.standby(),
            _ => None,
        });
        let service = Service::Standby;
        standby.ok_or(StackError::NotPart { service })?.promote(&self.spawner)
    }

    /// Stops all servers at once and removes the folder where it is temporary. Takes five seconds at most, or ten
    /// where a server has to be killed. Dropping the stack does the same.
    pub fn stop(self) {}

    fn has(&self, service: Service) -> bool {
        self.parts.iter().any(|part| part.has(service))
    }

    fn runs_all(&self, mut services: impl Iterator<Item = Service>) -> bool {
        services.all(|service| self.servers.contains_key(&service))
    }

    fn note_pids(&mut self) {
        let pids = self.servers.iter().map(|(service, process)| (service.to_string(), process.pid()));
        self.endpoints.pids = pids.collect();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.servers.values_mut().for_each(Process::begin_stop);
        let deadline = Instant::now() + STOP_LIMIT;
        self.servers.values_mut().for_each(|process| process.finish_stop(deadline));
    }
}

/// Makes what lets Kafka start quickly, once on a machine. A stack goes without where that fails.
fn make_archive(parts: &[Part], site: &Site<'_>, spawner: &Spawner, progress: &mut dyn FnMut(&str)) {
    for part in parts {
        if let Part::Kafka(kafka) = part
            && kafka.lacks_archive()
        {
            progress("making an archive of kafka's classes, this once");
            if let Err(error) = kafka.make_archive(site, spawner) {
                progress(&format!("kafka goes without its archive of classes: {}", error.chain()));
            }
        }
    }
}
