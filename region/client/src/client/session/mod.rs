//! A session: item operations of many tasks on one stream.
//!
//! Always true: an operation is carried out at most once, although it is sent again when its stream
//! is lost, to whichever router answers; it ends within its deadline; no more than
//! [`SessionOptions::in_flight`] are unfinished, the next caller waits. Operations are independent:
//! two that were begun before either ended may be carried out in either order.

mod driver;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::{Semaphore, oneshot};
use tombolo_item::{Item, Stamp};

use super::items::{Expression, KeyQuery, Page, ReadPage, UpdateOptions, WriteOptions, Written};
use super::{Client, items};
use crate::error::ClientError;
use crate::v1;
use crate::v1::session_answer::Answer;
use crate::v1::session_operation::Operation;
use driver::Shared;
use window::Waiting;

/// What a user of a session tunes.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Operations that may be unfinished at once.
    pub in_flight: usize,
    /// The longest wait for an answer, all attempts together; nothing: the client's.
    pub request_timeout: Option<Duration>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { in_flight: 1024, request_timeout: None }
    }
}

/// A session; cloning shares it. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct Session(Arc<User>);

struct User {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    request_timeout: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Client {
    /// Begins a session on this client's endpoints. It connects by itself, now and whenever its
    /// stream is lost. Call it inside a tokio runtime.
    pub fn session(&self, options: SessionOptions) -> Session {
        let shared = Shared::new();
        tokio::spawn(driver::run(shared.clone(), self.clone()));
        Session(Arc::new(User {
            shared,
            places: Arc::new(Semaphore::new(options.in_flight.clamp(1, Semaphore::MAX_PERMITS))),
            request_timeout: options.request_timeout.unwrap_or(self.0.request_timeout),
        }))
    }
}

/// An answer to another operation than the one that was asked.
fn strange() -> ClientError {
    ClientError::incomprehensible("an answer to another operation")
}

impl Session {
    /// Sends an operation and waits for its answer.
    async fn call(&self, writes: bool, operation: Operation) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + self.0.request_timeout;
        let operation = v1::SessionOperation { operation: Some(operation), ..Default::default() };
        let body = operation.encode_to_vec().into();
        let place = match self.0.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let place = self.0.places.clone().acquire_owned();
                match tokio::time::timeout_at(deadline.into(), place).await {
                    Ok(Ok(place)) => place,
                    _ => return Err(window::unreachable(&self.0.shared.trouble())),
                }
            }
        };
        let (teller, told) = oneshot::channel();
        self.0.shared.push(Waiting { body, writes, deadline, teller, _place: Some(place) });
        // The runtime ended the session's task: whether it was sent is not known any more.
        told.await.unwrap_or_else(|_| match writes {
            true => Err(window::late(writes)),
            false => Err(window::unreachable("The session has ended.")),
        })
    }

    /// Stores an item.
    pub async fn put_item(&self, table: &str, item: Item) -> Result<Written, ClientError> {
        self.put_item_with(table, item, WriteOptions::default()).await
    }

    /// Stores an item, with a condition or an answer that says more.
    pub async fn put_item_with(
        &self,
        table: &str,
        item: Item,
        options: WriteOptions,
    ) -> Result<Written, ClientError> {
        let put = items::put_message(table, item, options);
        match self.call(true, Operation::PutItem(Box::new(put))).await? {
            Answer::PutItem(put) => items::written(put.attributes, put.stamp, put.sequence),
            _ => Err(strange()),
        }
    }

    /// Reads the item with this key (its key attributes).
    pub async fn get_item(
        &self,
        table: &str,
        key: Item,
        consistent: bool,
    ) -> Result<Option<Item>, ClientError> {
        Ok(self.get_item_with_stamp(table, key, consistent).await?.map(|(item, _)| item))
    }

    /// Reads the item with this key and its version.
    pub async fn get_item_with_stamp(
        &self,
        table: &str,
        key: Item,
        consistent: bool,
    ) -> Result<Option<(Item, Option<Stamp>)>, ClientError> {
        let get = items::get_message(table, key, consistent);
        match self.call(false, Operation::GetItem(Box::new(get))).await? {
            Answer::GetItem(get) => items::found(get),
            _ => Err(strange()),
        }
    }

    /// Changes the item with this key (its key attributes), or makes it; once, also where that counts,
    /// as with `ADD`.
    pub async fn update_item(
        &self,
        table: &str,
        key: Item,
        update: Expression,
    ) -> Result<Written, ClientError> {
        self.update_item_with(table, key, update, UpdateOptions::default()).await
    }

    /// Changes an item, with a condition or an answer that says more. Both expressions share names and
    /// values. An update that was answered only after its stream was lost says what it has become
    /// ([`Written::stamp`]), shows the new image only while nobody has changed the item again, and
    /// never the old one.
    pub async fn update_item_with(
        &self,
        table: &str,
        key: Item,
        update: Expression,
        options: UpdateOptions,
    ) -> Result<Written, ClientError> {
        let update = items::update_message(table, key, update, options);
        match self.call(true, Operation::UpdateItem(Box::new(update))).await? {
            Answer::UpdateItem(new) => items::written(new.attributes, new.stamp, new.sequence),
            _ => Err(strange()),
        }
    }

    /// Removes the item with this key (its key attributes).
    pub async fn delete_item(&self, table: &str, key: Item) -> Result<Written, ClientError> {
        self.delete_item_with(table, key, WriteOptions::default()).await
    }

    /// Removes an item, with a condition or an answer that says more.
    pub async fn delete_item_with(
        &self,
        table: &str,
        key: Item,
        options: WriteOptions,
    ) -> Result<Written, ClientError> {
        let delete = items::delete_message(table, key, options);
        match self.call(true, Operation::DeleteItem(Box::new(delete))).await? {
            Answer::DeleteItem(gone) => items::written(gone.attributes, gone.stamp, gone.sequence),
            _ => Err(strange()),
        }
    }

    /// One page of the items of a partition key.
    pub async fn query(
        &self,
        table: &str,
        query: KeyQuery,
        from: ReadPage,
    ) -> Result<Page, ClientError> {
        let query = items::query_message(table, query, from);
        match self.call(false, Operation::Query(Box::new(query))).await? {
            Answer::Query(page) => {
                items::page(page.items, page.last_evaluated_key, page.scanned_count)
            }
            _ => Err(strange()),
        }
    }
}
