//! Containers that are to be looked at. Events come faster than answers: a container that is named by
//! ten of them is looked at once.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The most containers that wait. When there are more, everything is listed.
const MAX_PENDING: usize = 10_000;

/// Containers that are to be looked at, and whether all are.
#[derive(Debug, Default)]
pub(super) struct Pending {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    order: VecDeque<String>,
    waiting: HashSet<String>,
    all: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// List everything.
    List,
    /// Look at these.
    Look(Vec<String>),
}

impl Pending {
    /// This one is to be looked at.
    pub(super) fn push(&self, id: &str) {
        {
            let mut inner = self.inner.lock();
            if inner.all || inner.waiting.contains(id) {
                return;
            }
            if inner.order.len() >= MAX_PENDING {
                *inner = Inner {
                    all: true,
                    ..Inner::default()
                };
            } else {
                inner.waiting.insert(id.to_owned());
                inner.order.push_back(id.to_owned());
            }
        }
        self.news.notify_one();
    }

    /// Waits until there is something to do.
    pub(super) async fn take(&self) -> Task {
        loop {
            let taken = std::mem::take(&mut *self.inner.lock());
            if taken.all {
                return Task::List;
            }
            if !taken.order.is_empty() {
                return Task::Look(taken.order.into());
            }
            self.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_once_in_order_and_all_when_there_are_too_many() {
        let pending = Pending::default();
        assert_eq!(pending.take().now_or_never(), None);
        for id in ["b", "a", "b", "c", "a"] {
            pending.push(id);
        }
        let three = ["b", "a", "c"].map(str::to_owned).to_vec();
        assert_eq!(pending.take().now_or_never(), Some(Task::Look(three)));
        assert_eq!(pending.take().now_or_never(), None);
        for number in 0..=MAX_PENDING {
            pending.push(&number.to_string());
        }
        pending.push("x");
        assert_eq!(pending.take().now_or_never(), Some(Task::List));
        pending.push("x");
        let one = vec!["x".to_owned()];
        assert_eq!(pending.take().now_or_never(), Some(Task::Look(one)));
    }
}
