//! Where nat's packets come from, and at rate: ports come back as fast as connections go.

mod pools;
mod rate;
