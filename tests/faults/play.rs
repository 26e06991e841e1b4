//! A case from its beginning to its end: servers, a writer who goes on, ingest at work, and in the end everything counted.

use std::time::Instant;

use crate::Length;
use crate::check::all_is_exact;
use crate::exact::Reach;
use crate::ingest::{INTERRUPTED, Ingest};
use crate::shop::Shop;
use crate::writer::Writer;

/// What a fault strikes. Ingest streams, on the ways that can be cut.
pub struct Play {
    pub length: Length,
    pub writer: Writer,
    pub ingest: Ingest,
    pub shop: Shop,
}

/// What strikes. It leaves the play as it was.
pub type Fault = fn(&mut Play);

impl Play {
    /// Plays these faults one after the other in one shop.
    pub fn of(length: Length, reach: Reach, faults: &[(&str, Fault)]) {
        let shop = Shop::open();
        let ingest = shop.streaming_ingest();
        let writer = Writer::start(&shop);
        let first = (ingest.pid(), ingest.said(INTERRUPTED));
        let mut play = Play { length, writer, ingest, shop };
        for (name, fault) in faults {
            let began = Instant::now();
            fault(&mut play);
            eprintln!("{name}: {:.1} s", began.elapsed().as_secs_f64());
        }
        play.end(reach, first);
    }

    /// `first`: the process of ingest, and how often it had been interrupted, at the beginning.
    fn end(self, reach: Reach, first: (u32, usize)) {
        let Play { length, writer, mut ingest, shop } = self;
        let began = Instant::now();
        let counted = all_is_exact(&shop, writer, length.changes(), reach);
        eprintln!("counted after {:.1} s", began.elapsed().as_secs_f64());
        assert_eq!(counted.epoch, shop.epoch(), "the newest epoch of the table is that of the log");
        assert!(counted.commits > 0 && counted.rows > 0);
        let uninterrupted = (ingest.pid(), ingest.said(INTERRUPTED)) == first;
        assert!(!uninterrupted || counted.repeated == 0, "published twice, though nothing interrupted ingest");
        ingest.stop();
    }
}
