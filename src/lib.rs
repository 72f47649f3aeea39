//! ringseed: a BitTorrent seeder appliance. The rooms, from the top floor down:
//! `cli` (flags into calls), `service` (one control thread), `worker` (one per core), `store`
//! (which bytes stand where). Each imports only what stands below it.
#![forbid(unsafe_code)]

pub mod cli;
pub mod service;
pub mod store;
pub mod worker;
