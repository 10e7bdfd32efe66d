//! Plans: what will be done, as data.

pub mod diff;
