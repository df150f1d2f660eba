//! The real binary, from a client's socket to the ledger, over the simulator. Each module is one promise.

mod account;
mod alerts;
mod bad_input;
mod bench;
mod budgets;
mod bundles;
mod bytes;
mod cache;
mod canary;
mod channels;
mod crash;
mod cuts;
mod emergency;
mod faults;
mod flow;
mod guard;
mod hangup;
mod metrics;
mod queue;
mod reconcile;
mod tiers;
