//! The real binary, from a client's socket to the ledger, over the simulator. Each module is one promise.

fn main() {}
