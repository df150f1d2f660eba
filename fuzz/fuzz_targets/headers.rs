//! Whatever an upstream says of limits, what we make of it stays sane.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::headers(bytes));
