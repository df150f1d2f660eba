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
pub mod changes;
mod channels;
pub mod claude_code;
pub mod clients;
pub mod clock;
pub mod control;
mod counting;
pub mod course;
pub mod data;
pub mod days;
mod demo;
mod desktop;
mod digest;
pub mod doctor;
mod emergency;
pub mod explain;
mod export;
pub mod facts;
pub mod folder;
mod forecasts;
mod hands;
mod host;
mod import;
mod job;
mod keeping;
pub mod keychain;
pub mod keys;
mod learned;
pub mod log;
mod metrics;
pub mod minutes;
mod mount;
mod otlp;
mod outbound;
mod passed_over;
mod peaks;
pub mod places;
pub mod port;
pub mod prices;
pub mod process;
pub mod protections;
mod provenance;
mod queue;
mod range;
pub mod reconcile;
mod renewal;
pub mod report;
mod retention;
pub mod savings;
pub mod settings;
pub mod shadow;
mod show;
pub mod simulate;
pub mod statusline;
mod statuspage;
mod success;
#[cfg(test)]
mod testing;
pub mod tiers;
pub mod veil;
pub mod view;
mod watch;

pub use app::App;
pub use export::ExportProgressView;
pub use host::{Host, HostError, HostOptions};
pub use import::{ImportView, ProgressView, SkippedView, SourcesView};
pub use ledger::{Progress, csv_cell};
pub use renewal::SettingsStateView;
