//! Lease, load, fill as one routine: how a read goes through the tiers to the database, and what it leaves behind.

mod many;

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::entry::{Fields, Load, LoadError, Loaded};
use lockstep_schemas::history::History;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::position::Position;
use lockstep_schemas::switched::Switched;

use crate::layout::{Layout, Place};
use crate::tier::{Fill, Filled, Hit, Lease, Mark, Read, Tier};
use crate::tier_error::TierError;

pub use many::{Claim, Leased, Looked, Settled};

/// How often a reader looks again while somebody else fills.
const BUSY_LOOKS_MAX: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Who gave the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A tier.
    Tier(TierName),
    /// The database.
    Database,
}

impl AnsweredBy {
    /// `l1`, `l2`, `database`.
    pub fn as_str(self) -> &'static str {
        match self {
            AnsweredBy::Tier(tier) => tier.as_str(),
            AnsweredBy::Database => "database",
        }
    }
}

/// An answer, and how far it has come.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who gave it.
    pub by: AnsweredBy,
    /// The tiers that were asked.
    pub asked: Vec<TierName>,
    /// The fields; `None`: there is no such thing.
    pub fields: Option<Fields>,
    /// The tier's state: the answer holds everything up to its position. `None`: no tier could be asked.
    pub mark: Option<Mark>,
    /// Whether the view's tier has it now.
    pub kept: Kept,
}

/// Whether the tier of the view that was asked for has the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It has.
    Yes,
    /// Not by this reader: another one fills it, or the fill was refused.
    No,
    /// It did not answer, or the tier that it is filled from.
    Away,
}

/// A read that failed.
#[derive(Debug, thiserror::Error)]
pub enum ThroughError {
    /// A tier.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// The database.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// L1 over L2 over the database. Clones share connections.
#[derive(Clone)]
pub struct Tiers {
    /// Redis Cluster.
    pub l1: Tier,
    /// Redis, one node or a cluster.
    pub l2: Tier,
    /// The database.
    pub loader: Arc<dyn Load>,
    /// Says which version of a view's entries is read; without it, the first.
    pub switched: Option<Switched>,
    /// Says which history the database is of; without it, every tier is believed.
    pub history: Option<History>,
}

impl Tiers {
    /// Connects to both tiers.
    pub async fn connect(config: &Config, policy: &Policy, loader: Arc<dyn Load>) -> Result<Self, Failure> {
        let layout = Arc::new(Layout::new(policy, &config.namespace, config.partitions));
        let l1 = Tier::cluster(TierName::L1, config.l1()?, layout.clone()).await?;
        Ok(Tiers {
            l1,
            l2: Tier::connect(TierName::L2, config.l2()?, layout).await?,
            loader,
            switched: None,
            history: None,
        })
    }

    /// Reads and fills the versions of entries that operators have switched to.
    pub fn following(self, switched: Switched) -> Self {
        Tiers { switched: Some(switched), ..self }
    }

    /// Believes no tier of a later history than the database's: what it has goes nowhere, and it is not filled.
    pub fn within(self, history: History) -> Self {
        Tiers { history: Some(history), ..self }
    }

    /// Whether a tier is of a later history than the database.
    pub async fn is_later(&self, mark: &Mark) -> bool {
        match &self.history {
            Some(history) => history.is_later(mark.position, &mark.timeline).await,
            None => false,
        }
    }

    /// An entry's key, in the version that is read now, or in that of the view, where it is of one.
    fn key(&self, view: &View, entity: &str) -> Key {
        let read = || self.switched.as_ref().map_or(0, |switched| switched.version_of(&view.name));
        view.key.key_in(view.key.version().unwrap_or_else(read), entity)
    }

    /// Loads the function library on both.
    pub async fn load_library(&self) -> Result<(), Failure> {
        self.l2.load_library().await?;
        self.l1.load_library().await
    }

    /// The tier of a view.
    pub fn of(&self, view: &View) -> &Tier {
        if view.tier == TierName::L1 { &self.l1 } else { &self.l2 }
    }

    /// Reads an entity of a view that is filled from the database. A tier that is away is passed by.
    pub async fn get(&self, view: &View, entity: &str) -> Result<Answer, LoadError> {
        match self.get_from_tier(view, entity).await {
            Ok(answer) => Ok(answer),
            Err(ThroughError::Load(error)) => Err(error),
            Err(ThroughError::Tier(error)) => {
                tracing::debug!(tier = view.tier.as_str(), %error, "a tier is passed by");
                let fields = self.load(view, entity).await?.and_then(|loaded| loaded.fields);
                Ok(Answer { by: AnsweredBy::Database, asked: vec![view.tier], fields, mark: None, kept: Kept::Away })
            }
        }
    }

    async fn get_from_tier(&self, view: &View, entity: &str) -> Result<Answer, ThroughError> {
        let tier = self.of(view);
        let (place, key) = (tier.layout().place(&view.group, entity), self.key(view, entity));
        let asked = vec![view.tier];
        let mut looks = 0;
        let mark = loop {
            match tier.read_within(&place, &key, slide(view), view.age_max).await? {
                Read::Hit(hit) => {
                    let by = AnsweredBy::Tier(view.tier);
                    return Ok(Answer { by, asked, fields: hit.fields, mark: Some(hit.mark), kept: Kept::Yes });
                }
                Read::Lease(lease) => {
                    if self.is_later(&lease.mark).await {
                        break lease.mark;
                    }
                    let (fields, trusted, kept) = self.load_and_fill(view, &place, &key, entity, &lease).await?;
                    let mark = trusted.then_some(lease.mark);
                    return Ok(Answer { by: AnsweredBy::Database, asked, fields, mark, kept });
                }
                Read::Busy(mark) if looks == BUSY_LOOKS_MAX => break mark,
                Read::Busy(_) => {
                    looks += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
            }
        };
        // The mark was read before the database is: what it says was visible then, is in this answer.
        let loaded = self.load(view, entity).await?;
        let is_trusted =
            loaded.as_ref().is_none_or(|loaded| same_history(loaded, &mark)) && !self.is_later(&mark).await;
        let mark = is_trusted.then_some(mark);
        let fields = loaded.and_then(|loaded| loaded.fields);
        Ok(Answer { by: AnsweredBy::Database, asked, fields, mark, kept: Kept::No })
    }

    /// Reads an entity of an L1 view that is filled through a view on L2. A tier that is away is passed by.
    pub async fn get_through(&self, view: &View, beneath: &View, entity: &str) -> Result<Answer, LoadError> {
        let (place, key) = (self.l1.layout().place(&view.group, entity), self.key(view, entity));
        match self.l1.read_within(&place, &key, slide(view), view.age_max).await {
            Ok(Read::Hit(hit)) => {
                let by = AnsweredBy::Tier(TierName::L1);
                Ok(Answer { by, asked: vec![TierName::L1], fields: hit.fields, mark: Some(hit.mark), kept: Kept::Yes })
            }
            Ok(Read::Lease(lease)) => {
                let mut answer = self.beneath(beneath, entity, Kept::No).await?;
                match self.fill_from_l2(view, beneath, &place, entity, &lease.nonce).await {
                    Ok(Some((hit, kept))) => {
                        (answer.fields, answer.mark, answer.kept) = (hit.fields, Some(hit.mark), kept);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "an entry of l1 was not filled");
                        answer.kept = Kept::Away;
                    }
                }
                Ok(answer)
            }
            Ok(Read::Busy(_)) => self.beneath(beneath, entity, Kept::No).await,
            Err(_) => self.beneath(beneath, entity, Kept::Away).await,
        }
    }

    /// From the tier beneath L1, which itself has it, or not: neither can be, where that tier is away.
    async fn beneath(&self, beneath: &View, entity: &str, kept: Kept) -> Result<Answer, LoadError> {
        let mut answer = self.get(beneath, entity).await?;
        answer.asked.insert(0, TierName::L1);
        let kept = if answer.kept == Kept::Away { Kept::Away } else { kept };
        Ok(Answer { kept, ..answer })
    }

    /// Fills an entry of L1 from L2, under a lease on L1, and says whether L1 has it then. `None`: L2 does not have it.
    ///
    /// What L2 has forgotten in a fail-over is refused: its position is then behind the lease's [3a]-[3e].
    pub async fn fill_from_l2(
        &self,
        view: &View,
        beneath: &View,
        place: &Place,
        entity: &str,
        nonce: &str,
    ) -> Result<Option<(Hit, Kept)>, ThroughError> {
        let key = self.key(beneath, entity);
        let mut hit = match self.l2.read(place, &key, slide(beneath)).await? {
            Read::Hit(hit) => hit,
            Read::Busy(_) => return Ok(None),
            Read::Lease(lease) => {
                if self.is_later(&lease.mark).await {
                    return Ok(None);
                }
                // It went between two looks. A lease that is granted is used.
                self.load_and_fill(beneath, place, &key, entity, &lease).await?;
                return Ok(None);
            }
        };
        if self.is_later(&hit.mark).await {
            return Ok(None);
        }
        if let Some(fields) = &mut hit.fields {
            fields.retain(|(name, _)| view.has_field(name));
        }
        let fill = Fill {
            nonce,
            low: hit.low.max(hit.mark.position),
            high: hit.high,
            source_at: hit.mark.position,
            timeline: &hit.mark.timeline,
            ttl: view.ttl,
            fields: hit.fields.as_ref(),
        };
        let filled = self.l1.fill(place, &self.key(view, entity), &fill).await?;
        Ok(Some((hit, kept(filled))))
    }

    /// Loads an entity from the database and fills it under a lease. A fill that fails costs a miss, not the answer; one
    /// that the tier refuses says that the answer is of another history, and must not be kept anywhere. Returns the fields,
    /// whether they are of the tier's history, and whether it has them.
    async fn load_and_fill(
        &self,
        view: &View,
        place: &Place,
        key: &Key,
        entity: &str,
        lease: &Lease,
    ) -> Result<(Option<Fields>, bool, Kept), LoadError> {
        let Some(loaded) = self.load(view, entity).await? else { return Ok((None, true, Kept::No)) };
        let fill = Fill {
            nonce: &lease.nonce,
            low: lease.mark.position,
            high: loaded.high,
            source_at: Position::GREATEST,
            timeline: &loaded.timeline,
            ttl: view.ttl,
            fields: loaded.fields.as_ref(),
        };
        let filled = self.of(view).fill(place, key, &fill).await;
        if let Err(error) = &filled {
            tracing::debug!(tier = view.tier.as_str(), %error, "an entry was not filled");
        }
        let trusted = same_history(&loaded, &lease.mark) && !matches!(filled, Ok(Filled::Refused));
        Ok((loaded.fields, trusted, filled.map_or(Kept::Away, kept)))
    }

    async fn load(&self, view: &View, entity: &str) -> Result<Option<Loaded>, LoadError> {
        let entities = [entity.to_owned()];
        Ok(self.loader.load(view, &entities).await?.pop())
    }
}

/// Whether what was read is of the history that the tier follows. A tier without a timeline has applied nothing yet.
fn same_history(loaded: &Loaded, mark: &Mark) -> bool {
    mark.timeline.is_empty() || mark.timeline == loaded.timeline
}

fn kept(filled: Filled) -> Kept {
    if filled == Filled::Ok { Kept::Yes } else { Kept::No }
}

fn slide(view: &View) -> Option<Duration> {
    view.sliding.then_some(view.ttl)
}
