use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::forecast::chooser::Way;

const START: i64 = 350_000;
const SIZE: usize = 4;

/// The topic as compaction leaves it.
#[derive(Default)]
struct Topic(BTreeMap<Vec<u8>, Vec<u8>>);

impl Topic {
    fn keep(&mut self, forecast: &mut Forecast, places: &[Place]) {
        let touched = forecast.take_touched();
        for StateRecord { key, value } in changes(forecast, &touched, places) {
            match value {
                Some(value) => drop(self.0.insert(key, value)),
                None => drop(self.0.remove(&key)),
            }
        }
    }
}

fn scores(forecast: &Forecast, hour: Hour) -> (Way, BTreeMap<String, u64>) {
    let mut all = forecast.with_all_lines();
    let way = all.chosen(0);
    let column = all.expect(way, hour).to_vec();
    let named = column.iter().enumerate();
    (way, named.map(|(number, score)| (all.products().name(number).to_string(), score.to_bits())).collect())
}

proptest! {
    #[test]
    fn what_was_kept_goes_on_as_if_nothing_had_happened(
        lines in prop::collection::vec((0_i64..900, 0_u8..12), 1..200),
        cuts in prop::collection::vec(0_usize..200, 0..4),
        late in 0_i64..3,
        // In years, products are forgotten too.
        stride in prop::sample::select(vec![1_i64, 40]),
    ) {
        let mut sorted = lines;
        sorted.sort_by_key(|(hour, product)| hour + i64::from(*product) % (late + 1));
        sorted.iter_mut().for_each(|(hour, _)| *hour *= stride);
        let (mut whole, mut cut, mut topic) = (Forecast::new(&[SIZE]), Forecast::new(&[SIZE]), Topic::default());
        for (at, (hour, product)) in sorted.iter().enumerate() {
            for forecast in [&mut whole, &mut cut] {
                forecast.sold(&product.to_string(), Hour::new(START + hour));
                forecast.advance(Hour::new(START + hour - 1));
                forecast.time.came(Hour::new(START + hour), Hour::new(START + hour + 5 * late).micros());
            }
            if cuts.contains(&at) {
                let places = [Place { next: at as i64, newest: Some(Position::before(3, lockstep_schemas::position::Lsn(7))) }];
                topic.keep(&mut cut, &places);
                // What comes after is lost with the process.
                cut.sold("lost", Hour::new(START + hour));
                let (restored, found) = restore(&topic.0, SIZE).expect("good state").expect("state");
                prop_assert_eq!(&found[..], &places[..]);
                cut = restored;
            }
        }
        let end = Hour::new(START + 905 * stride);
        whole.advance(end);
        cut.advance(end);
        prop_assert_eq!((whole.time, whole.looked_through), (cut.time, cut.looked_through));
        prop_assert_eq!(&whole.choosers, &cut.choosers);
        prop_assert_eq!(scores(&whole, end), scores(&cut, end));
    }

    #[test]
    fn any_bytes_are_refused_or_read(head in prop::collection::vec(any::<u8>(), 0..80), bank in prop::collection::vec(any::<u8>(), 0..80)) {
        let records = BTreeMap::from([(HEAD.to_vec(), [&[2][..], &head].concat()), (b"bX".to_vec(), [&[2][..], &bank].concat())]);
        let _ = restore(&records, SIZE);
    }
}

#[test]
fn state_of_another_form_is_refused() {
    assert_eq!(restore(&BTreeMap::new(), SIZE).map(|found| found.is_some()), Ok(false));
    let head = |value: &[u8]| BTreeMap::from([(HEAD.to_vec(), value.to_vec())]);
    assert_eq!(restore(&head(&[4]), SIZE).map(drop), Err(StateError::Version(2)));
    let mut topic = Topic::default();
    let mut forecast = Forecast::new(&[SIZE]);
    forecast.sold("a", Hour::new(START));
    forecast.sold("b", Hour::new(START));
    forecast.advance(Hour::new(START + 9));
    topic.keep(&mut forecast, &[]);
    assert!(topic.0.values().all(|value| value.len() < 4_096));
    topic.0.remove(&b"ba"[..]);
    assert_eq!(restore(&topic.0, SIZE).map(drop), Err(StateError::Odd("products are missing")));
}

#[test]
fn what_is_forgotten_leaves_the_topic() {
    let (mut topic, mut forecast) = (Topic::default(), Forecast::new(&[SIZE]));
    forecast.sold("old", Hour::new(START));
    for hour in 1..18_000 {
        forecast.sold(&(hour % 10).to_string(), Hour::new(START + hour));
        forecast.advance(Hour::new(START + hour));
        if hour == 200 {
            topic.keep(&mut forecast, &[]);
            assert!(topic.0.contains_key(&b"bold"[..]));
        }
    }
    topic.keep(&mut forecast, &[]);
    assert!(!topic.0.contains_key(&b"bold"[..]));
    let (restored, _) = restore(&topic.0, SIZE).expect("good state").expect("state");
    let end = Hour::new(START + 18_001);
    assert_eq!(scores(&restored, end), scores(&forecast, end));
    assert_eq!(restored.products.len(), 10);
}

#[test]
fn heads_of_before_products_were_forgotten_are_gone_on_with() {
    let (mut topic, mut forecast) = (Topic::default(), Forecast::new(&[SIZE]));
    for product in ["a", "b", "c"] {
        forecast.sold(product, Hour::new(START));
    }
    forecast.advance(Hour::new(START + 9));
    topic.keep(&mut forecast, &[]);
    let mut tail = Writer::default();
    tail.long(3);
    tail.long(forecast.looked_through);
    tail.long(0);
    let head = topic.0.get_mut(HEAD).expect("a head");
    assert!(head.ends_with(&tail.bytes));
    head.truncate(head.len() - tail.bytes.len());
    let (restored, _) = restore(&topic.0, SIZE).expect("good state").expect("state");
    assert_eq!((restored.products.len(), restored.time), (3, ShopTime::default()));
    topic.0.remove(&b"bb"[..]);
    assert_eq!(restore(&topic.0, SIZE).map(drop), Err(StateError::Odd("products are missing")));
}

#[test]
fn a_set_of_another_size_begins_to_choose_anew_but_forgets_nothing() {
    let (mut topic, mut forecast) = (Topic::default(), Forecast::new(&[SIZE]));
    for hour in 0..50 {
        forecast.sold(&hour.to_string(), Hour::new(START + hour));
        forecast.advance(Hour::new(START + hour));
    }
    topic.keep(&mut forecast, &[]);
    let (mut other, _) = restore(&topic.0, SIZE + 1).expect("good state").expect("state");
    assert_eq!(other.choosers, vec![(SIZE + 1, Chooser::default())]);
    forecast.choosers = other.choosers.clone();
    for forecast in [&mut forecast, &mut other] {
        forecast.advance(Hour::new(START + 60));
    }
    assert_eq!(scores(&forecast, Hour::new(START + 60)), scores(&other, Hour::new(START + 60)));
}
