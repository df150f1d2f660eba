//! What a process that holds keys does with itself first.

/// Files made from here on are their owner's alone.
pub fn make_files_private() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// No core dump and no debugger of another process sees the keys; and there are files enough for many calls.
pub fn prepare_to_serve() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let cores = Rlimit { current: Some(0), maximum: Some(0) };
        told("core dumps stay possible", setrlimit(Resource::Core, cores));
    }
    raise_file_limit();
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        told("this process stays readable to debuggers", set_dumpable_behavior(DumpableBehavior::NotDumpable));
    }
}

/// Each call holds two sockets.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let files = getrlimit(Resource::Nofile);
        told(
            "the limit of open files stays low",
            setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }),
        );
    }
}

/// Where a file meets the limit of its size (`ulimit -f`), the write fails and says so; without this the process would end.
/// Wants a runtime.
pub fn outlive_file_size_limit() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        if let Err(error) = signal(too_large) {
            tracing::warn!("a limit on the size of files would end this process: {error}");
        }
    }
}

/// Asks another process of ours to end, as the one who stops us would.
pub fn ask_to_end(pid: u32) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // One that has ended by itself needs no asking.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }
    #[cfg(not(unix))]
    let _ = pid;
}

#[cfg(unix)]
fn told(consequence: &str, result: rustix::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("{consequence}: {error}");
    }
}
