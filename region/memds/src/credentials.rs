//! Keys that requests are signed with: rows of the system group, all of them in memory on every node.
//!
//! Always true: an access key is given once, for ever; a revoked one stays revoked. Looking one up asks
//! nobody: what the group holds is in every node's map a moment after it was committed.

use std::sync::Arc;

use crate::error::MemdsError;
use crate::memds::Memds;
use crate::model::Credential;
use crate::rows::CredentialRow;
use crate::submit::now_ms;
use crate::system::Held;

impl Memds {
    /// Take in a new pair of keys. [`MemdsError::Conflict`] if its access key was ever given. Returns once
    /// this node knows it; the others follow.
    pub async fn put_credential(&self, credential: Credential) -> Result<(), MemdsError> {
        let row = CredentialRow::from(&credential);
        self.put_row(&credential.access_key, &row, Held::Absent).await?;
        self.until(|directory| directory.credentials.contains_key(&credential.access_key)).await;
        Ok(())
    }

    /// Refuse it from now on. Says whether there is such a key; revoking it again changes nothing.
    pub async fn revoke_credential(&self, access_key: &str) -> Result<bool, MemdsError> {
        let mut known = false;
        let now = now_ms();
        let revoke = |mut row: CredentialRow| {
            known = true;
            row.revoke(now).then_some(row)
        };
        self.update_row::<CredentialRow>(access_key, revoke).await?;
        if known {
            let gone = |credential: &Arc<Credential>| credential.revoked_ms.is_some();
            self.until(|directory| directory.credentials.get(access_key).is_none_or(gone)).await;
        }
        Ok(known)
    }

    /// All of them, revoked ones too, by access key, as this node knows them.
    pub fn credentials(&self) -> Vec<Arc<Credential>> {
        let directory = self.0.directory.load();
        let mut all: Vec<_> = directory.credentials.values().cloned().collect();
        all.sort_by(|a, b| a.access_key.cmp(&b.access_key));
        all
    }

    /// The credential of an access key, as this node knows it, revoked or not.
    pub fn credential(&self, access_key: &str) -> Option<Arc<Credential>> {
        self.0.directory.load().credentials.get(access_key).cloned()
    }
}
