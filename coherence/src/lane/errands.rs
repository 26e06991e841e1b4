//! What the core asks for, carried out. Questions become errands, whose answers come back as events.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lockstep_schemas::policy::TierName;
use lockstep_tiers::{Layout, Place, Tier, TierError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{INBOX_MAX, LifePurges, Request, Shell};
use crate::core::event::{Call, Command, Event, Notice, Own, Token, Trouble};
use crate::purge::{Proofs, Purges, Told};
use crate::shared::Shared;

/// A question under way.
pub(super) type Errand = BoxFuture<'static, Event>;

impl Shell {
    pub(super) async fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Look(token) => self.errand(|shared, topic, place| async move {
                    Event::Looked(token, shared.look(&topic, place.partition).await)
                }),
                Command::Settle(token) => self.errand(|shared, topic, place| async move {
                    Event::Settled(token, shared.settle(&topic, place.partition).await)
                }),
                Command::Find(token, tier) => self.errand(move |shared, _, place| async move {
                    Event::Found(token, shared.tier(tier).watermark(&place).await.map_err(trouble))
                }),
                Command::Apply(token, tier, call) => {
                    self.errand(move |shared, _, place| apply(token, shared, tier, place, call));
                }
                Command::Own(token, wish) => {
                    self.errand(move |shared, _, place| own(token, shared.tier(TierName::L2), place, wish));
                }
                Command::Gate(token, passage) => self.errand(move |shared, _, _| async move {
                    let asked = Instant::now();
                    let passed = shared.gate.pass(passage).await;
                    shared.metrics.gate.observe(asked.elapsed().as_secs_f64());
                    match passed {
                        Ok(verdict) => Event::Passed(token, verdict, shared.timeline()),
                        Err(_shut) => Event::Stop,
                    }
                }),
                Command::Read { from, life } => self.read_from(from, life).await,
                Command::Purge(through, tags) => {
                    if let Some(life) = &self.purges {
                        life.purges.push(through, &tags);
                    }
                }
                Command::Refill(mine) => self.lane.shared.refill.start(self.lane.place.clone(), mine),
                Command::Say(notice) => {
                    if let Notice::Unreadable(next, why) = &notice {
                        let parking = self.lane.shared.park.add(
                            &self.lane.topic,
                            self.lane.place.partition as i32,
                            next - 1,
                            why.clone(),
                        );
                        self.lane.stop.run_until_cancelled(parking).await;
                    }
                    self.tell(notice);
                }
                Command::Rejoin => {
                    let _ = self.lane.requests.send(Request::Rejoin { stop: self.lane.stop.clone() }).await;
                }
                Command::End => self.has_ended = true,
            }
        }
    }

    fn errand<F>(&self, go: impl FnOnce(Arc<Shared>, String, Place) -> F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let lane = &self.lane;
        self.errands.push(go(lane.shared.clone(), lane.topic.clone(), lane.place.clone()).boxed());
    }

    /// A new life: another inbox, and purges of its own. What belonged to the last one is dropped with it.
    async fn read_from(&mut self, from: i64, life: u64) {
        let (inbox, records) = mpsc::channel(INBOX_MAX);
        self.round.clear();
        self.inbox = Some(records);
        let shared = &self.lane.shared;
        let until = self.lane.stop.child_token();
        let tag = Layout::partition_tag(&self.lane.place);
        let proofs = Proofs::new(&shared.policy, &self.lane.place.group, shared.metrics.without_effect.clone());
        let told = Told { seconds: shared.metrics.l3.clone(), proofs };
        let purges = Purges::start(shared.edge.clone(), shared.response_max, tag, told, until.clone());
        self.purges = Some(LifePurges { life, purges, _until: until.drop_guard() });
        let lane = (self.lane.topic.clone(), self.lane.place.partition as i32);
        // The pump has gone only when the process ends.
        let _ = self.lane.requests.send(Request::Start { lane, offset: from, inbox }).await;
    }
}

async fn apply(token: Token, shared: Arc<Shared>, tier: TierName, place: Place, call: Call) -> Event {
    let called = Instant::now();
    let answer = shared.tier(tier).apply(&place, &call.batch()).await;
    // Without actions it only moves the watermark, as it does each second where nothing happens.
    if answer.is_ok() && !call.actions.is_empty() {
        shared.metrics.applied(tier, called.elapsed());
    }
    Event::Answered(token, answer.map_err(trouble))
}

async fn own(token: Token, l2: Tier, place: Place, wish: Own) -> Event {
    let owned = l2.own(&place, wish.expect, &wish.owner, wish.l3).await;
    Event::Owned(token, owned.map_err(trouble))
}

fn trouble(error: TierError) -> Trouble {
    if error.is_moving() { Trouble::Moving(error.to_string()) } else { Trouble::Away(error.to_string()) }
}
