//! The application without a window: it composes the parts and answers the shells.

#![forbid(unsafe_code)]

pub mod clients;
pub mod clock;
pub mod data;
pub mod folder;
pub mod keychain;
pub mod settings;
pub mod view;
