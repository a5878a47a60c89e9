//! nat at rate: ports come back as fast as connections go.

mod rate;
