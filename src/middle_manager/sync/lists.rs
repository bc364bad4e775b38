//! Shares one list between concurrent callers.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Runs lists one after the other. A caller gets one that began after its call, possibly the one that another caller
/// waits for.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    begun: AtomicU64,
    /// Number of the last successful list.
    done: Mutex<u64>,
}

impl Lists {
    /// Waits for a list that begins from now on: `list` or another caller's, in which case `list` never begins.
    pub(crate) async fn one_from_now<E>(&self, list: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= wanted {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        list.await?;
        *done = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_while_one_is_on_its_way_share_the_next() {
        let (lists, count) = (Arc::new(Lists::default()), Arc::new(AtomicU64::new(0)));
        let (go, wait) = oneshot::channel::<()>();
        let (began, begins) = oneshot::channel::<()>();
        let first = {
            let (lists, count) = (lists.clone(), count.clone());
            tokio::spawn(async move {
                let list = async {
                    count.fetch_add(1, Ordering::SeqCst);
                    began.send(()).unwrap();
                    wait.await.map_err(|_| ())
                };
                lists.one_from_now(list).await
            })
        };
        begins.await.unwrap();
        let ask = || {
            let (lists, count) = (lists.clone(), count.clone());
            async move {
                let list = async {
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok::<(), ()>(())
                };
                lists.one_from_now(list).await
            }
        };
        let mut others = Box::pin(futures::future::join_all((0..5).map(|_| ask())));
        assert!(
            futures::poll!(&mut others).is_pending(),
            "the one on its way is too old"
        );
        go.send(()).unwrap();
        assert_eq!(others.await, [Ok(()); 5]);
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_list_that_failed_is_nobodys() {
        let lists = Lists::default();
        assert_eq!(lists.one_from_now(async { Err("no") }).await, Err("no"));
        let mut listed = false;
        let list = async {
            listed = true;
            Ok::<(), &str>(())
        };
        assert_eq!(lists.one_from_now(list).await, Ok(()));
        assert!(listed);
    }
}
