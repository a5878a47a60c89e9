//! A limit to what a CPU sends by itself in a second or so.

/// How many messages a CPU sends in a window.
const MOST_PER_WINDOW: u32 = 1000;
/// The window in ticks, as a power of two: 2^10 ticks are 1.07 s.
const WINDOW_SHIFT: u32 = 10;

/// The messages sent in a window.
#[repr(C)]
pub(crate) struct Rate {
    window: u32,
    sent: u32,
}

impl Rate {
    /// Whether one more may be sent; counts it.
    #[inline(always)]
    pub(crate) fn allows(&mut self, now: u32) -> bool {
        let window = now >> WINDOW_SHIFT;
        if self.window != window {
            *self = Self { window, sent: 0 };
        }
        self.sent += 1;
        self.sent <= MOST_PER_WINDOW
    }
}
