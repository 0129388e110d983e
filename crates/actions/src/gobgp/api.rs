//! The messages of GoBGP's gRPC interface, as far as they are used here, in both generations: 3.x
//! and 4.x differ in the name of the service and in the numbers of some values. What stands in a
//! path as typed message (fields 1 and 2, of different types in the two) is kept as octets; routes
//! go in the binary fields, which are the same.

use prost::Message;
use tidewall_bgp::{AfiSafi, RouteFamily};

/// Which generation of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `apipb.GobgpApi`.
    V3,
    /// `api.GoBgpService`.
    V4,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    GetBgp,
    AddPath,
    DeletePath,
    ListPath,
}

impl Api {
    /// The path of a call.
    pub(super) const fn path(self, method: Method) -> &'static str {
        match (self, method) {
            (Self::V3, Method::GetBgp) => "/apipb.GobgpApi/GetBgp",
            (Self::V3, Method::AddPath) => "/apipb.GobgpApi/AddPath",
            (Self::V3, Method::DeletePath) => "/apipb.GobgpApi/DeletePath",
            (Self::V3, Method::ListPath) => "/apipb.GobgpApi/ListPath",
            (Self::V4, Method::GetBgp) => "/api.GoBgpService/GetBgp",
            (Self::V4, Method::AddPath) => "/api.GoBgpService/AddPath",
            (Self::V4, Method::DeletePath) => "/api.GoBgpService/DeletePath",
            (Self::V4, Method::ListPath) => "/api.GoBgpService/ListPath",
        }
    }

    /// `TableType` of the global table.
    pub(super) const fn global_table(self) -> i32 {
        match self {
            Self::V3 => 0,
            Self::V4 => 1,
        }
    }

    /// `TableLookupPrefix.Type` for this very prefix.
    pub(super) const fn exact(self) -> i32 {
        match self {
            Self::V3 => 0,
            Self::V4 => 1,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V3 => "GoBGP 3.x",
            Self::V4 => "GoBGP 4.x",
        }
    }
}

/// `Family`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Family {
    #[prost(int32, tag = "1")]
    pub(super) afi: i32,
    #[prost(int32, tag = "2")]
    pub(super) safi: i32,
}

impl From<RouteFamily> for Family {
    fn from(family: RouteFamily) -> Self {
        let AfiSafi { afi, safi } = family.into();
        Self { afi: afi.into(), safi: safi.into() }
    }
}

/// `Path`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Path {
    /// 3.x: `google.protobuf.Any`; 4.x: `NLRI`.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) nlri: Vec<u8>,
    /// 3.x: `google.protobuf.Any`; 4.x: `Attribute`.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) pattrs: Vec<Vec<u8>>,
    #[prost(bool, tag = "5")]
    pub(super) is_withdraw: bool,
    #[prost(message, optional, tag = "9")]
    pub(super) family: Option<Family>,
    /// Of whom it was learnt; for paths of the daemon itself no address.
    #[prost(string, tag = "15")]
    pub(super) neighbor_ip: String,
    #[prost(bytes = "vec", tag = "20")]
    pub(super) nlri_binary: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "21")]
    pub(super) pattrs_binary: Vec<Vec<u8>>,
}

/// `AddPathRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct AddPathRequest {
    #[prost(int32, tag = "1")]
    pub(super) table_type: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) path: Option<Path>,
}

/// `DeletePathRequest`. Without path and uuid it means *all paths*: it is only ever made by
/// [`DeletePathRequest::of`].
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct DeletePathRequest {
    #[prost(int32, tag = "1")]
    pub(super) table_type: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) family: Option<Family>,
    #[prost(message, optional, tag = "4")]
    pub(super) path: Option<Path>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) uuid: Vec<u8>,
}

impl DeletePathRequest {
    /// Deletes one path; `None` for one that names no route.
    pub(super) fn of(api: Api, path: Path) -> Option<Self> {
        let names_a_route = !path.nlri_binary.is_empty() || !path.nlri.is_empty();
        names_a_route.then(|| Self {
            table_type: api.global_table(),
            family: path.family,
            path: Some(Path { is_withdraw: true, ..path }),
            uuid: Vec::new(),
        })
    }
}

/// `TableLookupPrefix`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LookupPrefix {
    #[prost(string, tag = "1")]
    pub(super) prefix: String,
    #[prost(int32, tag = "2")]
    pub(super) kind: i32,
}

/// `ListPathRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ListPathRequest {
    #[prost(int32, tag = "1")]
    pub(super) table_type: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) family: Option<Family>,
    #[prost(message, repeated, tag = "4")]
    pub(super) prefixes: Vec<LookupPrefix>,
    #[prost(bool, tag = "7")]
    pub(super) enable_nlri_binary: bool,
    #[prost(bool, tag = "8")]
    pub(super) enable_attribute_binary: bool,
}

impl ListPathRequest {
    /// Lists a family of the global table: these prefixes, or all.
    pub(super) fn of(api: Api, family: RouteFamily, prefixes: &[String]) -> Self {
        let lookup = |prefix: &String| LookupPrefix { prefix: prefix.clone(), kind: api.exact() };
        Self {
            table_type: api.global_table(),
            family: Some(family.into()),
            prefixes: prefixes.iter().map(lookup).collect(),
            enable_nlri_binary: true,
            enable_attribute_binary: true,
        }
    }
}

/// `ListPathResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ListPathResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) destination: Option<Destination>,
}

/// `Destination`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Destination {
    #[prost(message, repeated, tag = "2")]
    pub(super) paths: Vec<Path>,
}

/// `GetBgpResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GetBgpResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) global: Option<Global>,
}

/// `Global`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Global {
    #[prost(uint32, tag = "1")]
    pub(super) asn: u32,
    #[prost(string, tag = "2")]
    pub(super) router_id: String,
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_without_a_name() {
        for api in [Api::V3, Api::V4] {
            assert_eq!(DeletePathRequest::of(api, Path::default()), None);
            let path = Path { nlri_binary: vec![32, 198, 51, 100, 3], ..Path::default() };
            let request = DeletePathRequest::of(api, path).unwrap();
            assert!(request.path.unwrap().is_withdraw);
        }
    }

    /// Octets worked out by hand from the numbers of the fields.
    #[test]
    fn requests_have_the_octets_of_the_interface() {
        let path = Path {
            family: Some(RouteFamily::Ipv4Unicast.into()),
            nlri_binary: vec![0x20, 0xc6, 0x33, 0x64, 3],
            pattrs_binary: vec![vec![0x40, 1, 1, 0]],
            ..Path::default()
        };
        let path_octets = [
            &[0x4a, 4, 8, 1, 0x10, 1][..],
            &[0xa2, 1, 5, 0x20, 0xc6, 0x33, 0x64, 3],
            &[0xaa, 1, 4, 0x40, 1, 1, 0],
        ]
        .concat();
        let add = |api: Api| {
            AddPathRequest { table_type: api.global_table(), path: Some(path.clone()) }
                .encode_to_vec()
        };
        assert_eq!(add(Api::V3), [&[0x1a, 21][..], &path_octets].concat());
        assert_eq!(add(Api::V4), [&[8, 1, 0x1a, 21][..], &path_octets].concat());
        let delete = DeletePathRequest::of(Api::V4, path).unwrap().encode_to_vec();
        let head = [8, 1, 0x1a, 4, 8, 1, 0x10, 1, 0x22, 23, 0x28, 1];
        assert_eq!(delete, [&head[..], &path_octets].concat());
        let list = ListPathRequest::of(Api::V3, RouteFamily::Ipv6FlowSpec, &["::/0".into()]);
        let octets =
            [&[0x1a, 5, 8, 2, 0x10, 0x85, 1, 0x22, 6, 10, 4][..], b"::/0", &[0x38, 1, 0x40, 1]];
        assert_eq!(list.encode_to_vec(), octets.concat());
        let list = ListPathRequest::of(Api::V4, RouteFamily::Ipv4Unicast, &[]);
        assert_eq!(list.encode_to_vec(), [8, 1, 0x1a, 4, 8, 1, 0x10, 1, 0x38, 1, 0x40, 1]);
    }
}
