//! Promotions: what an operator knows and the log can't.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::Config;
use lockstep_source::Database;
use lockstep_source::boosts::{Boost, current};
use tokio::sync::watch;

/// How often the table is read.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The boosts that hold now, kept up to date.
pub(super) struct Boosts(watch::Receiver<Arc<Vec<Boost>>>);

impl Boosts {
    /// Starts the task that reads the table, which ends at shutdown. Without a database there are no boosts.
    pub fn follow(config: &Config, shutdown: Shutdown) -> Self {
        let (tell, boosts) = watch::channel(Arc::default());
        match config.database() {
            Ok(database) => {
                let database = database.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = look(database, tell) => {}
                        () = shutdown.cancelled() => {}
                    }
                });
            }
            Err(_) => tracing::info!("no database is configured: the table lockstep.boosts is not read"),
        }
        Boosts(boosts)
    }

    /// Whether they have changed since this was asked last.
    pub fn changed(&mut self) -> bool {
        let changed = self.0.has_changed().unwrap_or(false);
        self.0.mark_unchanged();
        changed
    }

    /// Those that hold now.
    pub fn now(&self) -> Arc<Vec<Boost>> {
        Arc::clone(&self.0.borrow())
    }
}

async fn look(config: lockstep_process::config::DatabaseConfig, tell: watch::Sender<Arc<Vec<Boost>>>) {
    let (mut database, mut failing) = (None, false);
    loop {
        let asked = async {
            let database = match &database {
                Some(database) => database,
                None => database
                    .insert(Database::connect(&config, "lockstep-forecast").await.map_err(|error| error.to_string())?),
            };
            current(database).await.map_err(|error| error.to_string())
        };
        match asked.await {
            Ok(boosts) => {
                failing = false;
                tell.send_if_modified(|known| {
                    let changed = **known != boosts;
                    if changed {
                        *known = Arc::new(boosts);
                    }
                    changed
                });
            }
            // Those known before go on to hold.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the table lockstep.boosts can't be read; trying again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
