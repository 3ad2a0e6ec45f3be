//! Writes records, each expected to follow a certain message of its subject.

use async_nats::HeaderMap;
use bytes::Bytes;
use citycode_jetstream::api;
use citycode_jetstream::publish::{Published, publish};

use super::message::Message;
use super::{Inner, PAUSE, stream_name};
use crate::{Entry, Table, Unavailable};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const LIFETIME: &str = "Nats-TTL";

/// What a write did.
enum Written {
    Done,
    /// The expectation does not hold. `doubtful`: an earlier attempt of this write may have been stored.
    Refused {
        doubtful: bool,
    },
}

impl Inner {
    /// The message to write now, and its headers without the expectation.
    fn message(&self, entry: Entry<'_>) -> (Message, HeaderMap) {
        let mut write = [0; 16];
        (self.environment.fill_random)(&mut write);
        let message = Message {
            write,
            expires_at: entry.expires_at,
            value: entry.value.to_vec(),
        };
        let left = entry.expires_at.saturating_sub((self.environment.now)());
        let kept = u64::try_from(left)
            .unwrap_or(0)
            .saturating_add(self.limits.kept_after_expiry.as_secs())
            .max(1);
        let mut headers = HeaderMap::new();
        headers.insert(LIFETIME, kept.to_string());
        (message, headers)
    }

    /// Publishes until the servers acknowledge or refuse it.
    async fn write(
        &self,
        subject: &str,
        message: &Bytes,
        mut headers: HeaderMap,
        expected: u64,
    ) -> Result<Written, Unavailable> {
        headers.insert(EXPECTED, expected.to_string());
        let mut doubtful = false;
        loop {
            let published = publish(&self.client, subject.to_owned(), headers.clone(), message.clone()).await;
            match published {
                // The message is durable: a crash from here on leaves it.
                Published::Written(_) | Published::Known(_) => return Ok(Written::Done),
                Published::WrongRevision => return Ok(Written::Refused { doubtful }),
                // It may have been stored; the repeat with the same expectation is refused then.
                Published::Unanswered | Published::InFlight(_) => doubtful = true,
                Published::NotNow(why) => tracing::debug!(why, "a record is written again"),
                Published::Refused(why) | Published::Unknown(why) => return Err(Unavailable::new(why)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn create(
        &self,
        table: Table,
        key: &[u8],
        entry: Entry<'_>,
        now: i64,
    ) -> Result<bool, Unavailable> {
        self.check_room(table).await?;
        let subject = self.key_subject(table, key);
        let (message, headers) = self.message(entry);
        let bytes = Bytes::from(message.to_bytes());
        let (mut expected, mut doubtful) = (0, false);
        loop {
            let written = self.write(&subject, &bytes, headers.clone(), expected).await?;
            let Written::Refused { doubtful: now_doubtful } = written else {
                return Ok(true);
            };
            doubtful |= now_doubtful;
            // The servers removed the message that was expected, or another writer was first.
            let Some(stored) = self.read(table, &subject).await? else {
                expected = 0;
                continue;
            };
            if stored.message.write == message.write {
                return Ok(true);
            }
            if doubtful {
                return Err(unknown());
            }
            if stored.message.expires_at > now {
                return Ok(false);
            }
            expected = stored.sequence;
        }
    }

    pub(super) async fn replace(
        &self,
        table: Table,
        key: &[u8],
        revision: u64,
        entry: Entry<'_>,
    ) -> Result<bool, Unavailable> {
        // No record has the revision 0, with which a message would be expected to be the first of its subject.
        if revision == 0 {
            return Ok(false);
        }
        let subject = self.key_subject(table, key);
        let (message, headers) = self.message(entry);
        let bytes = Bytes::from(message.to_bytes());
        let Written::Refused { doubtful } = self.write(&subject, &bytes, headers, revision).await? else {
            return Ok(true);
        };
        let stored = self.read(table, &subject).await?;
        match stored {
            Some(stored) if stored.message.write == message.write => Ok(true),
            _ if doubtful => Err(unknown()),
            _ => Ok(false),
        }
    }

    /// Refuses new records of a full table. Portals that create records at the same moment may exceed the limit by a few;
    /// the stream's own limit is higher, because existing records are replaced and freshness is proven in a full table too.
    async fn check_room(&self, table: Table) -> Result<(), Unavailable> {
        // One message is the proof of freshness.
        self.prove(table).await?;
        let info = api::stream_info(&self.client, &stream_name(table)).await;
        let messages = info.map_err(Unavailable::new)?.state.messages;
        let most = self.limits.most.unwrap_or(table.most_in_city());
        if messages > most {
            return Err(Unavailable::new("there are too many records of this kind"));
        }
        Ok(())
    }
}

fn unknown() -> Unavailable {
    Unavailable::new("it is not known whether the record was written")
}
