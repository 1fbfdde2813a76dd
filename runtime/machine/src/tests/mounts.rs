//! The catalogue and mounts: upload, install, mount, upgrade, unmount.

use super::harness::{
    Client, Harness, call, code, component, create, delete, mount, path, set, upload,
};
use super::scripted::SIGNATURE;
use alloc::boxed::Box;
use bytes::Bytes;
use quorate_types::limits::Limits;
use quorate_types::request::CreateMode;
use quorate_types::{ErrorCode, Operation, RecipeSignature, Reply};

fn start() -> (Harness, Client) {
    let mut harness = Harness::new();
    let client = harness.open("operator");
    (harness, client)
}

#[test]
fn an_upload_is_taken_in_order_and_repeats_do_no_harm() {
    let (mut harness, mut client) = start();
    let (digest, bytes) = component(0);
    let part = |from: usize, to: usize| Operation::UploadComponent {
        digest,
        total_bytes: 8,
        offset: u32::try_from(from).unwrap(),
        bytes: Bytes::copy_from_slice(&bytes[from..to]),
        signature: None,
    };
    assert_eq!(harness.ask(&mut client, part(0, 3)), Ok(Reply::Uploaded(3)));
    assert_eq!(harness.ask(&mut client, part(0, 3)), Ok(Reply::Uploaded(3)));
    assert_eq!(code(&harness.ask(&mut client, part(4, 8))), Some(ErrorCode::BadArguments));
    assert_eq!(harness.machine.component_bytes(&digest), None);
    let install = Operation::InstallRecipe { digest, signature: None };
    assert_eq!(code(&harness.ask(&mut client, install.clone())), Some(ErrorCode::NoRecipe));
    let (uploaded, applied) = harness.ask_all(&mut client, part(3, 8));
    assert_eq!((uploaded, applied.components_completed), (Ok(Reply::Uploaded(8)), [digest].into()));
    assert_eq!(harness.ask(&mut client, part(0, 3)), Ok(Reply::Uploaded(8)));
    assert_eq!(harness.machine.component_bytes(&digest).as_deref(), Some(&bytes[..]));
    assert_eq!(harness.machine.components(), [digest]);
    harness.executor.loading.insert(digest);
    assert_eq!(code(&harness.ask(&mut client, install.clone())), Some(ErrorCode::RecipeLoading));
    harness.executor.loading.clear();
    let installed = harness.ask(&mut client, install.clone());
    let again = harness.ask(&mut client, install);
    assert_eq!(installed, again);
    let (removed, applied) = harness.ask_all(&mut client, Operation::RemoveRecipe { digest });
    assert_eq!((removed, applied.components_removed), (Ok(Reply::Done), [digest].into()));
    let removed = harness.ask(&mut client, Operation::RemoveRecipe { digest });
    assert_eq!(code(&removed), Some(ErrorCode::NoRecipe));
}

#[test]
fn a_component_that_cannot_be_a_recipe_leaves_the_catalogue_with_its_refusal() {
    let (mut harness, mut client) = start();
    let digest = component(0).0;
    let install = Operation::InstallRecipe { digest, signature: None };
    harness.executor.invalid.insert(digest);
    for _ in 0..2 {
        assert_eq!(harness.ask(&mut client, upload(0)), Ok(Reply::Uploaded(8)));
        let (refused, applied) = harness.ask_all(&mut client, install.clone());
        assert_eq!(code(&refused), Some(ErrorCode::RecipeInvalid));
        assert_eq!(applied.components_removed, [digest]);
        assert_eq!(harness.machine.components(), []);
        assert_eq!(harness.machine.component_bytes(&digest), None);
    }
    assert_eq!(code(&harness.ask(&mut client, install)), Some(ErrorCode::NoRecipe));
    harness.executor.invalid.clear();
    harness.install(&mut client, 0);
}

#[test]
fn uploads_that_nobody_installed_make_room_and_recipes_do_not() {
    let (mut harness, mut client) = start();
    let room = u8::try_from(Limits::TESTED.components_max).unwrap();
    let installed = harness.install(&mut client, 0);
    for seed in 1..room * 2 {
        assert_eq!(harness.ask(&mut client, upload(seed)), Ok(Reply::Uploaded(8)), "{seed}");
        assert!(harness.machine.components().len() <= usize::from(room), "{seed}");
        assert!(harness.machine.components().contains(&installed), "{seed}");
    }
    let (mut harness, mut client) = start();
    for seed in 0..room {
        harness.install(&mut client, seed);
    }
    let refused = harness.ask(&mut client, upload(room));
    assert_eq!(code(&refused), Some(ErrorCode::QuotaExceeded));
    assert_eq!(harness.machine.components().len(), usize::from(room));
}

#[test]
fn an_upload_with_another_digest_is_refused_and_can_begin_again() {
    let (mut harness, mut client) = start();
    let (digest, bytes) = component(0);
    let part = |offset: u32, bytes: &[u8]| Operation::UploadComponent {
        digest,
        total_bytes: 8,
        offset,
        bytes: Bytes::copy_from_slice(bytes),
        signature: None,
    };
    harness.ask(&mut client, part(0, &[0xff; 4])).unwrap();
    let refused = harness.ask(&mut client, part(4, &bytes[4..]));
    assert_eq!(code(&refused), Some(ErrorCode::BadArguments));
    assert_eq!(code(&harness.ask(&mut client, part(0, &[1; 8]))), Some(ErrorCode::BadArguments));
    assert_eq!(harness.ask(&mut client, part(0, &bytes)), Ok(Reply::Uploaded(8)));
    for wrong in [
        part(0, &[0; 9]),
        Operation::UploadComponent {
            digest,
            total_bytes: 0,
            offset: 0,
            bytes: Bytes::new(),
            signature: None,
        },
        Operation::UploadComponent {
            digest,
            total_bytes: 9,
            offset: 0,
            bytes: Bytes::from_static(b"x"),
            signature: None,
        },
    ] {
        let refused = harness.ask(&mut client, wrong.clone());
        let allowed = [Some(ErrorCode::QuotaExceeded), Some(ErrorCode::BadArguments), None];
        assert!(allowed.contains(&code(&refused)), "{wrong:?}: {refused:?}");
    }
}

#[test]
fn what_the_executor_does_not_vouch_for_leaves_nothing_behind() {
    let (mut harness, mut client) = start();
    let (digest, bytes) = component(0);
    let part = |from: usize, to: usize, signature| Operation::UploadComponent {
        digest,
        total_bytes: 8,
        offset: u32::try_from(from).unwrap(),
        bytes: Bytes::copy_from_slice(&bytes[from..to]),
        signature,
    };
    let install = |signature| Operation::InstallRecipe { digest, signature };
    let signed = |bytes| Some(Box::new(RecipeSignature(bytes)));
    let (good, wrong) = (signed(SIGNATURE.0), signed([0; 64]));
    let untrusted = Some(ErrorCode::RecipeNotTrusted);
    harness.executor.signed_only.insert(digest);
    for signature in [None, wrong.clone()] {
        let (refused, applied) = harness.ask_all(&mut client, part(0, 8, signature));
        assert_eq!((code(&refused), applied.components_completed), (untrusted, [].into()));
        assert!(harness.machine.components().is_empty());
        assert_eq!(
            code(&harness.ask(&mut client, install(good.clone()))),
            Some(ErrorCode::NoRecipe)
        );
    }
    // Every part is judged, and so is the whole, by whoever leads then.
    harness.ask(&mut client, part(0, 4, good.clone())).unwrap();
    assert_eq!(code(&harness.ask(&mut client, part(4, 8, wrong.clone()))), untrusted);
    assert_eq!(harness.ask(&mut client, part(4, 8, good.clone())), Ok(Reply::Uploaded(8)));
    for signature in [None, wrong.clone()] {
        assert_eq!(code(&harness.ask(&mut client, install(signature))), untrusted);
    }
    let refused = harness.ask(&mut client, mount("/locks", digest, false));
    assert_eq!(code(&refused), Some(ErrorCode::NoRecipe));
    let installed = harness.ask(&mut client, install(good.clone()));
    assert!(matches!(installed, Ok(Reply::Installed(_))), "{installed:?}");
    // What is in stays, whatever is trusted later.
    assert_eq!(harness.ask(&mut client, install(None)), installed);
    assert_eq!(harness.ask(&mut client, part(0, 8, None)), Ok(Reply::Uploaded(8)));
    harness.ask(&mut client, mount("/locks", digest, false)).unwrap();
}

#[test]
fn mounts_do_not_nest_and_need_an_installed_recipe() {
    let (mut harness, mut client) = start();
    let digest = component(0).0;
    let refused = harness.ask(&mut client, mount("/locks", digest, false));
    assert_eq!(code(&refused), Some(ErrorCode::NoRecipe));
    for name in ["/full", "/full/x", "/a", "/a/b"] {
        harness.ask(&mut client, create(name, CreateMode::Persistent)).unwrap();
    }
    harness.ask(&mut client, create("/gone", CreateMode::Ephemeral)).unwrap();
    harness.mount(&mut client, "/a/b", false);
    for (at, expected) in [
        ("/a/b/c", ErrorCode::GovernedByRecipe),
        ("/a", ErrorCode::GovernedByRecipe),
        ("/full", ErrorCode::NotEmpty),
        ("/gone", ErrorCode::NoChildrenForEphemerals),
        ("/no/where", ErrorCode::NoNode),
        ("/", ErrorCode::BadArguments),
    ] {
        let refused = harness.ask(&mut client, mount(at, digest, false));
        assert_eq!(code(&refused), Some(expected), "{at}");
    }
    harness.ask(&mut client, mount("/a/b-1", digest, false)).unwrap();
    let Ok(Reply::Mounts(mounts)) =
        harness.machine.read(&crate::Identity::default(), &Operation::ListMounts)
    else {
        unreachable!("mounts are listed");
    };
    assert_eq!(mounts.len(), 2);
    assert_eq!((mounts[0].recipe.as_str(), mounts[0].version.as_str()), ("lock", "1.0.0"));
    let refused = harness.ask(&mut client, Operation::RemoveRecipe { digest });
    assert_eq!(code(&refused), Some(ErrorCode::RecipeInUse));
}

#[test]
fn below_a_closed_mount_only_the_recipe_writes() {
    let (mut harness, mut client) = start();
    harness.mount(&mut client, "/locks", false);
    harness.call(&mut client, "/locks/a", "touch").unwrap();
    for operation in [
        create("/locks/mine", CreateMode::Persistent),
        delete("/locks/a/t-0000000000"),
        set("/locks/a", b"", None),
        delete("/locks"),
        set("/locks", b"", None),
    ] {
        let refused = harness.ask(&mut client, operation.clone());
        assert_eq!(code(&refused), Some(ErrorCode::GovernedByRecipe), "{operation:?}");
    }
}

#[test]
fn an_open_mount_lets_clients_write_and_tells_its_recipe() {
    let (mut harness, mut client) = start();
    harness.mount(&mut client, "/open", true);
    let (created, applied) =
        harness.ask_all(&mut client, create("/open/mine", CreateMode::Persistent));
    assert!(created.is_ok());
    assert_eq!(applied.events.len(), 2, "the recipe noted it in the same transaction");
    assert_eq!(harness.children("/open"), ["heard", "mine"]);
    harness.executor.handlers_trap = true;
    harness.ask(&mut client, set("/open/mine", b"2", None)).unwrap();
    assert_eq!(harness.outstanding.faults(&path("/open")), 1);
    harness.executor.handlers_trap = false;
    harness.executor.loading.insert(component(0).0);
    let refused = harness.ask(&mut client, set("/open/mine", b"3", None));
    assert_eq!(code(&refused), Some(ErrorCode::RecipeLoading));
    let refused = harness.ask(&mut client, delete("/open"));
    assert_eq!(code(&refused), Some(ErrorCode::GovernedByRecipe));
}

#[test]
fn an_unmount_answers_tickets_drops_timers_and_leaves_znodes() {
    let (mut harness, mut client) = start();
    let mut waiter = harness.open("waiter");
    let digest = harness.mount(&mut client, "/locks", false);
    harness.call(&mut client, "/locks/a", "acquire").unwrap();
    harness.call(&mut waiter, "/locks/a", "acquire").unwrap();
    harness.ask(&mut client, call("/locks/a", "lease", &9_000u64.to_be_bytes())).unwrap();
    let (done, applied) = harness.ask_all(&mut client, Operation::Unmount { path: path("/locks") });
    assert_eq!(done, Ok(Reply::Done));
    assert_eq!(code(&applied.replies[0].outcome), Some(ErrorCode::NoMount));
    assert_eq!((harness.machine.ticket_count(), harness.machine.next_deadline_ms()), (0, None));
    assert_eq!(harness.children("/locks/a").len(), 2);
    let again = harness.ask(&mut client, Operation::Unmount { path: path("/locks") });
    assert_eq!(code(&again), Some(ErrorCode::NoMount));
    harness.ask(&mut client, Operation::RemoveRecipe { digest }).unwrap();
    harness.close(&mut waiter);
}

#[test]
fn a_mounted_event_that_fails_refuses_the_mount() {
    let (mut harness, mut client) = start();
    let digest = harness.install(&mut client, 0);
    harness.executor.handlers_trap = true;
    let refused = harness.ask_refused(&mut client, mount("/locks", digest, false));
    assert_eq!(code(&refused), Some(ErrorCode::RecipeTrapped));
}

#[test]
fn a_newer_version_migrates_the_state_and_an_older_one_is_refused() {
    let (mut harness, mut client) = start();
    let old = harness.mount(&mut client, "/locks", false);
    let new = harness.install(&mut client, 1);
    harness.call(&mut client, "/locks/a", "acquire").unwrap();
    harness.ask(&mut client, mount("/locks", new, false)).unwrap();
    assert_eq!(harness.children("/locks"), ["a", "migrated"]);
    harness.call(&mut client, "/locks/a", "release").unwrap();
    let refused = harness.ask(&mut client, mount("/locks", old, false));
    assert_eq!(code(&refused), Some(ErrorCode::RecipeInvalid));
    let config = |config: &'static [u8]| Operation::Mount {
        path: path("/locks"),
        digest: new,
        config: Bytes::from_static(config),
        open: false,
        fuel: Some(5),
    };
    harness.ask(&mut client, config(b"stuck")).unwrap();
    assert_eq!(harness.children("/locks"), ["configured", "migrated"]);
    let refused = harness.ask(&mut client, config(b"other"));
    assert_eq!(code(&refused), Some(ErrorCode::RecipeRefused));
    harness.ask(&mut client, upload(2)).unwrap();
}
