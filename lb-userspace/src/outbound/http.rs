//! One HTTP request on a connection of its own. The answer is read to its end,
//! as far as that is bearable, so that no server sees a reset.

use std::pin::pin;

use http_body_util::BodyExt as _;
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The room for an answer's head.
const HEAD_MAX: usize = 16 << 10;
/// How much of an answer's body is read before it is enough.
const BODY_MAX: usize = 64 << 10;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Why the body is not whole, as far as it was read.
    pub broken: Option<hyper::Error>,
}

/// Sends the request and reads the answer.
///
/// # Errors
/// When there is no answer, or its head is not one.
pub async fn exchange<S, B>(stream: S, request: Request<B>) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data: Send, Error: std::error::Error + Send + Sync> + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut answer = pin!(async move { Ok(read(sender.send_request(request).await?).await) });
    tokio::select! {
        answer = &mut answer => answer,
        // Whatever the connection had to say, the answer has it by now.
        _ = connection => answer.await,
    }
}

async fn read(response: Response<Incoming>) -> Answer {
    let status = response.status();
    let mut body = response.into_body();
    let mut read = 0;
    let mut broken = None;
    while read < BODY_MAX
        && let Some(frame) = body.frame().await
    {
        match frame {
            Ok(frame) => read += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    Answer { status, broken }
}
