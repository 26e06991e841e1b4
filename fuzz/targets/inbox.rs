//! What comes over the replication connection, in pieces of any size.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lockstep_ingest::fuzz::inbox(bytes));
