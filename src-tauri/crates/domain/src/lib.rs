//! The rules of Tidegate: what a call is, what it costs, when it may go.
//!
//! Nothing here reads a clock, a file, a socket or a random number. Time and chance
//! are arguments; formats (JSON, SQL, TOML, HTTP) belong to the crates around.

pub mod admission;
pub mod alert;
pub mod attribution;
pub mod cache;
pub mod call;
pub mod catalog;
pub mod config;
pub mod emergency;
pub mod forecast;
pub mod money;
pub mod price;
pub mod reconcile;
pub mod replay;
pub mod report;
pub mod routing;
pub mod success;
pub mod tier;
pub mod time;
pub mod usage;
