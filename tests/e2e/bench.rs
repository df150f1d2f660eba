//! The bench in its short form: it runs, and its counts add up. Its figures mean nothing here.

use std::process::Command;

#[test]
fn the_bench_runs_and_its_counts_add_up() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("--short").env("TIDEGATE_BIN", support::process::binary());
    let said = support::process::run(command, "");
    assert_eq!(said.code, Some(0), "{said:?}");
    for column in ["direct", "process", "power", "calls/s"] {
        assert!(said.out.contains(column), "no {column} in\n{}", said.out);
    }
}
