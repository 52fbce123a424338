//! Changes that the broker does not have, from the shard's own log by gRPC, as people see them.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tombolo_client::Client;
use tombolo_item::Shard;
use tombolo_stream::TableFace;
use tombolo_stream::chain::CheckedRecord;
use tombolo_stream::subscriber::{FetchFailure, FetchMissing, Fetched};

/// Reads the log of a table's shards through any node of the region.
pub(super) struct FromLog {
    client: Client,
    face: Arc<TableFace>,
}

impl FromLog {
    pub(super) fn new(client: Client, face: TableFace) -> FromLog {
        FromLog { client, face: Arc::new(face) }
    }
}

impl FetchMissing for FromLog {
    fn fetch(
        &self,
        shard: Shard,
        from: u64,
        to: u64,
    ) -> BoxFuture<'static, Result<Vec<Fetched>, FetchFailure>> {
        let (client, face) = (self.client.clone(), self.face.clone());
        async move {
            let failed = |why: String| FetchFailure::Failed(why);
            let wanted = u32::try_from(to - from + 1).unwrap_or(u32::MAX).min(1_000);
            let page = client
                .get_records(&face.name, shard, from, Some(wanted))
                .await
                .map_err(|error| failed(error.to_string()))?;
            if page.oldest_seq > from {
                return Err(FetchFailure::Trimmed { oldest: page.oldest_seq });
            }
            let mut fetched = Vec::with_capacity(page.changes.len());
            for change in page.changes.iter().filter(|change| change.seq <= to) {
                let checked = CheckedRecord::read(&change.canonical)
                    .map_err(|error| failed(error.to_string()))?;
                let shown = face.show(&checked).map_err(|error| failed(error.to_string()))?;
                fetched.push(Fetched {
                    seq: checked.record.seq,
                    prev_hash: checked.record.prev_hash,
                    hash: checked.hash,
                    body: shown.unwrap_or_default().into(),
                });
            }
            Ok(fetched)
        }
        .boxed()
    }
}
