//! Who gets a place, and who makes room.

use std::time::Duration;

use super::*;

const LIMITS: Limits = Limits {
    connections: 8,
    kept: 2,
};

fn stranger(n: u32) -> Party {
    Party::User(1000 + n)
}

fn root() -> Party {
    Party::user(0)
}

fn was_asked_to_leave(seat: &Seat) -> bool {
    use futures_util::FutureExt as _;
    seat.is_needed().now_or_never().is_some()
}

/// So that no two connections are equally idle.
async fn later() {
    tokio::time::advance(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_party_has_half_of_the_places_and_its_idlest_makes_room() {
    let seats = Seats::new(LIMITS);
    let mut mine = Vec::new();
    for _ in 0..4 {
        mine.push(seats.take(stranger(1)).unwrap());
        later().await;
    }
    mine[0].waits();
    mine.push(seats.take(stranger(1)).unwrap());
    // The first has just asked something; the second has not.
    assert!(was_asked_to_leave(&mine[1]));
    assert!(!was_asked_to_leave(&mine[0]));
    for seat in &mine {
        seat.works();
    }
    let share = NoPlace::Share {
        party: stranger(1),
        share: 4,
    };
    assert_eq!(seats.take(stranger(1)).unwrap_err(), share);
    // The others have theirs.
    let other = seats.take(stranger(2)).unwrap();
    assert!(!was_asked_to_leave(&other));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_most_makes_room_for_whoever_has_less() {
    let seats = Seats::new(LIMITS);
    let lone = seats.take(stranger(1)).unwrap();
    later().await;
    let mut many = Vec::new();
    for n in 0..5 {
        many.push(seats.take(stranger(2 + n / 3)).unwrap());
        later().await;
    }
    // Six are for strangers, and all are taken. The idlest of all is not asked,
    // for it is alone.
    let newcomer = seats.take(stranger(9)).unwrap();
    assert!(was_asked_to_leave(&many[0]));
    assert!(!was_asked_to_leave(&lone) && !was_asked_to_leave(&newcomer));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_is_not_asked_to_leave() {
    let seats = Seats::new(LIMITS);
    let working: Vec<Seat> = (0..6).map(|n| seats.take(stranger(n)).unwrap()).collect();
    working.iter().for_each(Seat::works);
    let full = NoPlace::Door { connections: 8 };
    assert_eq!(seats.take(stranger(9)).unwrap_err(), full);
    drop(working);
    seats.take(stranger(9)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn places_are_kept_for_operators() {
    let seats = Seats::new(LIMITS);
    let strangers: Vec<Seat> = (0..6).map(|n| seats.take(stranger(n)).unwrap()).collect();
    strangers.iter().for_each(Seat::works);
    let operators: Vec<Seat> = (0..2).map(|_| seats.take(root()).unwrap()).collect();
    // A stranger makes room for an operator, and no operator for a stranger.
    operators.iter().for_each(Seat::waits);
    seats.take(stranger(9)).unwrap_err();
    operators.iter().for_each(Seat::works);
    strangers[3].waits();
    seats.take(root()).unwrap();
    assert!(was_asked_to_leave(&strangers[3]));
}

#[tokio::test(start_paused = true)]
async fn streams_leave_room_for_requests() {
    let seats = Seats::new(LIMITS);
    let sit = |party| {
        let seat = seats.take(party).unwrap();
        seat.works();
        seat
    };
    let first = [sit(stranger(1)), sit(stranger(1)), sit(stranger(1))];
    assert_eq!(first[0].streams(), Ok(()));
    assert_eq!(first[1].streams(), Ok(()));
    let share = NoPlace::ShareOfStreams {
        party: stranger(1),
        share: 2,
    };
    assert_eq!(first[2].streams(), Err(share));
    let second = [sit(root()), sit(root()), sit(root())];
    assert_eq!(second[0].streams(), Ok(()));
    assert_eq!(second[1].streams(), Ok(()));
    assert_eq!(second[2].streams(), Err(NoPlace::Streams { streams: 4 }));
    drop(first);
    assert_eq!(second[2].streams(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_with_the_last_clone() {
    let seats = Seats::new(LIMITS);
    let seat = seats.take(root()).unwrap();
    let request = seat.clone();
    drop(seat);
    assert_eq!(seats.lock().by.len(), 1);
    drop(request);
    assert_eq!(seats.lock().by.len(), 0);
}
