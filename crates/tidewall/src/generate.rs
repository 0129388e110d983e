//! The load generator: traffic rendered once into memory and sent round after round, as fast as
//! it is wanted. What changes from round to round - sequence numbers, times - is written into the
//! datagrams just before they leave, so that a collector sees exporters that run on.

pub mod load;
pub mod play;
pub mod reel;
pub mod send;
mod stamp;
pub mod target;

pub use load::{AttackLoad, Load};
pub use reel::Reel;
pub use send::{Orders, Outcome, Stream};
pub use target::{Destination, Foreign};
