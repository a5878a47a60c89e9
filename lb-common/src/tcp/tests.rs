//! Two honest ends, a network that loses, repeats and reorders, and somebody who
//! knows the four-tuple but no number, around what ebb makes of what it sees.

use super::*;

/// What all cases together let pass.
const STEPS: u32 = 1_200_000;

/// A generator of its own: the steps of a case are the same wherever it runs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        // Marsaglia's xorshift, multiplied.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }
}

/// One end of the connection. It keeps to RFC 9293 as far as numbers go.
struct End {
    /// The first byte that is not acknowledged, and the next to send.
    una: u32,
    next: u32,
    /// The next byte expected of the other end, and what is there beyond it.
    expects: u32,
    beyond: Vec<(u32, u32)>,
    /// How much the other end lets it send.
    window: u32,
    sent_fin: bool,
}

impl End {
    /// A segment of what was sent before, of what follows, or of nothing.
    fn speak(&mut self, random: &mut Random) -> Segment {
        let free = self.window.wrapping_sub(self.next.wrapping_sub(self.una));
        let sent = self.next.wrapping_sub(self.una);
        let (seq, len) = match random.below(16) {
            0..=8 if free > 0 && !self.sent_fin => {
                let len = 1 + random.below(free.min(64 << 10));
                self.next = self.next.wrapping_add(len);
                (self.next.wrapping_sub(len), len)
            }
            // The first that is not acknowledged, again; or another such.
            9 if sent > 0 => (self.una, sent.min(1460)),
            10 if sent > 0 => {
                let at = random.below(sent);
                (self.una.wrapping_add(at), (sent - at).min(1460))
            }
            // A keep-alive, or the probe of a closed window.
            11 => (self.una.wrapping_sub(1), 0),
            _ => (self.next, 0),
        };
        self.segment(ACK, seq, len)
    }

    fn segment(&self, flags: u8, seq: u32, len: u32) -> Segment {
        Segment {
            flags,
            seq,
            next_seq: seq.wrapping_add(len),
            ack: self.expects,
        }
    }

    fn fin(&mut self) -> Segment {
        self.sent_fin = true;
        let seq = self.next;
        self.next = seq.wrapping_add(1);
        self.segment(FIN | ACK, seq, 1)
    }

    fn hear(&mut self, segment: Segment) {
        if after(segment.ack, self.una) && !after(segment.ack, self.next) {
            self.una = segment.ack;
        }
        self.beyond.push((segment.seq, segment.next_seq));
        // As long as something is of use.
        while let Some(at) = self
            .beyond
            .iter()
            .position(|(first, _)| !after(*first, self.expects))
        {
            let (_, end) = self.beyond.swap_remove(at);
            if after(end, self.expects) {
                self.expects = end;
            }
        }
    }
}

/// A flow as ebb knows it, in nat or in dsr.
struct Flow {
    sees_both: bool,
    state: u32,
    /// The client's direction, and the backend's.
    known: [Numbers; 2],
    bytes: [u64; 2],
}

impl Flow {
    fn see(&mut self, from: From, segment: Segment) -> Says {
        let (own, other) = match from {
            From::Client => (0, 1),
            From::Backend => (1, 0),
        };
        let said = says(
            Sight {
                state: self.state,
                from,
                own: self.known[own],
                bytes: self.bytes[own],
                sees_both: self.sees_both,
                expected: self.known[other].ack,
            },
            segment,
        );
        if said.fits {
            self.known[own] = self.known[own].with(segment);
            self.bytes[own] += u64::from(segment.next_seq.wrapping_sub(segment.seq)) + 40;
        }
        self.state |= said.add;
        said
    }

    fn facts(&self) -> (u32, [Numbers; 2], [u64; 2]) {
        (self.state, self.known, self.bytes)
    }
}

/// A connection that has just begun, with the whole network.
struct Play {
    random: Random,
    flow: Flow,
    ends: [End; 2],
    /// On their way to ebb, and from it, by who sent them.
    before: [Vec<Segment>; 2],
    behind: [Vec<Segment>; 2],
    /// The highest numbers that have passed.
    passed: [Numbers; 2],
    /// Guesses that changed something.
    hits: u32,
}

const WHO: [From; 2] = [From::Client, From::Backend];

impl Play {
    fn new(seed: u64, windows: [u32; 2], sees_both: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // Over the wrap, now and then.
        let first = [(), ()]
            .map(|()| u32::MAX - random.below(1 << 20))
            .map(|n| n | 1);
        let end = |own: usize| End {
            una: first[own],
            next: first[own],
            expects: first[1 - own],
            beyond: Vec::new(),
            window: windows[own],
            sent_fin: false,
        };
        let ends = [end(0), end(1)];
        let known = [0, 1].map(|own: usize| Numbers {
            seq: first[own],
            ack: first[1 - own],
        });
        Self {
            random,
            flow: Flow {
                sees_both,
                state: 0,
                known,
                bytes: [0; 2],
            },
            ends,
            before: [Vec::new(), Vec::new()],
            behind: [Vec::new(), Vec::new()],
            passed: known,
            hits: 0,
        }
    }

    /// A segment of an honest end passes.
    fn pass(&mut self, own: usize, segment: Segment) {
        if own == 1 && !self.flow.sees_both {
            self.behind[own].push(segment);
            return;
        }
        let said = self.flow.see(WHO[own], segment);
        assert!(said.fits, "{segment:?} is honest: {:?}", self.flow.facts());
        let passed = &mut self.passed[own];
        *passed = passed.with(segment);
        assert_eq!(self.flow.known[own], *passed);
        self.behind[own].push(segment);
    }

    /// Takes any of a queue: what is sent later may come sooner, twice, or not.
    fn take(random: &mut Random, queue: &mut Vec<Segment>) -> Option<Segment> {
        if queue.is_empty() {
            return None;
        }
        // Seldom far out of order.
        let at = random.below(queue.len().min(4) as u32) as usize;
        match random.below(32) {
            0 => drop(queue.remove(at)),
            1 => return Some(queue[at]),
            _ => return Some(queue.remove(at)),
        }
        None
    }

    fn step(&mut self) {
        let own = self.random.below(2) as usize;
        self.guess(own);
        match self.random.below(3) {
            0 => {
                let segment = self.ends[own].speak(&mut self.random);
                self.before[own].push(segment);
            }
            1 => {
                if let Some(segment) = Self::take(&mut self.random, &mut self.before[own]) {
                    self.pass(own, segment);
                }
            }
            _ => {
                if let Some(segment) = Self::take(&mut self.random, &mut self.behind[own]) {
                    self.ends[1 - own].hear(segment);
                }
            }
        }
    }

    /// Somebody makes a segment up.
    fn guess(&mut self, own: usize) {
        let flags = [ACK, ACK, FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, 0];
        let seq = self.random.next();
        let segment = Segment {
            flags: flags[self.random.below(8) as usize],
            seq,
            next_seq: seq.wrapping_add(self.random.below(1460)),
            ack: self.random.next(),
        };
        let before = self.flow.facts();
        // What ebb takes to come from the backend in dsr is nothing at all.
        if self.flow.sees_both || own == 0 {
            self.flow.see(WHO[own], segment);
        }
        let after = self.flow.facts();
        if after == before {
            return;
        }
        // Of one side a RST is held against all that may be on its way, and then
        // silence decides. Nothing else is ever hit.
        assert!(
            !self.flow.sees_both && segment.has(RST),
            "{segment:?}: {before:?}"
        );
        assert_eq!(after, (WAS_RESET, before.1, before.2));
        self.hits += 1;
        self.flow.state = before.0;
    }

    /// Lets everything arrive, in order.
    fn settle(&mut self) {
        for _ in 0..3 {
            for own in [0, 1] {
                for segment in std::mem::take(&mut self.before[own]) {
                    self.pass(own, segment);
                }
                for segment in std::mem::take(&mut self.behind[own]) {
                    self.ends[1 - own].hear(segment);
                }
                let End { una, next, .. } = self.ends[own];
                let rest = self.ends[own].segment(ACK, una, next.wrapping_sub(una));
                self.before[own].push(rest);
            }
        }
    }
}

/// How the windows of the client and of the backend may be.
const WINDOWS: [[u32; 2]; 4] = [
    // A probe of one byte at a time, the largest without scaling, a usual one, and
    // one that is long and fat in one direction.
    [1, 64],
    [65_535, 65_535],
    [200 << 10, 200 << 10],
    [32, 1 << 30],
];

fn plays() -> impl Iterator<Item = Play> {
    [true, false].into_iter().flat_map(|sees_both| {
        WINDOWS.into_iter().enumerate().map(move |(n, windows)| {
            Play::new(n as u64 * 2 + u64::from(sees_both) + 1, windows, sees_both)
        })
    })
}

#[test]
fn honest_numbers_are_believed_always_and_made_up_ones_never_change_anything() {
    let mut hits = 0;
    for mut play in plays() {
        for _ in 0..STEPS / 8 {
            play.step();
        }
        assert_eq!(play.flow.state, 0, "nobody has ended it");
        play.settle();
        hits += play.hits;
    }
    // A quarter of the guesses are RSTs, and half of the flows show one side only.
    let resets = u64::from(STEPS) / 8;
    let most = (2 * resets * numbers::MOST_IN_FLIGHT) >> 32;
    assert!(u64::from(hits) <= most, "{hits}");
}

#[test]
fn both_ends_say_goodbye_and_are_believed() {
    for mut play in plays() {
        for _ in 0..20_000 {
            play.step();
        }
        play.settle();
        for own in [0, 1] {
            let fin = play.ends[own].fin();
            play.pass(own, fin);
            let half = [CLIENT_FIN, CLIENT_FIN | BACKEND_FIN | CLOSED][own];
            let expected = if play.flow.sees_both {
                half
            } else {
                CLIENT_FIN
            };
            assert_eq!(play.flow.state, expected);
            play.settle();
        }
        assert_ne!(
            play.flow.state & CLOSED,
            0,
            "the last acknowledgement has passed"
        );
    }
}

#[test]
fn a_reset_with_a_lot_in_flight_is_believed() {
    for sees_both in [true, false] {
        let mut play = Play::new(7, [512 << 10, 1000], sees_both);
        let start = play.ends[0].una;
        while play.ends[0].next.wrapping_sub(start) < 512 << 10 {
            let segment = play.ends[0].segment(ACK, play.ends[0].next, 1460);
            play.ends[0].next = segment.next_seq;
            play.pass(0, segment);
        }
        // The client is gone; its host answers the backend's acknowledgement of
        // nothing with a RST of that number, half a megabyte back.
        let said = play.flow.see(
            From::Client,
            Segment {
                flags: RST,
                seq: start,
                ..Segment::default()
            },
        );
        let expected = if sees_both {
            WAS_RESET | CLOSED
        } else {
            WAS_RESET
        };
        assert_eq!(said.add, expected);
        assert!(
            sees_both || is_closing(play.flow.state),
            "silence will tell"
        );
    }
}
