//! `DescribeAccountLimits`, and lists that are answered in pages.

use super::action::Action;
use crate::{
    api::elb::{desk::Desk, errors::Refusal, form::Params, xml::Xml},
    model::{Counted, Room},
};

const PAGE_MOST: usize = 400;

/// Which part of a list was asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// The name to begin with: what the page before gave as its `NextMarker`.
    marker: Option<String>,
    size: usize,
}

impl Page {
    pub(super) fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            // A client's way to say that there is none.
            marker: params.text("Marker")?.filter(|marker| !marker.is_empty()),
            size: params
                .number("PageSize", 1..=PAGE_MOST)?
                .unwrap_or(PAGE_MOST),
        })
    }

    /// The page, and the name that the next one begins with. `items` are
    /// sorted by name.
    pub(super) fn of<T>(
        &self,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Option<String>) {
        let mut page: Vec<T> = items
            .into_iter()
            .skip_while(|item| self.marker.as_deref().is_some_and(|from| name(item) < from))
            .take(self.size + 1)
            .collect();
        let more = (page.len() > self.size).then(|| page.pop()).flatten();
        let next = more.map(|item| name(&item).to_owned());
        (page, next)
    }
}

#[derive(Debug)]
pub(super) struct Describe {
    page: Page,
}

impl Action for Describe {
    const NAME: &'static str = "DescribeAccountLimits";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            page: Page::read(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let mut limits = desk.control.room().await?.map(quota).to_vec();
        limits.sort_unstable();
        let (limits, next) = self.page.of(limits, |(name, _)| name);
        let mut xml = Xml::default();
        xml.list("Limits", limits, |xml, (name, max)| {
            xml.text("Name", name).text("Max", max);
        });
        if let Some(next) = next {
            xml.text("NextMarker", next);
        }
        Ok(xml)
    }
}

/// As the Classic ELB names it. There each load balancer has so many listeners
/// and instances; here it may have all that there are.
fn quota(room: Room) -> (&'static str, u32) {
    let name = match room.what {
        Counted::LoadBalancers => "classic-load-balancers",
        Counted::Backends => "classic-registered-instances",
        Counted::Listeners => "classic-listeners",
    };
    (name, room.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let names = || vec!["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut marker = None;
        loop {
            let page = Page { marker, size: 2 };
            let (items, next) = page.of(names(), |name| name);
            assert!(items.len() <= 2);
            seen.extend(items);
            match next {
                Some(next) => marker = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, names());
        // One that is gone meanwhile is skipped.
        let page = Page {
            marker: Some("bb".to_owned()),
            size: 400,
        };
        assert_eq!(page.of(names(), |name| name), (vec!["c", "d", "e"], None));
    }
}
