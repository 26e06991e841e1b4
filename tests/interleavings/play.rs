//! Traffic: writers, held commits, evictions and readers side by side, for a while; then everything compared.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lockstep_process::Shutdown;
use tokio::task::JoinSet;

use crate::chain::Chain;
use crate::l2;
use crate::pen::Pen;
use crate::plain::Slot;
use crate::readers::Reader;
use crate::witness::Witness;
use crate::{standby, writer};

const WRITERS: usize = 10;

/// Traffic under way. It ends when it is told to, or with its owner.
pub struct Traffic {
    tasks: JoinSet<()>,
    stop: Shutdown,
}

impl Traffic {
    pub async fn start(chain: &Chain, witness: &Arc<Witness>, seed: u64) -> Self {
        let (stop, mut rng) = (Shutdown::new(), Rng::with_seed(seed));
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let pen = Pen::open(&chain.stack.endpoints().database_url, rng.fork(), witness.clone()).await;
            let (witness, stop) = (witness.clone(), stop.clone());
            tasks.spawn(async move { writer::write(pen, &witness, stop).await });
        }
        let (pool, held, by) = (chain.pool.clone(), stop.clone(), witness.clone());
        let hold_rng = rng.fork();
        tasks.spawn(async move { standby::hold(pool, hold_rng, &by, held).await });
        for n in 0..12 {
            let reader = reader(chain, witness, &stop, rng.fork()).await;
            match n {
                0..3 => tasks.spawn(reader.ask()),
                3 | 4 => tasks.spawn(reader.visit()),
                5 | 6 => tasks.spawn(reader.look()),
                7 => tasks.spawn(reader.profiles(chain.setting.clone())),
                8..11 => tasks.spawn(reader.late(chain.setting.clone())),
                _ => tasks.spawn(reader.evict()),
            };
        }
        Traffic { tasks, stop }
    }

    /// Lets it run; a violation ends it early. A task that fails is this one's failure.
    pub async fn last(&mut self, length: Duration, witness: &Witness) {
        let first = async {
            while witness.violations().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            () = first => {}
            ended = self.tasks.join_next() => ended.expect("a task").expect("no panic"),
        }
    }

    pub async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn reader(chain: &Chain, witness: &Arc<Witness>, stop: &Shutdown, rng: Rng) -> Reader {
    let (endpoints, tiers) = (chain.stack.endpoints(), &chain.setting.tiers);
    let l1 = chain.l1();
    Reader {
        witness: witness.clone(),
        stop: stop.clone(),
        rng,
        http: chain.http.clone(),
        gateway: endpoints.gateway.clone(),
        edge: endpoints.edge.clone(),
        slots: [
            Slot::find(&tiers.l2, &l2::nodes(endpoints), "catalogue").await,
            Slot::find(&tiers.l1, l1, "catalogue").await,
            Slot::find(&tiers.l1, l1, "customers").await,
        ],
    }
}
