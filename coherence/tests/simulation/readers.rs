//! Readers, one step at a time: L1, L2, the database, and the fills on the way back. Some are fillers, which claim.

use lockstep_schemas::entry::Fields;
use lockstep_schemas::position::Position;
use lockstep_tiers::tier::Look;
use lockstep_tiers::{Fill, Filled, Found, Hit, Read};
use std::time::Duration;

use super::mistake::Mistake;
use super::shop::{COLUMNS, ENTITIES, History};
use super::world::World;

/// What a reader does next.
#[derive(Clone)]
pub enum Next {
    ReadL1,
    ReadL2,
    ClaimL2,
    ReadDatabase { nonce: String, low: Position },
    FillL2 { nonce: String, low: Position, high: Position, timeline: String, fields: Option<Fields> },
    FillL1 { hit: Box<Hit> },
}

#[derive(Clone)]
pub struct Reader {
    pub entity: usize,
    /// Its lease on L1.
    pub l1_nonce: Option<String>,
    /// Whether it still talks to a deposed primary.
    pub is_misled: bool,
    /// Whether it claims on L2 instead of leasing.
    pub claims: bool,
    pub next: Next,
}

/// A filler at work. It claims nothing twice at a time: where another one still may fill the entry, this is another run.
const RUN: &str = "run.............................";

impl World {
    pub fn start_reader(&mut self) {
        let entity = self.random.usize(..ENTITIES.len());
        let next = if self.random.bool() { Next::ReadL1 } else { Next::ReadL2 };
        let is_misled = self.random.u32(..4) == 0;
        let claims = self.has_fillers && self.random.bool();
        let next = if claims { Next::ClaimL2 } else { next };
        self.readers.push(Reader { entity, l1_nonce: None, is_misled, claims, next });
    }

    /// One step of one reader. It leaves when it has an answer, or gives up.
    pub fn step_reader(&mut self, at: usize) -> Result<(), String> {
        let mut reader = self.readers.swap_remove(at);
        if let Some(next) = self.take_step(&mut reader)? {
            reader.next = next;
            self.readers.push(reader);
        }
        Ok(())
    }

    fn take_step(&mut self, reader: &mut Reader) -> Result<Option<Next>, String> {
        let nonce = format!("{:032x}", self.random.u128(..));
        Ok(match reader.next.clone() {
            Next::ReadL1 => match self.read(1, reader.entity, &nonce) {
                Some(Read::Lease(lease)) => {
                    reader.l1_nonce = Some(lease.nonce);
                    Some(Next::ReadL2)
                }
                Some(Read::Busy(_)) => Some(Next::ReadL2),
                Some(Read::Hit(_)) | None => None,
            },
            Next::ReadL2 => match self.read(0, reader.entity, &nonce) {
                Some(Read::Lease(lease)) => Some(Next::ReadDatabase { nonce: lease.nonce, low: lease.mark.position }),
                Some(Read::Hit(hit)) if reader.l1_nonce.is_some() => Some(Next::FillL1 { hit: Box::new(hit) }),
                Some(Read::Hit(_) | Read::Busy(_)) | None => None,
            },
            Next::ClaimL2 => self.claim(reader.entity, &nonce),
            Next::ReadDatabase { nonce, low } => Some(self.read_database(reader, nonce, low)),
            Next::FillL2 { nonce, low, high, timeline, fields } => {
                let fill = Fill {
                    nonce: &nonce,
                    low,
                    high,
                    source_at: Position::GREATEST,
                    timeline: &timeline,
                    ttl: Duration::from_secs(3_600),
                    fields: fields.as_ref(),
                };
                if reader.claims {
                    let comes_late = self.settle(reader.entity, &fill);
                    return Ok(comes_late.then(|| reader.next.clone()));
                }
                self.fill(0, reader.entity, &fill)?;
                reader.l1_nonce.is_some().then_some(Next::ReadL2)
            }
            Next::FillL1 { hit } => {
                let nonce = reader.l1_nonce.take().unwrap_or_default();
                let fill = Fill {
                    nonce: &nonce,
                    low: hit.low.max(hit.mark.position),
                    high: hit.high,
                    source_at: hit.mark.position,
                    timeline: &hit.mark.timeline,
                    ttl: Duration::from_secs(900),
                    fields: hit.fields.as_ref(),
                };
                self.fill(1, reader.entity, &fill)?;
                None
            }
        })
    }

    fn read(&mut self, tier: usize, entity: usize, nonce: &str) -> Option<Read> {
        let tier = &mut self.tiers[tier];
        if !tier.serves_readers() {
            return None;
        }
        let (place, key) = (tier.place().clone(), tier.view.key.key(ENTITIES[entity]));
        Some(tier.twin.read(&place, &key, &Look { nonce, slide: None, age_max: None, lease: None }))
    }

    fn claim(&mut self, entity: usize, nonce: &str) -> Option<Next> {
        let is_alone = !self.readers.iter().any(|other| other.claims && other.entity == entity);
        let run = if is_alone { RUN.to_owned() } else { format!("{:032x}", self.random.u128(..)) };
        let tier = &mut self.tiers[0];
        if !tier.serves_readers() {
            return None;
        }
        // A call that is sent again adds its bookmark once more.
        let claims = tier.claim(entity, nonce, &run);
        if self.random.u32(..8) == 0 {
            self.tiers[0].claim(entity, nonce, &run);
        }
        let next = Next::ReadDatabase { nonce: claims.bookmark, low: claims.position };
        (claims.found == [Found::Claim]).then_some(next)
    }

    /// What was claimed is filled, perhaps twice. Returns whether the same call comes once more, late.
    fn settle(&mut self, entity: usize, fill: &Fill<'_>) -> bool {
        if !self.tiers[0].serves_readers() {
            return false;
        }
        for _ in 0..1 + u32::from(self.random.u32(..8) == 0) {
            self.tiers[0].settle(entity, fill);
        }
        self.random.u32(..8) == 0
    }

    fn read_database(&mut self, reader: &Reader, nonce: String, low: Position) -> Next {
        let deposed = self.shop.deposed.as_ref().filter(|_| reader.is_misled);
        let history: &History = deposed.unwrap_or(&self.shop.history);
        let rows = [0, 1].map(|table| history.row(reader.entity, table));
        let fields = rows[0].map(|_| {
            let key = ("product_id".into(), ENTITIES[reader.entity].to_owned());
            let columns =
                COLUMNS.iter().zip(rows).filter_map(|(name, value)| Some(((*name).into(), value?.to_string())));
            std::iter::once(key).chain(columns).collect::<Fields>()
        });
        let low = if self.makes(Mistake::LowAfter) { history.high() } else { low };
        Next::FillL2 { nonce, low, high: history.high(), timeline: history.timeline(), fields }
    }

    /// A fill, perhaps sent twice; a lease is good for one.
    fn fill(&mut self, tier: usize, entity: usize, fill: &Fill<'_>) -> Result<(), String> {
        if !self.tiers[tier].serves_readers() {
            return Ok(());
        }
        let times = 1 + u32::from(self.random.u32(..8) == 0);
        for _ in 0..times {
            let filled = self.tiers[tier].fill(entity, fill);
            if filled == Filled::Ok && !self.filled.insert((tier, entity, fill.nonce.to_owned())) {
                return Err(format!("(d) lease {} was filled twice", fill.nonce));
            }
        }
        Ok(())
    }
}
