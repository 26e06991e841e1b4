//! A message of PostgreSQL's output plugin.
#![no_main]

libfuzzer_sys::fuzz_target!(|message: &[u8]| lockstep_ingest::fuzz::pgoutput(message));
