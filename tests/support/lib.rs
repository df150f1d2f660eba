//! What the tests share: real processes in temporary folders, a small HTTP client that sees every byte, the three books.
//! Everything started here ends with the value that holds it.

pub mod books;
pub mod http;
pub mod lab;
pub mod process;
pub mod recordings;
