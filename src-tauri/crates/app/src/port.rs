//! Who listens on a port that we wanted.

use std::net::SocketAddr;

/// `nginx (pid 812)`, where the system tells.
#[cfg(target_os = "linux")]
pub fn holder(address: SocketAddr) -> Option<String> {
    let inode = listening_inode(address.port())?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.into_iter().find(|pid| has_open(*pid, &wanted))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim().escape_default()))
}

#[cfg(not(target_os = "linux"))]
pub fn holder(_address: SocketAddr) -> Option<String> {
    None
}

/// The kernel's table: `sl local_address rem_address st … inode`, addresses and state in hexadecimal.
#[cfg(target_os = "linux")]
fn listening_inode(port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let suffix = format!(":{port:04X}");
    let found = tables.iter().flat_map(|table| table.lines()).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&LISTEN) && fields.get(1).is_some_and(|local| local.ends_with(&suffix));
        listens.then(|| fields.get(9).copied()).flatten()
    });
    found.map(str::to_owned)
}

#[cfg(target_os = "linux")]
fn has_open(pid: u32, wanted: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(Result::ok)
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found_by_name_and_pid() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let holder = holder(address).expect("found");
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
