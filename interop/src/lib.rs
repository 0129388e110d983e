//! Nothing but tests: flow datagrams between our code and netgauze-flow-pkt.

#![forbid(unsafe_code)]
