//! The body of a record, read by a schema of ours.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lockstep_schemas::avro::unframe;
use lockstep_schemas::envelope::EnvelopePlan;

#[path = "sample.rs"]
mod sample;

static PLAN: LazyLock<EnvelopePlan> =
    LazyLock::new(|| EnvelopePlan::compile(&sample::table().value_schema).expect("our own schema"));

fuzz_target!(|record: &[u8]| {
    if let Ok((_, body)) = unframe(record) {
        let _ = PLAN.decode(body);
    }
});
