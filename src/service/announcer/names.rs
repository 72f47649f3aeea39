//! Names to addresses, by the system's resolver and remembered: one question for all who ask at
//! the same time, and no more for minutes, whatever comes. Shared by HTTP and UDP.

use super::limits::{ADDRESSES_MAX, LOOKUPS_MAX, NAME_AGE, NAME_FAILURE_AGE, NAMES_MAX};
use ringseed_sched::announce::Family;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Addresses of a name, or why there are none.
pub(super) type Addresses = Result<Arc<[IpAddr]>, Arc<str>>;

struct Known {
    addresses: Addresses,
    until: Instant,
}

/// One name. The lock is held while the question is asked, so that others wait for its answer.
type Name = Arc<tokio::sync::Mutex<Option<Known>>>;

/// The memory of names.
pub(super) struct Names {
    names: Mutex<BTreeMap<String, Name>>,
    permits: Semaphore,
    lookups: AtomicU64,
}

impl Names {
    pub(super) fn new() -> Names {
        Names {
            names: Mutex::default(),
            permits: Semaphore::new(LOOKUPS_MAX),
            lookups: AtomicU64::new(0),
        }
    }

    /// Questions asked so far.
    pub(super) fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// The addresses of `host` in one family; an address is its own. Empty: it has none of them.
    pub(super) async fn of_family(
        &self,
        host: &str,
        family: Family,
    ) -> Result<Vec<IpAddr>, Arc<str>> {
        let all = match host.parse::<IpAddr>() {
            Ok(address) => Arc::from([address]),
            Err(_) => self.addresses(host).await?,
        };
        let is_of_family = |address: &&IpAddr| address.is_ipv6() == (family == Family::V6);
        Ok(all.iter().filter(is_of_family).copied().collect())
    }

    async fn addresses(&self, host: &str) -> Addresses {
        let name = self.name(host);
        let mut known = name.lock().await;
        let now = Instant::now();
        if let Some(known) = known.as_ref().filter(|known| known.until > now) {
            return known.addresses.clone();
        }
        let mut fresh = Known { addresses: self.ask(host).await, until: now + NAME_AGE };
        if let Err(why) = &fresh.addresses {
            fresh.until = now + NAME_FAILURE_AGE;
            // An old address is better than none while the resolver is away.
            if let Some(Known { addresses: Ok(old), .. }) = known.as_ref() {
                fresh.addresses = Ok(Arc::clone(old));
            } else {
                fresh.addresses = Err(Arc::clone(why));
            }
        }
        known.insert(fresh).addresses.clone()
    }

    /// The place of a name, made if need be. Names nobody asks for make room.
    fn name(&self, host: &str) -> Name {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get(host) {
            return Arc::clone(name);
        }
        if names.len() >= NAMES_MAX {
            let now = Instant::now();
            names.retain(|_, name| match name.try_lock() {
                Ok(known) => known.as_ref().is_some_and(|known| known.until > now),
                Err(_) => true,
            });
            if names.len() >= NAMES_MAX {
                names.pop_first();
            }
        }
        Arc::clone(names.entry(host.to_owned()).or_default())
    }

    async fn ask(&self, host: &str) -> Addresses {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        self.lookups.fetch_add(1, Ordering::Relaxed);
        match tokio::net::lookup_host((host, 0)).await {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.map(|found| found.ip()).collect();
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                Ok(addresses.into())
            }
            Err(error) => Err(format!("cannot find the address of '{host}': {error}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(names: &Names, host: &str, addresses: Addresses, age_left: std::time::Duration) {
        let until = Instant::now() + age_left;
        *names.name(host).try_lock().unwrap() = Some(Known { addresses, until });
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_name_is_not_asked_again_until_it_is_old() {
        let names = Names::new();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        // `.invalid` never resolves: an answer can only come from memory.
        put(&names, "tracker.invalid", Ok(Arc::from([address])), NAME_AGE);
        let found = names.of_family("tracker.invalid", Family::V4).await.unwrap();
        assert_eq!(found, [address]);
        assert!(names.of_family("tracker.invalid", Family::V6).await.unwrap().is_empty());
        tokio::time::advance(NAME_AGE * 2).await;
        let found = names.of_family("tracker.invalid", Family::V4).await.unwrap();
        assert_eq!(found, [address], "the resolver fails: the old address serves on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_remembered_for_a_while() {
        let names = Names::new();
        let why = names.of_family("tracker.invalid", Family::V4).await.unwrap_err();
        assert!(why.contains("tracker.invalid"), "{why}");
        names.of_family("tracker.invalid", Family::V6).await.unwrap_err();
        assert_eq!(names.lookups(), 1);
        let known = names.name("tracker.invalid");
        let until = known.lock().await.as_ref().unwrap().until;
        assert_eq!(until, Instant::now() + NAME_FAILURE_AGE);
    }

    #[tokio::test]
    async fn a_hundred_who_ask_at_once_are_one_question() {
        let names = Arc::new(Names::new());
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let names = Arc::clone(&names);
            asking.spawn(async move { names.of_family("localhost", Family::V4).await });
        }
        while let Some(found) = asking.join_next().await {
            assert_eq!(found.unwrap().unwrap(), [IpAddr::from([127, 0, 0, 1])]);
        }
        assert_eq!(names.lookups(), 1);
    }

    #[tokio::test]
    async fn addresses_are_their_own_names() {
        let names = Names::new();
        for (host, family, count) in [
            ("127.0.0.1", Family::V4, 1),
            ("127.0.0.1", Family::V6, 0),
            ("::1", Family::V6, 1),
            ("::1", Family::V4, 0),
        ] {
            let found = names.of_family(host, family).await.unwrap();
            assert_eq!(found.len(), count, "{host} {family:?}");
        }
        assert!(names.names.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded() {
        let names = Names::new();
        for number in 0..NAMES_MAX + 10 {
            put(&names, &format!("{number}.invalid"), Err("none".into()), NAME_AGE);
        }
        assert_eq!(names.names.lock().unwrap().len(), NAMES_MAX);
        tokio::time::advance(NAME_AGE * 2).await;
        names.name("one.more.invalid");
        assert_eq!(names.names.lock().unwrap().len(), 1, "what is old makes room first");
    }
}
