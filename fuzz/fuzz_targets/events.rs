//! Any bytes read as a stream of events, alike in one piece and in two.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::events(bytes));
