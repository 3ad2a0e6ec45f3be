//! Reads the code in a picture, within limits of memory and computing time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use citycode_qr::{ReadImageError, read_image};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest accepted picture: a phone's photograph has a few MB.
pub(super) const MAX_PICTURE_BYTES: usize = 16 << 20;
/// Pictures that are received at once: with the largest ones 64 MiB.
const RECEIVED_AT_ONCE: usize = 4;
/// Pictures decoded at once, for machines with two cores: each takes up to two seconds and some 300 MB.
const DECODED_AT_ONCE: usize = 2;
/// How long a picture waits for its turn: as long as decoding one takes.
const WAIT: Duration = Duration::from_secs(2);

/// The limits of one portal.
pub(super) struct Pictures {
    receiving: Semaphore,
    decoding: Arc<Semaphore>,
}

impl Default for Pictures {
    fn default() -> Self {
        Self {
            receiving: Semaphore::new(RECEIVED_AT_ONCE),
            decoding: Arc::new(Semaphore::new(DECODED_AT_ONCE)),
        }
    }
}

/// Why there is no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    /// No picture was chosen.
    Missing,
    NotAnImage,
    Unsupported,
    TooLarge,
    NoCode,
    Several,
    /// Too many pictures at once, or this one took too long.
    Busy,
}

impl Unread {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Missing,
        Self::NotAnImage,
        Self::Unsupported,
        Self::TooLarge,
        Self::NoCode,
        Self::Several,
        Self::Busy,
    ];

    /// The id of its sentence, which says what is accepted.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "image-missing",
            Self::NotAnImage => "image-not-an-image",
            Self::Unsupported => "image-unsupported",
            Self::TooLarge => "image-too-large",
            Self::NoCode => "image-no-code",
            Self::Several => "image-several",
            Self::Busy => "image-busy",
        }
    }
}

impl From<ReadImageError> for Unread {
    fn from(error: ReadImageError) -> Self {
        match error {
            ReadImageError::NotAnImage => Self::NotAnImage,
            ReadImageError::UnsupportedFormat => Self::Unsupported,
            ReadImageError::TooLarge => Self::TooLarge,
            ReadImageError::NoSymbol | ReadImageError::NotText => Self::NoCode,
            ReadImageError::SeveralSymbols => Self::Several,
            ReadImageError::TimedOut => Self::Busy,
        }
    }
}

impl Pictures {
    /// A permit to receive a picture.
    ///
    /// # Errors
    /// [`Unread::Busy`].
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Unread> {
        match tokio::time::timeout(WAIT, self.receiving.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Unread::Busy),
        }
    }

    /// The text of the only code in a picture. It is decoded on a blocking thread, which keeps its permit also if nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// [`Unread`].
    pub(super) async fn read(&self, picture: Bytes) -> Result<String, Unread> {
        if picture.is_empty() {
            return Err(Unread::Missing);
        }
        if picture.len() > MAX_PICTURE_BYTES {
            return Err(Unread::TooLarge);
        }
        let waited = tokio::time::timeout(WAIT, Arc::clone(&self.decoding).acquire_owned()).await;
        let Ok(Ok(permit)) = waited else {
            return Err(Unread::Busy);
        };
        let read = tokio::task::spawn_blocking(move || {
            let text = read_image(&picture);
            drop((picture, permit));
            text
        });
        match read.await {
            Ok(read) => read.map_err(Unread::from),
            Err(_) => Err(Unread::NotAnImage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Language;
    use crate::words::Words;

    #[test]
    fn every_fault_of_a_picture_has_a_sentence_that_names_the_accepted_formats() {
        let words = Words::built_in();
        for unread in Unread::ALL {
            for language in [Language::Chinese, Language::English] {
                let sentence = words.find(language, unread.sentence(), &[]).expect("a sentence");
                assert!(sentence.contains("PNG") && sentence.contains("JPEG"), "{sentence}");
            }
        }
    }

    #[tokio::test]
    async fn a_picture_without_a_code_is_told_from_another_file() {
        let pictures = Pictures::default();
        let read = async |bytes: &'static [u8]| pictures.read(Bytes::from_static(bytes)).await;
        assert_eq!(read(b"").await, Err(Unread::Missing));
        assert_eq!(read(b"hello").await, Err(Unread::NotAnImage));
        assert_eq!(read(b"GIF89a").await, Err(Unread::Unsupported));
        let large = Bytes::from(vec![0; MAX_PICTURE_BYTES + 1]);
        assert_eq!(pictures.read(large).await, Err(Unread::TooLarge));
    }
}
