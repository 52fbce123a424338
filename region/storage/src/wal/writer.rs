use super::*;
pub struct Wal(());
#[allow(unused_variables)]
impl Wal {
    pub fn open(settings: WalSettings) -> Result<(Wal, Recovered), StorageError> { todo!() }
    pub fn append(&self, records: Vec<WalRecord>, done: Done) { todo!() }
    pub fn oldest_pins(&self) -> Vec<GroupId> { todo!() }
    pub fn status(&self) -> WalStatus { todo!() }
}
