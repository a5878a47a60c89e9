//! Shares by themselves, and tasks that wait, are stopped, and come again.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn lb(name: &str) -> LbName {
    LbName::try_from(name.to_owned()).unwrap()
}

fn shares(all: usize) -> Shares<&'static str> {
    Shares::new(NonZeroUsize::new(all).unwrap())
}

/// As many places as it can get, at once.
fn grab(shares: &mut Shares<&'static str>, name: &str) -> usize {
    let mut held = 0;
    while shares.ask(&lb(name), "next").is_none() {
        held += 1;
    }
    held
}

#[test]
fn one_that_takes_all_it_can_get_leaves_half() {
    let mut shares = shares(1024);
    assert_eq!(grab(&mut shares, "hog"), 512);
    assert_eq!(shares.free, 512);
    assert_eq!(shares.ask(&lb("other"), "it"), None, "goes at once");
}

#[test]
fn many_that_take_all_they_can_get_leave_a_place_for_the_next() {
    let mut shares = shares(1024);
    for n in 0..9 {
        assert!(grab(&mut shares, &format!("hog-{n}")) > 0);
    }
    assert_eq!(shares.ask(&lb("other"), "it"), None, "goes at once");
}

#[test]
fn a_place_that_comes_back_goes_to_whoever_holds_the_fewest() {
    let mut shares = shares(4);
    assert_eq!(grab(&mut shares, "hog"), 2);
    assert_eq!(grab(&mut shares, "small"), 1);
    assert_eq!(shares.free, 1);
    assert_eq!(shares.next(), None, "neither may have the last one");
    shares.give_back(&lb("hog"));
    assert_eq!(shares.next(), Some((lb("hog"), "next")));
    shares.give_back(&lb("small"));
    assert_eq!(shares.next(), Some((lb("small"), "next")));
}

#[test]
fn who_gives_up_waits_no_more() {
    let mut shares = shares(2);
    assert_eq!(shares.ask(&lb("web"), "first"), None);
    let ticket = shares.ask(&lb("web"), "second").expect("waits");
    let _third = shares.ask(&lb("web"), "third").expect("waits");
    shares.give_up(&lb("web"), ticket);
    shares.give_back(&lb("web"));
    assert_eq!(shares.next(), Some((lb("web"), "third")));
    shares.give_back(&lb("web"));
    assert_eq!(shares.free, 2);
    assert!(shares.of.is_empty(), "nothing is kept of who is gone");
}

proptest! {
    /// Whatever comes and goes: no place is lost or made, and a load balancer
    /// that holds none waits only while none is free.
    #[test]
    fn places_are_neither_lost_nor_made_and_nobody_starves(
        all in 1_usize..40,
        steps in prop::collection::vec((0_usize..5, 0_u8..3), 1..300),
    ) {
        let mut shares: Shares<()> = Shares::new(NonZeroUsize::new(all).unwrap());
        let names: Vec<LbName> = (0..5).map(|n| lb(&format!("lb-{n}"))).collect();
        let mut held = [0_usize; 5];
        let mut tickets: Vec<(usize, u64)> = Vec::new();
        for (who, what) in steps {
            match what {
                0 => match shares.ask(&names[who], ()) {
                    None => held[who] += 1,
                    Some(ticket) => tickets.push((who, ticket)),
                },
                1 if held[who] > 0 => {
                    held[who] -= 1;
                    shares.give_back(&names[who]);
                }
                _ => {
                    if let Some((of, ticket)) = tickets.pop() {
                        shares.give_up(&names[of], ticket);
                    }
                }
            }
            while let Some((name, ())) = shares.next() {
                held[names.iter().position(|n| *n == name).unwrap()] += 1;
            }
            prop_assert_eq!(shares.free + held.iter().sum::<usize>(), all);
            for share in shares.of.values() {
                prop_assert!(share.queue.is_empty() || share.held > 0 || shares.free == 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_stopped_while_it_waits_leaves_its_turn_to_the_next() {
    let places = Places::new(NonZeroUsize::new(2).unwrap());
    let held = places.take(&lb("web")).await;
    let wait = |places: &Places| {
        let places = places.clone();
        tokio::spawn(async move { drop(places.take(&lb("web")).await) })
    };
    let stopped = wait(&places);
    let next = wait(&places);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!stopped.is_finished() && !next.is_finished());
    stopped.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(held);
    next.await.unwrap();
    let shares = places.shares();
    assert_eq!(shares.free, 2);
    assert!(shares.of.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_given_to_a_task_that_is_gone_comes_back() {
    let places = Places::new(NonZeroUsize::new(2).unwrap());
    let held = places.take(&lb("web")).await;
    let stopped = tokio::spawn({
        let places = places.clone();
        async move { drop(places.take(&lb("web")).await) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Given, and gone before it could look.
    drop(held);
    stopped.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(places.shares().free, 2);
}
