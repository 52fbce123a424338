//! What the callers talk to: Tombolo, or an etcd that is measured beside it with the same callers, keys
//! and payloads.

use std::sync::Arc;

use bytes::Bytes;
use tombolo_client::{Client, Session, SessionOptions};
use tonic::transport::{Channel, Endpoint};

use super::dynamodb::DynamoDb;

use super::{item_of, key_of, version_in};
use crate::error::{Failure, Result};

#[derive(Clone)]
pub enum Target {
    Tombolo(Client),
    /// Sessions of Tombolo's gRPC client; callers spread over them.
    Sessions(Vec<Session>),
    /// Signed JSON over HTTP/1.1, one connection for each caller.
    DynamoDb(Arc<DynamoDb>),
    /// One channel for each member; callers spread over them.
    Etcd(Vec<Channel>),
}

/// A request that was not answered well: the reason, from a fixed set of names.
pub(super) type Refusal = String;

impl Target {
    /// Connects to the members of an etcd cluster.
    pub async fn etcd(endpoints: &[String]) -> Result<Self> {
        let mut channels = Vec::new();
        for endpoint in endpoints {
            channels
                .push(Endpoint::from_shared(endpoint.clone())?.tcp_nodelay(true).connect().await?);
        }
        match channels.is_empty() {
            true => Err(Failure::usage("--etcd needs at least one endpoint")),
            false => Ok(Self::Etcd(channels)),
        }
    }

    /// Opens so many sessions.
    pub fn sessions(client: &Client, count: u32, callers: u32) -> Self {
        let options = SessionOptions {
            in_flight: callers.max(32).div_ceil(count) as usize,
            ..SessionOptions::default()
        };
        Self::Sessions((0..count).map(|_| client.session(options.clone())).collect())
    }

    pub(super) async fn put(
        &self,
        table: &str,
        caller: u32,
        key: u64,
        version: u64,
        payload: &Bytes,
    ) -> std::result::Result<(), Refusal> {
        match self {
            Self::Tombolo(client) => {
                let put = client.put_item(table, item_of(key, version, payload)).await;
                put.map(|_| ()).map_err(|error| error.reason.clone())
            }
            Self::Sessions(sessions) => {
                let put = of(sessions, caller).put_item(table, item_of(key, version, payload));
                put.await.map(|_| ()).map_err(|error| error.reason.clone())
            }
            Self::DynamoDb(dynamodb) => dynamodb.put(table, caller, key, version, payload).await,
            Self::Etcd(channels) => {
                let mut value = version.to_be_bytes().to_vec();
                value.extend_from_slice(payload);
                let request = etcd::PutRequest { key: etcd_key(table, key), value };
                let path = "/etcdserverpb.KV/Put";
                let put = etcd::call::<_, etcd::PutResponse>(channels, caller, path, request).await;
                put.map(|_| ())
            }
        }
    }

    /// The version that the key holds; `None` where there is no such key.
    pub(super) async fn get(
        &self,
        table: &str,
        caller: u32,
        key: u64,
        strong: bool,
    ) -> std::result::Result<Option<u64>, Refusal> {
        match self {
            Self::Tombolo(client) => {
                let item = client.get_item(table, key_of(key), strong).await;
                let item = item.map_err(|error| error.reason.clone())?;
                Ok(item.as_ref().and_then(version_in))
            }
            Self::Sessions(sessions) => {
                let item = of(sessions, caller).get_item(table, key_of(key), strong).await;
                let item = item.map_err(|error| error.reason.clone())?;
                Ok(item.as_ref().and_then(version_in))
            }
            Self::DynamoDb(dynamodb) => dynamodb.get(table, caller, key, strong).await,
            Self::Etcd(channels) => {
                let request =
                    etcd::RangeRequest { key: etcd_key(table, key), serializable: !strong };
                let path = "/etcdserverpb.KV/Range";
                let range =
                    etcd::call::<_, etcd::RangeResponse>(channels, caller, path, request).await?;
                let value = range.kvs.first().and_then(|kv| kv.value.first_chunk::<8>());
                Ok(value.map(|bytes| u64::from_be_bytes(*bytes)))
            }
        }
    }
}

/// A caller's session.
fn of(sessions: &[Session], caller: u32) -> &Session {
    &sessions[caller as usize % sessions.len()]
}

fn etcd_key(table: &str, key: u64) -> Vec<u8> {
    format!("{table}/user{key:012}").into_bytes()
}

/// The few fields of etcd's API (etcdserverpb, etcd 3.4) that a put and a get need.
mod etcd {
    use tonic::client::Grpc;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic::transport::Channel;
    use tonic_prost::ProstCodec;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PutRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PutResponse {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RangeRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) key: Vec<u8>,
        #[prost(bool, tag = "7")]
        pub(super) serializable: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(bytes = "vec", tag = "5")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RangeResponse {
        #[prost(message, repeated, tag = "2")]
        pub(super) kvs: Vec<KeyValue>,
    }

    pub(super) async fn call<Q, A>(
        channels: &[Channel],
        caller: u32,
        path: &'static str,
        request: Q,
    ) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(channels[caller as usize % channels.len()].clone());
        grpc.ready().await.map_err(|e| e.to_string())?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| format!("{:?}", status.code()))
    }
}
