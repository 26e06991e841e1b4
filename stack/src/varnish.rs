//! Varnish with xkey: the edge in front of a gateway that somebody else starts.

use std::fs;
use std::time::Duration;

use crate::error::StackError;
use crate::options::Service;
use crate::probe;
use crate::process::Process;
use crate::programs::Programs;
use crate::site::Site;
use crate::spawn::{Launch, Spawner};

const CONFIGURATION: &str = include_str!("../varnish.vcl.in");
const HEALTH: &str = "/_edge/health";
/// It compiles its configuration first.
const START_LIMIT: Duration = Duration::from_secs(30);

/// One Varnish server and its folder.
pub(crate) struct Varnish {
    port: u16,
    /// Said by the health page, which tells this edge from any other.
    id: String,
    launch: Launch,
}

impl Varnish {
    pub(crate) fn build(site: &mut Site<'_>, programs: &Programs, gateway_port: u16) -> Result<Self, StackError> {
        let name = Service::Varnish.to_string();
        let account = programs.varnish_account;
        let folder = site.folder.part(&name, account)?;
        let port = site.ports.take()?;
        let id: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
        let text = CONFIGURATION.replace("@GATEWAY_PORT@", &gateway_port.to_string());
        let configuration = folder.join("edge.vcl");
        let written = fs::write(&configuration, text.replace("@ID@", &id));
        written.map_err(StackError::io(format!("write {}", configuration.display())))?;

        let launch = Launch::new(&name, &programs.varnishd, &folder, &site.log(&name));
        let mut launch = launch
            .arguments(["-F", "-T", "none", "-s", "malloc,32m", "-a", &format!("127.0.0.1:{port}")])
            .arguments(["-f".as_ref(), configuration.as_os_str()])
            .arguments(["-n".as_ref(), folder.join("run").as_os_str()]);
        // Not its own jail, which changes users by turns: each change would make the kernel forget that it is to
        // die with its parent.
        launch.account = account;
        // By SIGTERM its worker ends at once; by SIGKILL only when it notices, a second and a half later.
        launch.stop_signal = libc::SIGTERM;
        Ok(Self { port, id, launch })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&self, spawner: &Spawner) -> Result<Process, StackError> {
        let mut process = spawner.spawn(&self.launch)?;
        process.wait_until(START_LIMIT, || self.serves())?;
        Ok(process)
    }

    pub(crate) fn serves(&self) -> bool {
        probe::http(self.port, HEALTH).is_ok_and(|body| body.contains(&self.id))
    }
}
