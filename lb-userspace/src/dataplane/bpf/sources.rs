//! The addresses that ebb translates to where no pool is configured, by the
//! backends that are reached through them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::model::BackendIndex;

#[derive(Default)]
pub(super) struct NatSources {
    of: BTreeMap<BackendIndex, IpAddr>,
    users: BTreeMap<IpAddr, usize>,
}

impl NatSources {
    /// The backend needs this one from now on, or none.
    pub(super) fn set(&mut self, backend: BackendIndex, source: Option<IpAddr>) {
        let before = match source {
            Some(source) => self.of.insert(backend, source),
            None => self.of.remove(&backend),
        };
        if let Some(source) = source {
            *self.users.entry(source).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(users) = self.users.get_mut(&before)
        {
            *users -= 1;
            if *users == 0 {
                self.users.remove(&before);
            }
        }
    }

    pub(super) fn all(&self) -> BTreeSet<IpAddr> {
        self.users.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_needed_until_its_last_backend_goes() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut sources = NatSources::default();
        sources.set(1, Some(a));
        sources.set(2, Some(a));
        sources.set(2, Some(a));
        sources.set(2, Some(b));
        assert_eq!(sources.all(), [a, b].into());
        sources.set(1, None);
        sources.set(1, None);
        assert_eq!(sources.all(), [b].into());
    }
}
