//! `POST /platform/v1/tenants/{id}/archives/export`: the decrypted dump of a tenant's newest archive, as a stream.
//!
//! A task of its own reads the archive and hands over one piece at a time. The task gives up when the client takes no
//! piece for a while, so that nobody occupies an export by not reading. The stream then ends in an error, and the client
//! sees that the dump is not whole.

use std::{io, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};

use crate::{
    error::{Error, Result},
    http::{
        AppState,
        extract::{NoBody, Operator, Path, right},
        problem::Problem,
    },
    operations::tenants::export,
    types::TenantId,
};

const PIECE: usize = 64 * 1024;
/// How long a client may take for one piece.
const SLOWEST: Duration = Duration::from_mins(1);
/// How long a whole export may take: as long as a restore.
const LONGEST: Duration = Duration::from_hours(12);

/// What the reading task hands over. Without the end, the dump is not whole.
enum Part {
    Bytes(Bytes),
    End,
}

/// The rows of an archived tenant, decrypted: what `pg_restore` reads. The audit log names each export.
///
/// The dump is of the newest archive. It is whole only if the answer ends as HTTP says; a connection that is cut is no
/// end.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/archives/export", tag = "tenants",
    operation_id = "export_archive", params(("id" = TenantId, Path)),
    responses(
        (status = 200, description = "A dump of PostgreSQL's custom format", body = String,
            content_type = "application/octet-stream"),
        (status = 409, description = "There is no store, or the archive is damaged", body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
    ),
)]
pub(super) async fn export(
    caller: Operator<right::ArchivesExport>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    _: NoBody,
) -> Result<Response, Problem> {
    let busy = |_| Error::unavailable("too_many_streams", "too many archives are being exported here", None);
    let slot = state.streams.exports.clone().try_acquire_owned().map_err(busy)?;
    let export::Export { archive, dump } = export::begin(&state.operations, id, &caller.origin()).await?;
    let (sender, receiver) = mpsc::channel(1);
    let stop = state.streams.stop.clone();
    state.tasks.spawn(async move {
        let _slot = slot;
        let sending = stop.run_until_cancelled(timeout(LONGEST, send(dump, &sender, SLOWEST)));
        match sending.await {
            Some(Ok(Ok(bytes))) => tracing::info!(archive.id = %archive, bytes, "an archive was exported"),
            Some(Ok(Err(error))) => {
                let error = Error::from_reader(error);
                tracing::warn!(archive.id = %archive, error = error.chain(), "an export ended early");
            }
            Some(Err(_)) | None => tracing::warn!(archive.id = %archive, "an export was given up"),
        }
    });
    let file = format!("attachment; filename=\"{archive}.dump\"");
    let headers =
        [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-store"), (CONTENT_DISPOSITION, file.as_str())];
    Ok((headers, Body::from_stream(received(receiver))).into_response())
}

/// Hands over all of `dump`, and then its end; waits for each piece to be taken as long as `slowest`. Returns the number
/// of bytes.
async fn send(mut dump: impl AsyncRead + Unpin, sender: &Sender<Part>, slowest: Duration) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = dump.read_buf(&mut piece).await?;
        let part = if read == 0 { Part::End } else { Part::Bytes(piece.freeze()) };
        let gone = |_| io::Error::other("the client has not taken the whole dump");
        sender.send_timeout(part, slowest).await.map_err(gone)?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

/// The bytes that come in. When they stop before the end, the stream fails, so that HTTP shows it.
fn received(receiver: Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(receiver, async |mut receiver| match receiver.recv().await {
        Some(Part::Bytes(bytes)) => Ok(Some((bytes, receiver))),
        Some(Part::End) => Ok(None),
        None => Err(io::Error::other("the export has ended early")),
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn taken(part: impl AsyncRead + Unpin + Send + 'static) -> io::Result<usize> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move { send(part, &sender, SLOWEST).await });
        let pieces: Vec<_> = received(receiver).try_collect().await?;
        Ok(pieces.iter().map(Bytes::len).sum())
    }

    #[tokio::test]
    async fn a_dump_that_breaks_off_never_ends_as_a_whole_one() {
        let whole = u64::try_from(3 * PIECE).unwrap();
        assert_eq!(taken(tokio::io::repeat(7).take(whole)).await.unwrap(), 3 * PIECE);
        let broken = tokio_util::io::StreamReader::new(stream::iter([
            Ok(Bytes::from_static(b"half")),
            Err(io::Error::other(Error::conflict("archive_damaged", "damaged"))),
        ]));
        assert!(taken(broken).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (sender, receiver) = mpsc::channel(1);
        let slowest = Duration::from_millis(50);
        assert!(send(tokio::io::repeat(7), &sender, slowest).await.is_err());
        drop(sender);
        assert!(received(receiver).try_collect::<Vec<_>>().await.is_err());
    }
}
