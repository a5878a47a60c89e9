//! The attributes that end flows by time: `idle_timeout` and `close_rate`.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{LB, Settings},
    conversation::{Conversation, How},
};

use crate::scene::{in_each_mode, play};

in_each_mode! {
    an_idle_flow_is_reset_at_both_ends_and_a_busy_one_is_not,
    forced_closes_keep_to_the_close_rate,
}

const PATIENCE: Duration = Duration::from_secs(10);

fn an_idle_flow_is_reset_at_both_ends_and_a_busy_one_is_not(mode: Mode) -> Result<()> {
    let settings = Settings {
        idle_timeout: 2,
        ..Settings::default()
    };
    play(mode, &settings, |site, _| {
        let busy = Conversation::open(&site.client, site.talkers())?;
        busy.talk_on()?;
        let idle = Conversation::open(&site.client, site.talkers())?;
        let opened = Instant::now();
        let here = idle.wait_end(PATIENCE)?;
        assert_eq!(here.how, How::Reset, "at the client");
        assert!(here.at - opened > Duration::from_millis(1900), "too soon");
        let talker = &site.backend(&idle.backend)?.talker;
        assert_eq!(talker.wait_end_of(idle.seen_as, PATIENCE)?.how, How::Reset);
        assert_eq!(busy.end(), None, "the busy one");
        Ok(())
    })
}

fn forced_closes_keep_to_the_close_rate(mode: Mode) -> Result<()> {
    const FLOWS: usize = 20;
    const RATE: &str = "close-rate=5";
    let settings = Settings {
        backends: vec!["web-1".to_owned()],
        ..Settings::default()
    };
    play(mode, &settings, |site, ebb| {
        let _: serde_json::Value = ebb.json(&["attributes", "set", LB, RATE])?;
        let talks = (0..FLOWS)
            .map(|_| Conversation::open(&site.client, site.talkers()))
            .collect::<Result<Vec<_>>>()?;
        ebb.deregister("web-1", &["--now"])?;
        let told = Instant::now();
        let mut ends = Vec::new();
        for talk in &talks {
            let end = talk.wait_end(PATIENCE)?;
            assert_eq!(end.how, How::Reset);
            ends.push(end.at);
        }
        ends.sort();
        let took = ends[FLOWS - 1] - told;
        // 20 at 5 a second; the first may go at once.
        assert!(took > Duration::from_secs(3), "all were closed in {took:?}");
        let in_a_second = |from: &Instant| {
            ends.iter()
                .filter(|at| *at >= from && **at - *from < Duration::from_millis(900))
                .count()
        };
        let most = ends.iter().map(in_a_second).max();
        assert!(most <= Some(7), "{most:?} were closed within a second");
        Ok(())
    })
}
