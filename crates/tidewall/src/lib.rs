//! The Tidewall program as a library: the binary is a thin door to it, and tests and fuzz targets
//! reach what they need. Nothing else imports it.

#![forbid(unsafe_code)]

pub mod capture_file;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod crediting;
pub mod demo;
pub mod exports;
pub mod generate;
pub mod journal;
pub mod live;
pub mod log;
mod near;
mod pid_file;
mod privileges;
pub mod replay;
pub mod report;
pub mod respond;
