//! Where tiles are stored: the contract, and a store in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;

/// Reads tiles by name, for example from a folder or over HTTP. Nothing that it returns is trusted.
pub trait TileSource {
    /// Why a tile could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The bytes of that name; `None` if there are none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// What [`TileStore::put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The name has these bytes, now or since earlier.
    Stored,
    /// The name already has other bytes, which were left unchanged.
    Conflict,
}

/// Stores named immutable tiles, and one small mutable state.
///
/// # Order and durability
/// A tile that was put may be visible at once or only after the next successful [`flush`](Self::flush); after a flush
/// it is durable. If the process or the machine stops before that, each tile exists completely or not at all. The state
/// is replaced atomically and durably. A store has one writer.
///
/// # Errors
/// After an error it is unknown what of the call took effect; [`TileWriter`](super::TileWriter) opens the store again.
pub trait TileStore: TileSource {
    /// Stores a tile unless the name exists.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<Put, Self::Error>;

    /// Makes every tile durable that was put before.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// The state; `None` if there is none yet.
    fn state(&self) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Replaces the state.
    fn replace_state(&mut self, state: &[u8]) -> Result<(), Self::Error>;

    /// Removes every tile whose name is `tile`, then `.p/`, then anything. It need not be durable.
    fn remove_partials(&mut self, tile: &str) -> Result<(), Self::Error>;
}

/// Tiles in memory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct MemoryTiles {
    /// The tiles by name.
    pub tiles: BTreeMap<String, Vec<u8>>,
    /// The state.
    pub state: Option<Vec<u8>>,
}

impl TileSource for MemoryTiles {
    type Error = Infallible;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.tiles.get(name).cloned())
    }
}

impl TileStore for MemoryTiles {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<Put, Infallible> {
        if let Some(existing) = self.tiles.get(name) {
            return Ok(if existing == bytes { Put::Stored } else { Put::Conflict });
        }
        self.tiles.insert(name.to_owned(), bytes.to_vec());
        Ok(Put::Stored)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn state(&self) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.state.clone())
    }

    fn replace_state(&mut self, state: &[u8]) -> Result<(), Infallible> {
        self.state = Some(state.to_vec());
        Ok(())
    }

    fn remove_partials(&mut self, tile: &str) -> Result<(), Infallible> {
        let prefix = format!("{tile}.p/");
        self.tiles.retain(|name, _| !name.starts_with(&prefix));
        Ok(())
    }
}

impl<T: TileSource + ?Sized> TileSource for &T {
    type Error = T::Error;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, T::Error> {
        (**self).get(name)
    }
}
