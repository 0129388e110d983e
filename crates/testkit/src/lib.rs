//! placeholder doc
