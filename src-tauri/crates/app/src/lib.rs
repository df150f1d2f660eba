//! The application without a window: it composes the parts and answers the shells.
//!
//! Nothing here draws, parses arguments or knows a signal; rules live in `domain`, SQL in `ledger`, HTTP's life of a call in `gateway`.

#![forbid(unsafe_code)]

mod account;
mod alerts;
mod answers;
pub mod api;
mod app;
pub mod backtest;
mod books;
pub mod bundle;
mod channels;
pub mod clients;
pub mod clock;
pub mod control;
mod counting;
pub mod data;
mod demo;
mod desktop;
pub mod doctor;
mod emergency;
pub mod explain;
pub mod folder;
mod forecasts;
mod host;
mod import;
mod keeping;
pub mod keychain;
mod learned;
pub mod log;
mod metrics;
mod mount;
mod otlp;
mod outbound;
pub mod places;
pub mod port;
pub mod prices;
pub mod process;
mod provenance;
mod queue;
mod range;
pub mod reconcile;
mod retention;
pub mod settings;
mod show;
pub mod simulate;
pub mod statusline;
mod statuspage;
mod success;
#[cfg(test)]
mod testing;
pub mod tiers;
pub mod view;
mod watch;

pub use app::App;
pub use host::{Host, HostError, HostOptions};
pub use import::{ImportView, ProgressView, SkippedView};
pub use ledger::{Progress, csv_cell};
