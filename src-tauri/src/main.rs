//! The window's program: reads its arguments and hands over.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

use std::io::Write;

use clap::Parser;
use desktop::Options;

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    app::process::make_files_private();
    app::process::prepare_to_serve();
    app::log::start(app::log::Loudness::Normal);
    match desktop::run(options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(cause) => {
            // There is no other place to say it.
            let _ = writeln!(std::io::stderr(), "{cause:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
