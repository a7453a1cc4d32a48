//! Cuts what a reader yields into chunks, and knows which is the last: the reader looks one byte ahead.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Chunks of one size; the last may be shorter, and is empty only where there is nothing at all.
pub(super) struct Chunks<R> {
    reader: R,
    size: usize,
    /// The byte that was read beyond the chunk before.
    ahead: Option<u8>,
}

/// A piece of what was read.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) is_last: bool,
}

impl<R: AsyncRead + Unpin> Chunks<R> {
    pub(super) fn new(reader: R, size: usize) -> Self {
        Self { reader, size, ahead: None }
    }

    /// The next chunk. Not to be called again after the last.
    pub(super) async fn next(&mut self) -> io::Result<Chunk> {
        let limit = self.size + 1;
        // Room for a tag as well: sealing in place must not move a chunk.
        let mut bytes = Vec::with_capacity(limit + 16);
        bytes.extend(self.ahead.take());
        let missing = u64::try_from(limit - bytes.len()).map_err(io::Error::other)?;
        (&mut self.reader).take(missing).read_to_end(&mut bytes).await?;
        if bytes.len() == limit {
            self.ahead = bytes.pop();
        }
        Ok(Chunk { bytes, is_last: self.ahead.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(length: usize, size: usize) -> Vec<usize> {
        let data = vec![7; length];
        let mut chunks = Chunks::new(data.as_slice(), size);
        let mut lengths = Vec::new();
        loop {
            let chunk = chunks.next().await.unwrap();
            lengths.push(chunk.bytes.len());
            if chunk.is_last {
                return lengths;
            }
        }
    }

    #[tokio::test]
    async fn only_nothing_at_all_ends_in_an_empty_chunk() {
        assert_eq!(cut(0, 4).await, [0]);
        assert_eq!(cut(3, 4).await, [3]);
        assert_eq!(cut(4, 4).await, [4]);
        assert_eq!(cut(5, 4).await, [4, 1]);
        assert_eq!(cut(8, 4).await, [4, 4]);
    }
}
