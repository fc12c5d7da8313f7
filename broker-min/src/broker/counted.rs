//! What each address did in the last hour.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::proxied::counted;

/// An hour, in ms.
const HOUR: u64 = 3_600_000;
/// Addresses that are remembered at most.
const ADDRESSES: usize = 65_536;

/// Per address: since when (ms, monotonic), and how often.
#[derive(Debug, Default)]
pub(crate) struct PerAddress(Mutex<HashMap<IpAddr, (u64, u32)>>);

impl PerAddress {
    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, (u64, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ms until the hour of an address that did it `most` times is over; none if it did less.
    pub(crate) fn spent(&self, address: IpAddr, now: u64, most: u32) -> Option<u64> {
        let table = self.table();
        let (since, count) = table.get(&counted(address)).copied()?;
        let over = since.saturating_add(HOUR);
        (count >= most && now < over).then(|| over - now)
    }

    /// Counts one more. If there are very many addresses, a new one is not counted until others
    /// are forgotten: what is bounded here costs little, memory without end would cost all.
    pub(crate) fn count(&self, address: IpAddr, now: u64) {
        let mut table = self.table();
        if table.len() >= ADDRESSES {
            table.retain(|_, (since, _)| now.saturating_sub(*since) < HOUR);
            if table.len() >= ADDRESSES {
                return;
            }
        }
        let (since, count) = table.entry(counted(address)).or_insert((now, 0));
        if now.saturating_sub(*since) >= HOUR {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_an_hour_and_a_network_is_one_address() {
        let counts = PerAddress::default();
        let ip = |text: &str| text.parse().unwrap();
        for n in 0..3 {
            assert_eq!(counts.spent(ip("2001:db8::1"), n, 3), None);
            counts.count(ip("2001:db8::1"), n);
        }
        assert_eq!(counts.spent(ip("2001:db8::2"), 10, 3), Some(HOUR - 10));
        assert_eq!(counts.spent(ip("2001:db8:0:1::2"), 10, 3), None);
        assert_eq!(counts.spent(ip("2001:db8::1"), HOUR, 3), None);
        counts.count(ip("2001:db8::1"), HOUR);
        assert_eq!(counts.spent(ip("2001:db8::1"), HOUR, 3), None);
    }
}
