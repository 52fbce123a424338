//! Leases in the system group. Skeleton.

/// A lease this node holds; dropping it releases it.
pub struct LeaseGuard(());

#[allow(clippy::todo)]
impl LeaseGuard {
    /// Whether the lease surely is still ours.
    pub fn held(&self) -> bool {
        todo!()
    }
    /// Returns once the lease is no longer surely ours.
    pub async fn lost(&self) {
        todo!()
    }
    /// Grows with every new holder.
    pub fn fence(&self) -> u64 {
        todo!()
    }
    pub async fn release(self) {
        todo!()
    }
}
