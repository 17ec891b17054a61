//! Whether the host answers at all: so that what waits for it learns soon that it waits in vain, while a slow answer, or a stream that
//! says nothing for hours, is waited for.

use std::future::Future;
use std::time::Duration;

use http::Request;
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::error::HostError;

/// How long an answer is waited for before the host is asked whether it lives, and how long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the host whether it lives, for all who wait for it: one question in flight, and at most one for each [`PATIENCE`].
pub(crate) struct Pulse {
    client: kube::Client,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Pulse {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, last: Mutex::default() }
    }

    /// Waits for `answer` for as long as the host lives.
    ///
    /// # Errors
    /// [`HostError::Away`] when there is no answer and the host does not say that it lives either.
    pub(crate) async fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, HostError> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            why = self.lost() => Err(HostError::Away(why)),
        }
    }

    /// Returns when the host does not live, with what was seen instead.
    async fn lost(&self) -> String {
        loop {
            if !self.known_lost().await {
                tokio::time::sleep(PATIENCE).await;
            }
            if let Err(why) = self.ask().await {
                return why;
            }
        }
    }

    /// Whether the host did not live when it was asked last: then there is no reason for patience.
    async fn known_lost(&self) -> bool {
        self.last.lock().await.as_ref().is_some_and(|(_, said)| said.is_err())
    }

    async fn ask(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((when, said)) = last.as_ref()
            && when.elapsed() < PATIENCE
        {
            return said.clone();
        }
        let said = match Request::get("/livez").body(Body::empty()) {
            // Whatever it answers, it answers: what is wrong with it is for the request itself to learn.
            Ok(question) => match timeout(PATIENCE, self.client.send(question)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
            },
            Err(error) => Err(error.to_string()),
        };
        *last = Some((Instant::now(), said.clone()));
        said
    }
}
