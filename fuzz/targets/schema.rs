//! A writer's schema, up to the first zero byte, and a body read by it: both are outside input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstep_schemas::avro::{Plan, Reader};
use lockstep_schemas::envelope::EnvelopePlan;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (schema, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let Ok(schema) = std::str::from_utf8(schema) else { return };
    if let Ok(plan) = Plan::compile(schema) {
        let _ = plan.skip(&mut Reader::new(body));
    }
    if let Ok(plan) = EnvelopePlan::compile(schema) {
        let _ = plan.decode(body);
    }
});
