//! Stands in for the HTTP client of the same name, which the build script of netgauze-flow-pkt links
//! and does not call: every request is refused.

#![forbid(unsafe_code)]

use std::fmt;

/// No request is made.
#[derive(Debug)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a build fetches nothing")
    }
}

impl std::error::Error for Error {}

/// The interface that the build script names.
pub mod blocking {
    use super::Error;

    /// Builds a [`Client`].
    #[derive(Debug, Default)]
    pub struct ClientBuilder;

    impl ClientBuilder {
        /// A builder.
        pub fn new() -> Self {
            Self
        }

        /// Changes nothing.
        #[must_use]
        pub fn user_agent(self, _: &str) -> Self {
            self
        }

        /// A client.
        pub fn build(self) -> Result<Client, Error> {
            Ok(Client)
        }
    }

    /// Refuses everything.
    #[derive(Debug)]
    pub struct Client;

    impl Client {
        /// A request that will be refused.
        pub fn get(&self, _: &str) -> Request {
            Request
        }
    }

    /// A request.
    #[derive(Debug)]
    pub struct Request;

    impl Request {
        /// Refuses it.
        pub fn send(self) -> Result<Response, Error> {
            Err(Error)
        }
    }

    /// There is none.
    #[derive(Debug)]
    pub enum Response {}

    impl Response {
        /// Its text.
        pub fn text(self) -> Result<String, Error> {
            match self {}
        }
    }
}
