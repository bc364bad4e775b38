use super::*;

fn worker(capacity: u32) -> Worker {
    Worker {
        host: "bridge".into(),
        port: 8091,
        tls: false,
        ip: "10.0.0.5".into(),
        capacity,
        category: "c".into(),
        version: "0".into(),
    }
}

/// Announces whatever is wanted at once, and takes so long to withdraw it.
struct Obedient {
    farewell: Duration,
}

impl Discovery for Obedient {
    async fn keep(self, mut wanted: watch::Receiver<Wanted>, board: Board) {
        let mut held = Wanted::<Worker>::new();
        loop {
            let now = wanted.borrow_and_update().clone();
            for identity in held.keys().filter(|o| !now.contains_key(o)) {
                board.withdrawn(identity);
            }
            for identity in now.keys() {
                board.set(identity, Presence::Announced);
            }
            held = now;
            if wanted.changed().await.is_err() {
                break;
            }
        }
        tokio::time::sleep(self.farewell).await;
        for identity in held.keys() {
            board.withdrawn(identity);
        }
    }
}

async fn until(states: &mut watch::Receiver<States>, what: impl FnMut(&States) -> bool) -> States {
    let waited = tokio::time::timeout(Duration::from_secs(10), states.wait_for(what)).await;
    waited.unwrap().unwrap().clone()
}

#[tokio::test]
async fn tells_what_became_of_every_identity() {
    let announcer = Announcer::start(Obedient {
        farewell: Duration::ZERO,
    });
    let mut states = announcer.states();
    announcer.announce(Ordinal(0), worker(1));
    announcer.announce(Ordinal(1), worker(2));
    let both = until(&mut states, |s| s.len() == 2).await;
    assert!(both.values().all(AnnouncementState::announced));
    announcer.withdraw(&Ordinal(0));
    until(&mut states, |s| !s.contains_key(&Ordinal(0))).await;
    announcer.stop().await.unwrap();
    assert!(states.borrow().is_empty());
}

#[tokio::test]
async fn the_same_again_is_no_news() {
    let announcer = Announcer::start(Obedient {
        farewell: Duration::ZERO,
    });
    let mut wanted = announcer.wanted.subscribe();
    announcer.announce(Ordinal(0), worker(1));
    assert!(wanted.has_changed().unwrap());
    wanted.mark_unchanged();
    announcer.announce(Ordinal(0), worker(1));
    announcer.withdraw(&Ordinal(1));
    assert!(!wanted.has_changed().unwrap());
    announcer.announce(Ordinal(0), worker(2));
    assert!(wanted.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_takes_too_long_is_not_waited_for() {
    let announcer = Announcer::start(Obedient {
        farewell: Duration::from_secs(3600),
    });
    let mut states = announcer.states();
    announcer.announce(Ordinal(0), worker(1));
    until(&mut states, |s| s.len() == 1).await;
    let error = announcer.stop().await.unwrap_err();
    assert!(error.to_string().contains("within 10 s"), "{error}");
}

/// Ends before it is told to, with something announced.
struct Broken;

impl Discovery for Broken {
    async fn keep(self, _: watch::Receiver<Wanted>, board: Board) {
        board.set(&Ordinal(0), Presence::Announced);
    }
}

#[tokio::test]
async fn what_was_not_withdrawn_is_said() {
    let error = Announcer::start(Broken).stop().await.unwrap_err();
    assert!(error.to_string().contains("not confirmed"), "{error}");
}

#[test]
fn an_error_does_not_change_what_stands() {
    let board: Board = Board(watch::channel(States::<Worker>::new()).0);
    let wanted: Wanted = [(Ordinal(0), worker(1)), (Ordinal(1), worker(1))].into();
    board.set(&Ordinal(0), Presence::Announced);
    board.wrong(&Ordinal(0), "one");
    board.wrong(&Ordinal(1), "two");
    board.set(&Ordinal(2), Presence::Announced);
    let state = |presence, error: &str| AnnouncementState {
        presence,
        error: Some(error.to_owned()),
    };
    assert_eq!(board.0.borrow()[&Ordinal(0)], state(Presence::Announced, "one"));
    // A lost connection leaves what stands, and forgets who is not wanted any more.
    board.all_wrong(&wanted, false, "lost");
    let expected: States = [
        (Ordinal(0), state(Presence::Announced, "lost")),
        (Ordinal(1), state(Presence::Absent, "lost")),
    ]
    .into();
    assert_eq!(*board.0.borrow(), expected);
    // A session that has ended leaves nothing.
    board.all_wrong(&wanted, true, "over");
    assert!(
        board
            .0
            .borrow()
            .values()
            .all(|s| *s == state(Presence::Absent, "over"))
    );
    board.set(&Ordinal(0), Presence::Announced);
    assert_eq!(board.0.borrow()[&Ordinal(0)].error, None);
}

#[test]
fn processes_differ_though_their_names_do_not() {
    let (one, two) = (this_process("pod"), this_process("pod"));
    assert_ne!(one.instance, two.instance);
    assert!(one.instance.starts_with("pod/"));
}
