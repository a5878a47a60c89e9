//! Many who read all there is, again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lb_userspace::control::handle::{Message, Request};

use crate::rig::{Door, Over, Rig};

/// What a page of some thousand backends takes control.
const DEAR: Duration = Duration::from_millis(150);

#[test]
fn scrapers_in_a_loop_do_not_hold_an_operator_up() {
    let pages = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&pages);
    let rig = Rig::spied(move |message| {
        let Message::Request { request, .. } = message else {
            return;
        };
        if matches!(**request, Request::Measure(_)) {
            made.fetch_add(1, Ordering::Relaxed);
            thread::sleep(DEAR);
        }
    });
    let over = Over::default();
    let scraped = AtomicUsize::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        let _ends = over.with_this();
        for _ in 0..16 {
            scope.spawn(|| {
                while !over.is() {
                    rig.assert_open(Door::Metrics);
                    scraped.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..20 {
            let asked = Instant::now();
            rig.assert_open(Door::Admin);
            let took = asked.elapsed();
            assert!(took < Duration::from_secs(1), "it took {took:?}");
            thread::sleep(Duration::from_millis(100));
        }
    });
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let (pages, scraped) = (pages.load(Ordering::Relaxed), scraped.into_inner());
    assert!(pages <= seconds + 2, "{pages} pages in {seconds} s");
    assert!(scraped > 4 * pages, "{scraped} scrapes of {pages} pages");
}
