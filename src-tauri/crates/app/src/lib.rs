//! The application without a window: it composes the parts and answers the shells.

pub mod view;
