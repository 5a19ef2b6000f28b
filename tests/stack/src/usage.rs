//! What a process takes of the machine, by Linux: <https://docs.kernel.org/filesystems/proc.html>.

use std::io;
use std::time::Duration;

/// Clock ticks per second in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Linux has for servers.
const TICKS_PER_S: u64 = 100;

/// Memory and processor time of one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident now, MiB.
    pub resident_mib: f64,
    /// The most resident since the process began, MiB.
    pub resident_most_mib: f64,
    /// User and system time of all threads since the process began, in steps of 10 ms.
    pub cpu: Duration,
}

impl Usage {
    /// Of the process `pid`.
    ///
    /// # Errors
    /// There is no such process, or it has ended and was not waited for.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let all = (
            field_mib(&status, "VmRSS:"),
            field_mib(&status, "VmHWM:"),
            cpu(&stat),
        );
        match all {
            (Some(resident_mib), Some(resident_most_mib), Some(cpu)) => Ok(Self {
                resident_mib,
                resident_most_mib,
                cpu,
            }),
            _ => Err(io::Error::other(format!(
                "/proc/{pid} does not say what the process takes: has it ended?"
            ))),
        }
    }
}

fn field_mib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Fields 14 and 15; the second field, the name, may hold spaces and parentheses.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11);
    let ticks = times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_S))
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
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 9 9 20 0 1 0 100 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_takes_some() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_mib > 0.5 && usage.resident_most_mib >= usage.resident_mib);
    }

    #[test]
    fn a_process_that_is_none_is_an_error() {
        assert!(Usage::of(u32::MAX).is_err());
    }
}
