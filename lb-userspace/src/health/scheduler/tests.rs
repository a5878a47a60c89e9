//! The scheduler on a clock that jumps, with backends that play a part.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
};

use super::*;
use crate::{
    control::{self, handle},
    model::{BackendId, LbName},
    wire,
};

/// Enough for every test that is not about them.
const PLACES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// What a check of the player's finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finds {
    Good,
    Bad,
    /// The agent could not check.
    Nothing,
}

/// Plays all backends.
#[derive(Debug, Clone, Default)]
struct Player(Arc<Mutex<Play>>);

#[derive(Debug, Default)]
struct Play {
    /// What the next checks find; then `always`.
    next: VecDeque<Finds>,
    always: Option<Finds>,
    takes: Duration,
    /// Those that hang: a check of theirs takes a minute, and fails.
    hung: BTreeSet<IpAddr>,
    /// When checks began and ended, of whom.
    checks: Vec<(IpAddr, Instant, Instant)>,
    under_way: BTreeSet<IpAddr>,
    most_under_way: usize,
    targets: Vec<String>,
}

impl Player {
    fn new(always: Finds) -> Self {
        let player = Self::default();
        player.lock().always = Some(always);
        player
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Play> {
        self.0.lock().unwrap()
    }

    fn checks(&self) -> usize {
        self.lock().checks.len()
    }
}

impl Probe for Player {
    async fn probe(&self, address: IpAddr, check: &HealthCheck) -> Result<(), Failure> {
        let begun = Instant::now();
        let takes = {
            let mut play = self.lock();
            assert!(play.under_way.insert(address), "{address} twice at once");
            play.most_under_way = play.most_under_way.max(play.under_way.len());
            play.targets.push(check.target().to_string());
            if play.hung.contains(&address) {
                MINUTE
            } else {
                play.takes
            }
        };
        tokio::time::sleep(takes).await;
        let mut play = self.lock();
        play.under_way.remove(&address);
        play.checks.push((address, begun, Instant::now()));
        if play.hung.contains(&address) {
            return Err(Failure::Status { status: 503 });
        }
        match play.next.pop_front().or(play.always).unwrap() {
            Finds::Good => Ok(()),
            Finds::Bad => Err(Failure::Status { status: 503 }),
            Finds::Nothing => Err(Failure::Ours {
                why: "out of everything".to_owned(),
            }),
        }
    }
}

/// What control was told, by whom, and when.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<(String, HealthReport)>>>);

impl Told {
    fn all(&self) -> Vec<(String, HealthReport)> {
        self.0.lock().unwrap().clone()
    }

    fn verdicts(&self) -> Vec<bool> {
        self.all()
            .iter()
            .map(|(_, report)| *report == HealthReport::Healthy)
            .collect()
    }
}

/// A scheduler, and everything around it.
struct Stage {
    roster: watch::Sender<Arc<Roster>>,
    player: Player,
    told: Told,
    board: Board,
    /// How many reports control still refuses.
    refuses: Arc<Mutex<u32>>,
}

impl Stage {
    fn new(player: Player) -> Self {
        Self::with_places(player, PLACES)
    }

    fn with_places(player: Player, under_way: NonZeroUsize) -> Self {
        let (control, inbox) = control::channel();
        let (roster, wanted) = watch::channel(Arc::new(Roster::default()));
        let stage = Self {
            roster,
            player,
            told: Told::default(),
            board: Board::default(),
            refuses: Arc::default(),
        };
        let (told, refuses) = (stage.told.clone(), Arc::clone(&stage.refuses));
        tokio::spawn(async move {
            loop {
                while let Ok(message) = inbox.messages.try_recv() {
                    answer(message, &told, &refuses);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        tokio::spawn(run(
            wanted,
            control,
            stage.board.clone(),
            stage.player.clone(),
            under_way,
        ));
        stage
    }

    fn want(&self, backends: impl IntoIterator<Item = (u16, Subject)>) {
        let roster = backends
            .into_iter()
            .map(|(number, subject)| (key(number), subject))
            .collect();
        self.roster.send_replace(Arc::new(roster));
    }

    /// Lets time go by until `done`.
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(3600);
        while !done(self) {
            assert!(Instant::now() < deadline, "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn answer(message: handle::Message, told: &Told, refuses: &Mutex<u32>) {
    let handle::Message::Request { request, .. } = message else {
        panic!("not a request: {message:?}");
    };
    let handle::Request::ReportHealth(handle::Report {
        id, report, reply, ..
    }) = *request
    else {
        panic!("not a report");
    };
    told.0.lock().unwrap().push((id, report));
    let mut refuses = refuses.lock().unwrap();
    let answer = if *refuses > 0 {
        *refuses -= 1;
        Err(control::Error::Stopping)
    } else {
        Ok(())
    };
    reply.send(answer).unwrap();
}

fn key(number: u16) -> Key {
    key_of("web", number)
}

fn key_of(lb: &str, number: u16) -> Key {
    Key {
        lb: LbName::try_from(lb.to_owned()).unwrap(),
        backend: BackendId::try_from(format!("b{number}")).unwrap(),
    }
}

fn check(target: &str, interval: u32) -> Arc<HealthCheck> {
    let check = wire::HealthCheck {
        interval,
        unhealthy_threshold: 2,
        healthy_threshold: 3,
        ..wire::HealthCheck::new(target.to_owned())
    };
    Arc::new(HealthCheck::try_from(check).unwrap())
}

fn subject(number: u16, standing: Standing) -> Subject {
    let [high, low] = number.to_be_bytes();
    Subject {
        address: Ipv4Addr::new(10, 0, high, low).into(),
        check: check("TCP:80", 5),
        standing,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_new_backend_that_passes_is_reported_at_once_and_only_once() {
    let stage = Stage::new(Player::new(Finds::Good));
    let begun = Instant::now();
    stage.want([(1, subject(1, Standing::New))]);
    stage
        .until("a report", |stage| !stage.told.all().is_empty())
        .await;
    assert!(begun.elapsed() < Duration::from_millis(100));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(stage.told.all(), [("b1".to_owned(), HealthReport::Healthy)]);
    assert!(stage.player.checks() > 10);
}

#[tokio::test(start_paused = true)]
async fn failures_and_passes_are_reported_by_the_thresholds_with_the_reason() {
    let player = Player::new(Finds::Good);
    player.lock().next = [
        Finds::Good,
        Finds::Bad,
        Finds::Good,
        Finds::Bad,
        Finds::Bad,
        Finds::Good,
        Finds::Bad,
        Finds::Good,
        Finds::Good,
    ]
    .into();
    let stage = Stage::new(player);
    stage.want([(1, subject(1, Standing::New))]);
    stage
        .until("nine checks", |stage| stage.player.checks() == 9)
        .await;
    assert_eq!(
        stage
            .told
            .all()
            .into_iter()
            .map(|(_, report)| report)
            .collect::<Vec<_>>(),
        [
            HealthReport::Healthy,
            HealthReport::Unhealthy(
                "TCP:80 failed 2 times in a row: the answer was 503; only 200 passes".to_owned()
            ),
        ]
    );
    stage
        .until("the tenth check", |stage| stage.player.checks() == 10)
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stage.told.verdicts(), [true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_before_found_out_is_not_reported_again() {
    let stage = Stage::new(Player::new(Finds::Good));
    stage.want([
        (1, subject(1, Standing::Healthy)),
        (2, subject(2, Standing::Unhealthy)),
    ]);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(stage.told.all(), [("b2".to_owned(), HealthReport::Healthy)]);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_control_refuses_is_made_again_after_the_next_check() {
    let stage = Stage::new(Player::new(Finds::Good));
    *stage.refuses.lock().unwrap() = 2;
    stage.want([(1, subject(1, Standing::New))]);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(stage.told.verdicts(), [true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_check_changes_nothing() {
    let player = Player::new(Finds::Nothing);
    player.lock().next = [Finds::Good, Finds::Bad].into();
    let stage = Stage::new(player);
    stage.want([(1, subject(1, Standing::New))]);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(stage.told.verdicts(), [true]);
    let last = stage.board.last("web", "b1").unwrap();
    assert_eq!(
        last.failure.as_deref(),
        Some("the agent could not check: out of everything")
    );
    // It failed once before; once more is enough.
    stage.player.lock().always = Some(Finds::Bad);
    stage
        .until("the report", |stage| stage.told.all().len() == 2)
        .await;
    assert_eq!(stage.told.verdicts(), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn checks_of_one_backend_come_at_the_interval_and_never_overlap() {
    let player = Player::new(Finds::Good);
    player.lock().takes = Duration::from_secs(1);
    let stage = Stage::new(player);
    stage.want([(1, subject(1, Standing::New))]);
    stage
        .until("fifty checks", |stage| stage.player.checks() == 50)
        .await;
    // The player panics when it is asked twice at once.
    let play = stage.player.lock();
    let gaps: Vec<Duration> = play
        .checks
        .windows(2)
        .map(|two| two[1].1 - two[0].1)
        .collect();
    for gap in &gaps {
        let seconds = gap.as_secs_f64();
        assert!((4.4..=5.6).contains(&seconds), "{seconds} s");
    }
    let distinct: BTreeSet<u128> = gaps.iter().map(Duration::as_millis).collect();
    assert!(distinct.len() > 10, "no jitter: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_outlasts_its_interval_is_followed_by_the_next_at_once() {
    let player = Player::new(Finds::Good);
    player.lock().takes = Duration::from_secs(8);
    let stage = Stage::new(player);
    stage.want([(1, subject(1, Standing::New))]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let checks = stage.player.checks();
    assert!((11..=12).contains(&checks), "{checks}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_backends_are_spread_and_bounded() {
    let player = Player::new(Finds::Good);
    player.lock().takes = Duration::from_millis(100);
    let places = NonZeroUsize::new(40).unwrap();
    let stage = Stage::with_places(player, places);
    let begun = Instant::now();
    stage.want((0..1000).map(|n| (n, subject(n, Standing::New))));
    tokio::time::sleep(MINUTE).await;
    let play = stage.player.lock();
    assert!(play.most_under_way <= 40, "{}", play.most_under_way);
    let in_first = |window| {
        play.checks
            .iter()
            .filter(|(_, at, _)| *at < begun + window)
            .count()
    };
    // 200 a second, give or take what chance does.
    let first_second = in_first(Duration::from_secs(1));
    assert!((120..=280).contains(&first_second), "{first_second}");
    assert!(in_first(Duration::from_millis(5500)) >= 1000);
    let all = play.checks.len();
    assert!((11_000..=13_500).contains(&all), "{all} checks in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_leaves_the_roster_is_left_in_peace() {
    let stage = Stage::new(Player::new(Finds::Good));
    stage.want([1, 2].map(|n| (n, subject(n, Standing::New))));
    stage
        .until("both reports", |stage| stage.told.all().len() == 2)
        .await;
    assert!(
        stage
            .board
            .last("web", "b1")
            .is_some_and(|last| last.passed())
    );

    stage.want([(2, subject(2, Standing::Healthy))]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = subject(1, Standing::New).address;
    let of_first = |stage: &Stage| {
        let play = stage.player.lock();
        play.checks.iter().filter(|(who, ..)| *who == first).count()
    };
    let before = of_first(&stage);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(of_first(&stage), before);
    assert_eq!(stage.board.last("web", "b1"), None);
    assert!(stage.board.last("web", "b2").is_some());
}

#[tokio::test(start_paused = true)]
async fn another_check_takes_over_where_the_one_before_stood() {
    let stage = Stage::new(Player::new(Finds::Good));
    stage.want([(1, subject(1, Standing::New))]);
    stage
        .until("the report", |stage| stage.told.all().len() == 1)
        .await;
    stage.player.lock().always = Some(Finds::Bad);
    stage.player.lock().targets.clear();
    let other = Subject {
        check: check("HTTP:80/ping", 30),
        ..subject(1, Standing::Healthy)
    };
    stage.want([(1, other)]);
    stage
        .until("the next report", |stage| stage.told.all().len() == 2)
        .await;
    assert_eq!(stage.player.lock().targets, ["HTTP:80/ping"; 2]);
    assert_eq!(stage.told.verdicts(), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_new_backend_under_an_old_name_begins_anew() {
    let stage = Stage::new(Player::new(Finds::Good));
    stage.want([(1, subject(1, Standing::New))]);
    stage
        .until("the report", |stage| stage.told.all().len() == 1)
        .await;
    stage.want([(1, subject(1, Standing::Healthy))]);
    tokio::time::sleep(MINUTE).await;
    stage.want([(1, subject(1, Standing::New))]);
    stage
        .until("the report of the new one", |stage| {
            stage.told.all().len() == 2
        })
        .await;
    assert_eq!(stage.told.verdicts(), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_rack_that_hangs_keeps_no_other_load_balancers_dead_backend_in_service() {
    const RACK: u16 = 3900;
    let player = Player::new(Finds::Bad);
    let rack = |number| Subject {
        check: check("TCP:80", 70),
        ..subject(number, Standing::Healthy)
    };
    let rack: Vec<_> = (1..=RACK).map(|n| (key_of("rack", n), rack(n))).collect();
    player.lock().hung = rack.iter().map(|(_, subject)| subject.address).collect();
    let stage = Stage::with_places(player, NonZeroUsize::new(1024).unwrap());
    stage
        .roster
        .send_replace(Arc::new(rack.iter().cloned().collect()));
    // Every place that the rack can have is taken, and all of them hang.
    tokio::time::sleep(2 * MINUTE).await;
    let under_way = stage.player.lock().under_way.len();
    assert_eq!(under_way, 512, "half of the places are everybody else's");
    let dead = (key_of("web", 0), subject(0, Standing::Healthy));
    let begun = Instant::now();
    let all = rack.into_iter().chain([dead]).collect();
    stage.roster.send_replace(Arc::new(all));
    stage
        .until("the dead backend to be reported", |stage| {
            stage.told.all().iter().any(|(id, _)| id == "b0")
        })
        .await;
    // Two failures, five seconds apart, give or take a tenth.
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_ends_when_nobody_writes_the_roster_any_more() {
    let (control, _inbox) = control::channel();
    let (roster, wanted) = watch::channel(Arc::new(Roster::default()));
    let player = Player::new(Finds::Good);
    let scheduler = tokio::spawn(run(
        wanted,
        control,
        Board::default(),
        player.clone(),
        PLACES,
    ));
    roster.send_replace(Arc::new(Roster::from_iter([(
        key(1),
        subject(1, Standing::Healthy),
    )])));
    tokio::time::sleep(MINUTE).await;
    drop(roster);
    scheduler.await.unwrap();
    let before = player.checks();
    assert!(before > 0);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(player.checks(), before);
}
