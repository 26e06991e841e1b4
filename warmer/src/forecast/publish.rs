//! The scores, as anybody's model would publish them.

use std::collections::HashMap;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::scores::{SUBJECT, Score};
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::topics;
use lockstep_source::boosts::Boost;
use rdkafka::error::KafkaError;

use super::cut::top;
use super::hour::Hour;
use super::online::Forecast;

const SCHEMA_WAIT_MAX: Duration = Duration::from_secs(30);

/// Publishes scores.
pub(super) struct Publisher {
    publisher: StatePublisher,
    registry: LiveRegistry,
    scores_max: usize,
}

impl Publisher {
    /// Publishes so many at most.
    pub fn new(kafka: &KafkaConfig, registry: LiveRegistry, scores_max: usize) -> Result<Self, Failure> {
        let publisher = StatePublisher::open(kafka, "forecast");
        let publisher = publisher.map_err(|error| Failure::unavailable("Kafka").because(error))?;
        Ok(Publisher { publisher, registry, scores_max })
    }

    /// Publishes what is expected of `hour` by all lines that have come; how many, where the schema was there to do so.
    pub async fn publish(
        &mut self,
        forecast: &Forecast,
        hour: Hour,
        boosts: &[Boost],
    ) -> Result<Option<usize>, KafkaError> {
        let Some(schema) = self.registry.id(SUBJECT, SCHEMA_WAIT_MAX).await else { return Ok(None) };
        let made_at = now_micros();
        let mut records = Vec::with_capacity(self.scores_max);
        for (product, score, model) in scores(forecast, hour, boosts, self.scores_max) {
            let value = Score { product, hour: hour.micros(), score, model, made_at };
            let body = value.encode(schema);
            records.push((value.product, body));
        }
        self.publisher.publish_all(topics::SCORES, &records).await?;
        tracing::debug!(count = records.len(), "scores published");
        Ok(Some(records.len()))
    }
}

/// The best products with their scores and who says so, best first.
fn scores(forecast: &Forecast, hour: Hour, boosts: &[Boost], most: usize) -> Vec<(String, f64, String)> {
    let mut all = forecast.with_all_lines();
    let way = all.chosen(0);
    let mut column = all.expect(way, hour).to_vec();
    let (model, boosted) = (way.name(), format!("{}+boost", way.name()));
    // Products that never sold stand behind the others.
    let mut names: Vec<&str> = (0..column.len()).map(|number| &**all.products().name(number)).collect();
    let mut models: HashMap<usize, &str> = HashMap::new();
    for boost in boosts {
        let number = all.products().number(&boost.product).filter(|number| *number < column.len());
        let number = number.or_else(|| {
            names
                .iter()
                .skip(all.products().len())
                .position(|name| *name == boost.product)
                .map(|at| at + all.products().len())
        });
        let number = number.unwrap_or_else(|| {
            names.push(&boost.product);
            column.push(0.0);
            column.len() - 1
        });
        column[number] = boost.apply(column[number]);
        models.insert(number, &boosted);
    }
    let best = top(&column, most, &mut Vec::new());
    let model_of = |number: usize| (*models.get(&number).unwrap_or(&&*model)).to_owned();
    best.into_iter().map(|number| (names[number].to_owned(), column[number], model_of(number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boosts_lift_also_what_never_sold() {
        let mut forecast = Forecast::new(&[2]);
        for product in ["a", "a", "a", "b"] {
            forecast.sold(product, Hour::new(400_000));
        }
        let boost = |product: &str, factor, lines| Boost { product: product.to_owned(), factor, lines };
        let boosts = [boost("b", 10.0, 0.0), boost("new", 1.0, 50.0), boost("a", 0.0, 0.0)];
        let scores = scores(&forecast, Hour::new(400_001), &boosts, 9);
        let named: Vec<(&str, &str)> = scores.iter().map(|(product, _, model)| (&**product, &**model)).collect();
        assert_eq!(named, [("new", "ewma-168h+boost"), ("b", "ewma-168h+boost")], "a is held down to nothing");
        assert_eq!(super::scores(&forecast, Hour::new(400_001), &[], 9).len(), 2);
    }
}
