//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::StackError;

/// A node of a Redis Cluster also listens this far above its port.
const BUS_OFFSET: u16 = 10_000;
const FIRST: u16 = 10_240;
const TRIES_MAX: usize = 1_000;

/// Ports chosen for a stack, held until this is dropped, just before the servers take them.
///
/// They lie below the range from which the kernel gives ports to outgoing connections. Otherwise, while a server is
/// down, a client that tries to reach it again and again could be given the server's own port and connect to itself,
/// and the server could not come back.
#[derive(Default)]
pub(crate) struct Ports {
    held: Vec<TcpListener>,
}

impl Ports {
    /// A port that is free.
    pub(crate) fn take(&mut self) -> Result<u16, StackError> {
        self.search(|port| Some(vec![hold(port)?]))
    }

    /// A port that is free, and so is the cluster bus port that belongs to it.
    pub(crate) fn take_with_bus(&mut self) -> Result<u16, StackError> {
        self.search(|port| Some(vec![hold(port)?, hold(port + BUS_OFFSET)?]))
    }

    fn search(&mut self, hold: impl Fn(u16) -> Option<Vec<TcpListener>>) -> Result<u16, StackError> {
        let end = end(first_ephemeral());
        for _ in 0..TRIES_MAX {
            let port = fastrand::u16(FIRST..end);
            if let Some(listeners) = hold(port) {
                self.held.extend(listeners);
                return Ok(port);
            }
        }
        Err(StackError::NoPort { first: FIRST })
    }
}

fn hold(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

/// The end of the range to choose from, so that bus ports too stay below the ephemeral ones where that leaves room.
fn end(first_ephemeral: u16) -> u16 {
    match first_ephemeral.saturating_sub(BUS_OFFSET) {
        end if end >= FIRST + BUS_OFFSET => end,
        _ => u16::MAX - BUS_OFFSET,
    }
}

fn first_ephemeral() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|text| text.parse().ok());
    first.unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ_and_leave_room_for_the_bus() {
        let mut ports = Ports::default();
        let taken: BTreeSet<_> = (0..40)
            .map(|n| if n % 2 == 0 { ports.take() } else { ports.take_with_bus() })
            .map(|port| port.expect("a free port"))
            .collect();
        assert_eq!(taken.len(), 40);
        assert!(taken.iter().all(|port| port.checked_add(BUS_OFFSET).is_some()));
    }

    #[test]
    fn the_range_ends_below_the_ephemeral_ports_where_it_can() {
        assert_eq!(end(32_768), 22_768);
        assert_eq!(end(1_024), 55_535);
    }
}
