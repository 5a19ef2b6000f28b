//! Free ports that stay ours.
//!
//! Not `bind(0)`: that gives ports of the ephemeral range, where, between a kill and a restart, any outgoing connection
//! can take the port; a client that keeps dialling the dead broker can even connect to itself there, and hold the port
//! against the restart. So ports come from below that range, and each is leased by a file lock for the stack's lifetime,
//! so that two stacks never choose the same one.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::StackError;
use crate::paths::stack_dir;

/// Linux hands out 32768 and above by default (`net.ipv4.ip_local_port_range`).
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// A port that no other stack takes while this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Released by closing. None for a port that the caller fixed.
    _lease: Option<File>,
}

impl Port {
    /// A port of the caller's choice.
    pub(crate) fn fixed(number: u16) -> Self {
        Self {
            number,
            _lease: None,
        }
    }

    /// The port.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Leases a free port; where the search begins is random.
    ///
    /// # Errors
    /// No file for the lease can be made, or every port is taken.
    pub fn free() -> Result<Self, StackError> {
        let dir = stack_dir().join("ports");
        std::fs::create_dir_all(&dir)
            .map_err(StackError::io(|| format!("create {}", dir.display())))?;
        let span = u64::from(LAST - FIRST) + 1;
        let start = RandomState::new().build_hasher().finish() % span;
        for step in 0..span {
            let number = FIRST + u16::try_from((start + step) % span).unwrap_or(0);
            let path = dir.join(number.to_string());
            let lease = File::create(&path)
                .map_err(StackError::io(|| format!("create {}", path.display())))?;
            if lease.try_lock().is_ok() && is_free(number) {
                return Ok(Self {
                    number,
                    _lease: Some(lease),
                });
            }
        }
        Err(StackError::NoFreePort {
            first: FIRST,
            last: LAST,
        })
    }
}

/// Nobody listens there: neither on loopback nor on all interfaces (DynamoDB Local wants all).
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_free_and_below_the_ephemeral_range() {
        let ports: Vec<Port> = (0..20).map(|_| Port::free().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
        assert!(
            numbers
                .iter()
                .all(|number| (FIRST..=LAST).contains(number) && is_free(*number))
        );
    }

    #[test]
    fn a_listener_makes_its_port_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
