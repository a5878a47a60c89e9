//! What `[tables]` sizes: how much every table holds, and what is said when
//! something does not fit.

use lb_common::{
    abi::half_open,
    limits::{self, listener_rows, nat_port_rows, table_rows, vip_entries},
    maglev,
};

/// Sizes of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSizes {
    pub load_balancers: u32,
    /// Over all load balancers.
    pub backends: u32,
    /// Over all load balancers.
    pub listeners: u32,
    /// Established flows, per address family; a nat flow takes two.
    pub flows: u32,
    /// Half-open flows, per address family; a nat flow takes two. The table begins
    /// to evict when it is half full, see [`lb_common::abi::half_open`].
    pub half_open: u32,
    /// Slots of a Maglev table: a prime of at most [`maglev::MAX_SLOTS`].
    pub maglev: u32,
}

impl Default for TableSizes {
    fn default() -> Self {
        Self {
            load_balancers: limits::LOAD_BALANCERS,
            backends: limits::BACKENDS,
            listeners: limits::LISTENERS,
            flows: limits::FLOWS,
            half_open: limits::HALF_OPEN,
            maglev: maglev::MAX_SLOTS as u32,
        }
    }
}

impl TableSizes {
    /// There is no room for one more.
    #[must_use]
    pub fn full(&self, what: Counted) -> Full {
        let limit = self.limit(what);
        Full {
            what,
            limit,
            needed: limit + 1,
        }
    }

    /// How many of them there may be.
    #[must_use]
    pub fn limit(&self, what: Counted) -> u32 {
        match what {
            Counted::LoadBalancers => self.load_balancers,
            Counted::Backends => self.backends,
            Counted::Listeners => self.listeners,
        }
    }

    /// Every map whose size is configured, with its entries.
    #[must_use]
    pub fn by_map(&self) -> [(&'static str, u32); 15] {
        let buckets = half_open::buckets(self.half_open);
        let rows = listener_rows(self.listeners);
        let vips = vip_entries(self.listeners);
        [
            ("FLOWS_V4", self.flows),
            ("FLOWS_V6", self.flows),
            ("HALF_V4", buckets),
            ("HALF_V6", buckets),
            ("NAT_PORTS", nat_port_rows(self.flows)),
            ("VIPS_V4", vips),
            ("VIPS_V6", vips),
            ("LISTENERS_V4", rows),
            ("LISTENERS_V6", rows),
            ("LBS", self.load_balancers),
            ("TABLES", table_rows(self.load_balancers)),
            ("TABLE_MARKS", self.load_balancers),
            ("BACKENDS", self.backends),
            ("BACKEND_COUNTERS", self.backends),
            ("CLOSED_BY_AGENT", self.backends),
        ]
    }
}

/// What there can only be so many of, whoever asks for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    LoadBalancers,
    Backends,
    Listeners,
}

impl Counted {
    pub const ALL: [Self; 3] = [Self::LoadBalancers, Self::Backends, Self::Listeners];

    /// The key of `[tables]` that says how many.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::LoadBalancers => "load_balancers",
            Self::Backends => "backends",
            Self::Listeners => "listeners",
        }
    }

    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancers => "load balancers",
            Self::Backends => "backends",
            Self::Listeners => "listeners",
        }
    }
}

/// Something does not fit; nothing of it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is room for {limit} {}, not for {needed}: [tables] {} says so",
    what.name(), what.key()
)]
pub struct Full {
    pub what: Counted,
    pub limit: u32,
    /// At least.
    pub needed: u32,
}

impl Full {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let key = self.what.key();
        if self.limit >= limits::MOST_INDICES {
            let name = self.what.name();
            return format!("no ebb can have more {name} than that; delete some first");
        }
        let leaving = match self.what {
            Counted::LoadBalancers => "",
            Counted::Backends => {
                "; those that have left still count until the last entry of their flows is gone"
            }
            Counted::Listeners => "; removed ones still count while many of their flows are open",
        };
        format!(
            "raise `{key}` under [tables] in the agent's configuration, up to {}, and restart it{leaving}",
            limits::MOST_INDICES
        )
    }
}

/// How much of a table is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub what: Counted,
    pub used: u32,
    pub limit: u32,
}

impl Room {
    /// # Errors
    /// When more is taken than there is room for.
    pub fn check(&self) -> Result<(), Full> {
        let Self { what, used, limit } = *self;
        if used <= limit {
            Ok(())
        } else {
            Err(Full {
                what,
                limit,
                needed: used,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_setting_and_the_hint_says_how_far_it_goes() {
        let full = Full {
            what: Counted::LoadBalancers,
            limit: 1024,
            needed: 1025,
        };
        assert_eq!(
            full.to_string(),
            "there is room for 1024 load balancers, not for 1025: [tables] load_balancers says so"
        );
        assert!(full.hint().contains("up to 65535"), "{}", full.hint());
        let most = Full {
            what: Counted::Backends,
            limit: limits::MOST_INDICES,
            needed: limits::MOST_INDICES + 1,
        };
        assert!(
            most.hint()
                .contains("no ebb can have more backends than that")
        );
    }

    #[test]
    fn the_last_that_fits_fits() {
        let room = |used| Room {
            what: Counted::Backends,
            used,
            limit: 16_384,
        };
        assert_eq!(room(16_384).check(), Ok(()));
        assert!(room(16_385).check().is_err());
    }
}
