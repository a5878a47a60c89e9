//! Hooks that work, that fail for a while, that hang and that are too slow.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::broadcast,
};

use super::*;
use crate::{config::HookDoes, control::HookTally, wire::What};

fn event(number: u64, what: What) -> Arc<Event> {
    Arc::new(Event {
        number,
        time: "2026-01-02T03:04:05Z".to_owned(),
        by: "agent".to_owned(),
        load_balancer: "web".to_owned(),
        backend: Some("web-1".to_owned()),
        what,
    })
}

fn hook(does: HookDoes) -> Hook {
    Hook {
        name: "test".to_owned(),
        events: BTreeSet::from(["in_service", "deregistered"]),
        load_balancer: None,
        does,
        timeout: Duration::from_secs(5),
        attempts: 3,
    }
}

fn shell(script: &str) -> HookDoes {
    HookDoes::Run(vec![
        "/bin/sh".to_owned(),
        "-c".to_owned(),
        script.to_owned(),
    ])
}

/// Runs the hook with these events until as many are done with.
async fn done(hook: Hook, events: Vec<Arc<Event>>, wanted: u64) -> HookTally {
    let (say, happens) = broadcast::channel(4096);
    let tallies = Tallies::default();
    let task = tokio::spawn(run(vec![hook], happens, tallies.clone()));
    for event in events {
        say.send(event).unwrap();
    }
    let begun = Instant::now();
    loop {
        let all = tallies.all();
        if let Some(tally) = all.first()
            && tally.delivered + tally.failed + tally.dropped >= wanted
        {
            task.abort();
            return tally.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{all:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_command_gets_the_events_it_asked_for_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told");
    let script = format!(
        "cat >> {0}; echo \" $EBB_EVENT $EBB_LOAD_BALANCER $EBB_BACKEND\" >> {0}",
        file.display()
    );
    let events = vec![
        event(1, What::InService),
        event(2, What::Registered),
        event(3, What::Deregistered),
    ];
    let tally = done(hook(shell(&script)), events, 2).await;
    assert_eq!((tally.delivered, tally.failed, tally.dropped), (2, 0, 0));
    let told = lines(&file);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("{\"number\":1,") && told[0].ends_with(" in_service web web-1"));
    assert!(told[1].starts_with("{\"number\":3,") && told[1].ends_with(" deregistered web web-1"));
}

#[tokio::test]
async fn a_command_that_fails_is_tried_again_and_given_up_on_at_last() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tries");
    let script = format!("echo x >> {}; exit 1", file.display());
    let hook = Hook {
        attempts: 2,
        ..hook(shell(&script))
    };
    let begun = Instant::now();
    let tally = done(hook, vec![event(1, What::InService)], 1).await;
    assert_eq!((tally.delivered, tally.failed), (0, 1));
    assert_eq!(lines(&file).len(), 2);
    assert!(
        begun.elapsed() >= Duration::from_millis(800),
        "it backs off"
    );
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_and_holds_nobody_up() {
    let hook = Hook {
        timeout: Duration::from_millis(300),
        attempts: 1,
        ..hook(shell("exec sleep 60"))
    };
    let events = vec![event(1, What::InService), event(2, What::InService)];
    let tally = done(hook, events, 2).await;
    assert_eq!((tally.delivered, tally.failed), (0, 2));
}

#[tokio::test]
async fn a_hook_that_is_too_slow_loses_events_and_says_so() {
    let hook = Hook {
        timeout: Duration::from_secs(20),
        ..hook(shell("exec sleep 15"))
    };
    let events = (0..1200).map(|n| event(n, What::InService)).collect();
    let tally = done(hook, events, 150).await;
    assert!(tally.dropped >= 150, "{tally:?}");
}

#[tokio::test]
async fn an_event_is_posted_again_until_it_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in ["503 Service Unavailable", "204 No Content"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let mut part = [0; 4096];
            while !text.ends_with(b"}") {
                let read = stream.read(&mut part).await.unwrap();
                assert_ne!(read, 0);
                text.extend_from_slice(&part[..read]);
            }
            let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            asked.push(String::from_utf8(text).unwrap());
        }
        asked
    });
    let url = format!("http://{address}/ebb?x=1").parse().unwrap();
    let tally = done(
        hook(HookDoes::Post(url)),
        vec![event(7, What::InService)],
        1,
    )
    .await;
    assert_eq!((tally.delivered, tally.failed), (1, 0));
    let asked = server.await.unwrap();
    for request in &asked {
        assert!(
            request.starts_with("POST /ebb?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("\"event\":\"in_service\""), "{request}");
    }
}
