//! What a process takes of the machine's memory, by Linux: <https://docs.kernel.org/filesystems/proc.html>.

use anyhow::Context as _;

/// Resident memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Resident {
    /// Now.
    pub(crate) now_mib: f64,
    /// The most since the process began.
    pub(crate) most_mib: f64,
}

/// Of the process `pid`.
pub(crate) fn resident(pid: u32) -> anyhow::Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let now_mib = field_mib(&status, "VmRSS:");
    let most_mib = field_mib(&status, "VmHWM:");
    match (now_mib, most_mib) {
        (Some(now_mib), Some(most_mib)) => Ok(Resident { now_mib, most_mib }),
        _ => anyhow::bail!("{path} does not say how much memory is resident: has it ended?"),
    }
}

fn field_mib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kib_become_mib() {
        let status = "Name:\tx\nVmHWM:\t    3072 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(field_mib(status, "VmRSS:"), Some(2.0));
        assert_eq!(field_mib(status, "VmHWM:"), Some(3.0));
        assert_eq!(field_mib(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_takes_some() {
        let resident = resident(std::process::id()).unwrap();
        assert!(resident.now_mib > 0.5 && resident.most_mib >= resident.now_mib);
    }
}
