//! Waiting until the packets in flight have passed: each program that is running has
//! ended, and each that begins goes by what was written before.
//!
//! A program at XDP or TC runs with bottom halves disabled, so no thread runs on its CPU
//! before it has ended. A thread that has been on every CPU has seen all of them end.
//! That is what the kernel's own grace period waits for, too: a CPU that runs a thread is
//! in a quiescent state. But the kernel looks for it by the ticks of its clock, and takes
//! two or three of them (8 ms at 250 Hz); who goes there takes microseconds.
//!
//! It cannot be told that way where the thread may not go to a CPU (a cpuset leaves it
//! out), where it has to wait there for long (a real-time thread keeps the CPU), and where
//! bottom halves are preempted (`PREEMPT_RT`). Then the caller waits for a grace period.

use std::{
    fs,
    sync::mpsc::{self, TryRecvError},
    thread,
    time::Duration,
};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

/// How long the thread may be on its way: after that, a grace period is as good.
const PATIENCE: Duration = Duration::from_millis(4);

/// The CPUs that can run programs, as the kernel lists them.
const ONLINE: &str = "/sys/devices/system/cpu/online";
/// It is there, and says 1, under `PREEMPT_RT`.
const REALTIME: &str = "/sys/kernel/realtime";

/// The thread that goes from CPU to CPU. It ends when this is dropped.
pub(super) struct Walker {
    /// `None` where a walk proves nothing.
    requests: Option<mpsc::Sender<mpsc::Sender<bool>>>,
    /// Of the walk that did not come to its end in time.
    owed: Option<mpsc::Receiver<bool>>,
}

impl Walker {
    pub(super) fn new() -> Self {
        let realtime = fs::read_to_string(REALTIME).is_ok_and(|text| text.trim() == "1");
        Self {
            requests: if realtime { None } else { start() },
            owed: None,
        }
    }

    /// True if every program has ended that was running when this was called. False if
    /// that is not known.
    pub(super) fn saw_all_pass(&mut self) -> bool {
        let Some(requests) = &self.requests else {
            return false;
        };
        // It is still on its way, and would set out again only after that.
        if let Some(owed) = &self.owed
            && owed.try_recv() == Err(TryRecvError::Empty)
        {
            return false;
        }
        let (answer, answered) = mpsc::channel();
        if requests.send(answer).is_err() {
            return false;
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(seen) => {
                self.owed = None;
                seen
            }
            Err(_) => {
                self.owed = Some(answered);
                false
            }
        }
    }
}

/// `None` if there can be no such thread.
fn start() -> Option<mpsc::Sender<mpsc::Sender<bool>>> {
    let (requests, inbox) = mpsc::channel::<mpsc::Sender<bool>>();
    let walks = move || {
        for answer in inbox {
            // Who asked may wait for something else by now.
            let _ = answer.send(walk());
        }
    };
    let thread = thread::Builder::new().name("ebb-walker".to_owned());
    thread.spawn(walks).is_ok().then_some(requests)
}

/// Goes to every CPU; false if there is one where it was not.
///
/// A CPU that comes online meanwhile begins with what was written before, and on one that
/// goes offline nothing runs any more: it is tried in vain, and the caller waits.
fn walk() -> bool {
    let Ok(online) = fs::read_to_string(ONLINE) else {
        return false;
    };
    let Some(mut cpus) = listed(online.trim()) else {
        return false;
    };
    cpus.all(is_visited)
}

fn is_visited(cpu: usize) -> bool {
    if cpu >= CpuSet::MAX_CPU {
        return false;
    }
    let mut only = CpuSet::new();
    only.set(cpu);
    // The call returns on the CPU that it was for, or fails.
    sched_setaffinity(None, &only).is_ok() && sched_getcpu() == cpu
}

/// The numbers in a list like `0-3,8`; `None` if it is no such list.
fn listed(text: &str) -> Option<impl Iterator<Item = usize>> {
    let ranges = text.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    let ranges: Vec<_> = ranges.collect::<Option<_>>()?;
    Some(ranges.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_read_as_the_kernel_writes_it() {
        let listed = |text| listed(text).map(Iterator::collect::<Vec<_>>);
        assert_eq!(listed("0"), Some(vec![0]));
        assert_eq!(listed("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(listed(""), None);
        assert_eq!(listed("0-x"), None);
    }

    #[test]
    fn who_cannot_be_on_a_cpu_has_not_been_there() {
        thread::spawn(|| {
            assert!(!is_visited(CpuSet::MAX_CPU - 1), "no machine here has it");
            assert!(!is_visited(CpuSet::MAX_CPU));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_walk_that_is_still_under_way_is_not_waited_for_again() {
        let (requests, inbox) = mpsc::channel();
        let mut walker = Walker {
            requests: Some(requests),
            owed: None,
        };
        // Nobody answers.
        assert!(!walker.saw_all_pass());
        assert!(!walker.saw_all_pass());
        assert_eq!(inbox.try_iter().count(), 1, "asked once");
        // The thread is gone.
        drop(inbox);
        assert!(!walker.saw_all_pass());
    }

    #[test]
    fn where_a_walk_proves_nothing_nobody_passes() {
        let mut walker = Walker {
            requests: None,
            owed: None,
        };
        assert!(!walker.saw_all_pass());
    }
}
