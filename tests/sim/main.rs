//! Admission in a made-up world: one seed is one run, and the same seed is the same run.
//!
//! Clients flood, trickle, chat, hang up and lose patience; clocks jump, the machine sleeps and crashes; the upstream has
//! true buckets of its own. `SIM_SEED=… make sim` replays a run and prints it, `SIM_HOURS=…` makes the survey longer.

mod alerts;
mod clients;
mod estimates;
mod fairness;
mod figures;
mod forecast;
mod goodput;
mod headers;
mod memory;
mod migration;
mod priority;
mod success;
mod survey;
mod traces;
mod trouble;
mod upstream;
mod watch;
mod windows;
mod world;
