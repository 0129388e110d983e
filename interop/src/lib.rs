//! Tests only: see the folder beside this one.
#![forbid(unsafe_code)]
