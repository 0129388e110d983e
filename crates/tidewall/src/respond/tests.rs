//! Tests of the responder.
