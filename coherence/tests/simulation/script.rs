//! Schedules that chance brings about too seldom, step by step.

use super::readers::{Next, Reader};
use super::world::{Without, World};

/// Long enough for a lane to open, and to follow progress.
const TURNS: usize = 200;

/// A fail-over. Another engine takes the lane over, and the progress that it finds is of the epoch before; a reader still talks
/// to the deposed primary.
pub fn progress_of_a_deposed_primary(without: Without) -> Result<(), String> {
    let mut world = World::open(0, without);
    world.rest()?;
    world.shop.promote(0, false);
    let mut random = world.random.fork();
    let entity = loop {
        world.shop.commit(&mut random);
        if let Some(write) = world.shop.history.commits.last().and_then(|commit| commit.writes.first()) {
            break write.entity;
        }
    };
    world.shop.history.commits.iter_mut().for_each(|commit| commit.visible = true);
    while world.shop.publish() {}
    for _ in 0..TURNS {
        world.go_on()?;
    }
    world.engines.clear();
    world.start_engine();
    for _ in 0..TURNS {
        world.go_on()?;
    }
    world.readers.push(Reader { entity, l1_nonce: None, is_misled: true, claims: false, next: Next::ReadL2 });
    while !world.readers.is_empty() {
        world.go_on()?;
    }
    Ok(())
}

/// A backlog whose last record comes just as the lane has enough to do: nothing comes after it that would call it to mind.
pub fn a_backlogs_last_record(without: Without) -> Result<(), String> {
    let mut world = World::open(0, without);
    world.rest()?;
    let mut number = 0;
    while world.engines[0].wants_records() {
        number += 1;
        world.shop.change_elsewhere(number);
        world.feed_engine(0);
    }
    world.rest()
}
