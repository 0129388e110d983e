//! Datagrams to records.
