//! Round trips of random frames of every kind, and hostile bytes made from them.
//!
//! Comes in: a seed. Goes out: nothing but assertions. Invariant: a seed gives the same frames on
//! every machine.

use crate::native::{ClientFrame, FrameBuffer, Resume, ServerFrame, encode_client, encode_server};
use crate::peer::{self, PeerFrame};
use crate::{FrameError, outcome_from_bytes, outcome_to_bytes};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::recipe::{
    InstalledRecipe, MountedRecipe, OperationDescriptor, OperationFigures, OperationKind,
    RecipeDescriptor, ShadowDifference, ShadowReport, ShadowRun,
};
use quorate_types::request::{
    CreateMode, HeldWatch, MemberAddress, MemberStatus, MembersWanted, MultiOperation, MultiReply,
    ReadLevel, ReadOperation, RestoredKind, RestoredWatch, ServerStatus, WantedMember, WatchEvent,
    WatchEventKind, WatchMode, WatchPosition,
};
use quorate_types::{
    AclEntry, ComponentDigest, ErrorCode, Incarnation, Operation, Outcome, Permissions,
    RecipeSignature, Refusal, Reply, ServerId, SessionId, Stat, TicketId, ZnodeData, ZnodePath,
    Zxid,
};

const LIMIT: u32 = 1 << 20;
const ROUNDS: u64 = 400;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Small and large numbers alike, so that every width of the encoding is met.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 0
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        if self.bool() { Some(make(self)) } else { None }
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn small(&mut self) -> u32 {
        self.number() as u32
    }

    fn version(&mut self) -> Option<i32> {
        self.option(|random| random.number() as i32)
    }

    fn bytes(&mut self) -> Bytes {
        let length = if self.below(20) == 0 { 3_000 } else { self.below(40) };
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn data(&mut self) -> ZnodeData {
        if self.below(8) == 0 { ZnodeData::NULL } else { self.bytes().into() }
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'B', '0', '-', ' ', 'ä', '€', '𝄞', '"', '\\'];
        (0..self.below(12)).map(|_| letters[self.below(10) as usize]).collect()
    }

    fn path(&mut self) -> ZnodePath {
        let names = ["/", "/locks", "/locks/orders", "/a/b/c", "/größe/x-0000000001"];
        ZnodePath::parse(names[self.below(5) as usize]).unwrap()
    }

    fn stat(&mut self) -> Stat {
        Stat {
            czxid: Zxid(self.number()),
            mzxid: Zxid(self.number()),
            pzxid: Zxid(self.number()),
            ctime_ms: self.number(),
            mtime_ms: self.number(),
            version: self.small() as i32,
            cversion: self.small() as i32,
            aversion: self.small() as i32,
            ephemeral_owner: self.option(|random| SessionId(random.number())),
            data_length: self.small(),
            children_count: self.small(),
        }
    }

    fn acl_entry(&mut self) -> AclEntry {
        AclEntry { permissions: Permissions(self.small()), scheme: self.text(), id: self.text() }
    }

    fn acl(&mut self) -> Vec<AclEntry> {
        self.list(Random::acl_entry)
    }

    fn figures(&mut self) -> OperationFigures {
        OperationFigures {
            runs: self.number(),
            faults: self.number(),
            fuel_max: self.number(),
            nanoseconds: self.number(),
            ..OperationFigures::new(self.text())
        }
    }

    fn shadow_report(&mut self) -> ShadowReport {
        ShadowReport {
            compared: self.small(),
            equal: self.small(),
            fuel_before: self.number(),
            fuel_after: self.number(),
            differences: self.list(|random| ShadowDifference {
                zxid: Zxid(random.number()),
                object: random.text(),
                operation: random.text(),
                before: random.shadow_run(),
                after: random.shadow_run(),
            }),
            ..ShadowReport::new(self.digest(), self.digest(), self.small())
        }
    }

    fn shadow_run(&mut self) -> ShadowRun {
        let outcome = Ok(Reply::Called(self.bytes()));
        ShadowRun { outcome, changes: self.list(Random::text) }
    }

    fn signature(&mut self) -> RecipeSignature {
        let mut signature = [0; 64];
        signature.iter_mut().for_each(|byte| *byte = self.next() as u8);
        RecipeSignature(signature)
    }

    fn digest(&mut self) -> ComponentDigest {
        let mut digest = [0; 32];
        digest.iter_mut().for_each(|byte| *byte = self.next() as u8);
        ComponentDigest(digest)
    }

    fn password(&mut self) -> [u8; 16] {
        let mut password = [0; 16];
        password.iter_mut().for_each(|byte| *byte = self.next() as u8);
        password
    }

    fn mode(&mut self) -> CreateMode {
        match self.below(10) {
            0 => CreateMode::Persistent,
            1 => CreateMode::PersistentSequential,
            2 => CreateMode::Ephemeral,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::Ttl(self.number()),
            6 => CreateMode::PersistentNumber,
            7 => CreateMode::EphemeralNumber,
            8 => CreateMode::TtlNumber(self.number()),
            _ => CreateMode::TtlSequential(self.number()),
        }
    }

    fn watch_mode(&mut self) -> WatchMode {
        match self.below(4) {
            0 => WatchMode::OneShotData,
            1 => WatchMode::OneShotChildren,
            2 => WatchMode::Persistent,
            _ => WatchMode::PersistentRecursive,
        }
    }

    fn multi_operation(&mut self) -> MultiOperation {
        let path = self.path();
        let expected_version = self.version();
        match self.below(4) {
            0 => MultiOperation::Create {
                path,
                data: self.data(),
                mode: self.mode(),
                acl: self.option(Random::acl),
            },
            1 => MultiOperation::Delete { path, expected_version },
            2 => MultiOperation::SetData { path, data: self.data(), expected_version },
            _ => MultiOperation::Check { path, expected_version },
        }
    }

    fn operation(&mut self, variant: u64) -> Operation {
        let path = self.path();
        let expected_version = self.version();
        let watch = self.bool();
        let digest = self.digest();
        match variant % 28 {
            0 => Operation::Create {
                path,
                data: self.data(),
                mode: self.mode(),
                acl: self.option(Random::acl),
            },
            1 => Operation::Delete { path, expected_version },
            2 => Operation::SetData { path, data: self.data(), expected_version },
            3 => Operation::SetAcl { path, acl: self.acl(), expected_version },
            4 => Operation::Multi { operations: self.list(Random::multi_operation) },
            5 => Operation::Call { object: path, operation: self.text(), arguments: self.bytes() },
            6 => Operation::CancelCall { sequence: self.number() },
            7 => Operation::CloseSession,
            8 => Operation::UploadComponent {
                digest,
                total_bytes: self.small(),
                offset: self.small(),
                bytes: self.bytes(),
                signature: self.option(Random::signature).map(Box::new),
            },
            9 => Operation::InstallRecipe {
                digest,
                signature: self.option(Random::signature).map(Box::new),
            },
            10 => Operation::RemoveRecipe { digest },
            11 => Operation::Mount {
                path,
                digest,
                config: self.bytes(),
                open: watch,
                fuel: self.option(Random::number),
            },
            12 if watch => {
                Operation::BeginShadow { path, digest: self.digest(), calls: self.small() }
            }
            12 => Operation::Unmount { path },
            13 if watch => Operation::ShadowReport { path },
            13 => Operation::TransferLeader { to: self.option(|random| ServerId(random.number())) },
            14 => Operation::Get { path, watch },
            15 => Operation::Exists { path, watch },
            16 => Operation::Children {
                path,
                after: self.option(Random::text),
                limit: self.option(Random::small),
                watch,
            },
            17 => Operation::GetAcl { path },
            18 => Operation::Sync,
            19 => self.watch_operation(path),
            20 => self.watches_operation(path),
            21 => Operation::ListRecipes,
            22 => Operation::ListMounts,
            23..=26 => self.member_operation(variant % 28),
            _ => Operation::Status,
        }
    }

    fn member_operation(&mut self, variant: u64) -> Operation {
        let server = ServerId(self.number());
        match variant {
            23 => Operation::AddMember {
                server,
                peer_address: self.text(),
                native_address: self.text(),
                zookeeper_address: self.option(Random::text),
            },
            24 => Operation::PromoteMember { server },
            25 => Operation::RemoveMember { server },
            _ => Operation::Reconfigure {
                wanted: self.members_wanted(),
                expected_version: self.option(Random::number),
            },
        }
    }

    fn address(&mut self) -> MemberAddress {
        let (peer, native) = (self.text(), self.text());
        MemberAddress { peer, native, zookeeper: self.option(Random::text) }
    }

    fn wanted_member(&mut self) -> WantedMember {
        let (server, address) = (ServerId(self.number()), self.address());
        WantedMember { server, address, voter: self.bool() }
    }

    fn members_wanted(&mut self) -> MembersWanted {
        match self.bool() {
            true => MembersWanted::Exactly(self.list(Random::wanted_member)),
            false => MembersWanted::Changed {
                joining: self.list(Random::wanted_member),
                leaving: self.list(|random| ServerId(random.number())),
            },
        }
    }

    fn watch_operation(&mut self, path: ZnodePath) -> Operation {
        let (mode, values, since) = (self.watch_mode(), self.bool(), self.position());
        match self.below(3) {
            0 => Operation::AddWatch { path, mode, since: None, values },
            1 => Operation::AddWatch { path, mode, since: Some(since), values },
            _ => Operation::ResumeWatches {
                watches: [HeldWatch { path, mode, values }].into(),
                since,
            },
        }
    }

    fn watches_operation(&mut self, path: ZnodePath) -> Operation {
        let mode = self.option(Random::watch_mode);
        match self.below(6) {
            0 => Operation::RemoveWatches { path, mode },
            1 => Operation::CountWatches { path, mode },
            2 => {
                let kind = RestoredKind::Absence;
                let watches = [RestoredWatch { path, kind }].into();
                Operation::RestoreWatches { watches, since: Zxid(self.number()) }
            }
            3 => Operation::Ephemerals { prefix: self.text() },
            4 => Operation::CountBelow { path },
            _ => Operation::MultiRead {
                operations: [
                    ReadOperation::Get { path: path.clone() },
                    ReadOperation::Children { path },
                ]
                .into(),
            },
        }
    }

    fn position(&mut self) -> WatchPosition {
        WatchPosition { zxid: Zxid(self.number()), place: self.small() }
    }

    fn recipe(&mut self) -> InstalledRecipe {
        InstalledRecipe {
            digest: self.digest(),
            bytes: self.small(),
            installed: Zxid(self.number()),
            ready: self.bool(),
            descriptor: RecipeDescriptor {
                name: self.text(),
                version: self.text(),
                state_version: self.small(),
                config_schema: self.text(),
                doc: self.text(),
                operations: self.list(|random| OperationDescriptor {
                    name: random.text(),
                    kind: if random.bool() { OperationKind::Command } else { OperationKind::Query },
                    arguments_schema: random.text(),
                    reply_schema: random.text(),
                    doc: random.text(),
                }),
            },
        }
    }

    fn mounted(&mut self) -> MountedRecipe {
        MountedRecipe {
            path: self.path(),
            recipe: self.text(),
            version: self.text(),
            digest: self.digest(),
            config: self.bytes(),
            open: self.bool(),
            fuel: self.option(Random::number),
            suspended: self.option(Random::text),
            faults: self.small(),
            tickets: self.number(),
            figures: self.list(Random::figures),
        }
    }

    fn multi_reply(&mut self) -> MultiReply {
        match self.below(4) {
            0 => MultiReply::Created(self.path(), self.stat()),
            1 => MultiReply::Deleted,
            2 => MultiReply::Set(self.stat()),
            _ => MultiReply::Checked,
        }
    }

    fn status(&mut self) -> ServerStatus {
        ServerStatus {
            server: ServerId(self.number()),
            role: self.text(),
            term: self.number(),
            leader: self.option(|random| ServerId(random.number())),
            applied: Zxid(self.number()),
            committed: Zxid(self.number()),
            digest: self.number(),
            znodes: self.number(),
            sessions: self.number(),
            watches: self.number(),
            tickets: self.number(),
            connections: self.small(),
            members: self.list(|random| MemberStatus {
                server: ServerId(random.number()),
                voter: random.bool(),
                peer_address: random.text(),
                native_address: random.text(),
                connected: random.bool(),
                matched: random.option(Random::number),
            }),
            removed_members: self.list(|random| ServerId(random.number())),
            alarms: self.list(Random::text),
        }
    }

    fn refusal(&mut self) -> Refusal {
        let codes = ErrorCode::ALL;
        Refusal {
            code: codes[self.below(codes.len() as u64) as usize],
            message: self.text(),
            recipe_code: self.option(Random::text),
            detail: self.bytes(),
            failed_operation: self.option(Random::small),
        }
    }

    fn outcome(&mut self, variant: u64) -> Outcome {
        Ok(match variant % 17 {
            0 => Reply::Done,
            1 => Reply::Created(self.path(), self.stat()),
            2 => Reply::Stat(self.stat()),
            3 => Reply::Exists(self.option(Random::stat)),
            4 => Reply::Data(self.data(), self.stat()),
            5 => Reply::Children(self.list(Random::text), self.bool(), self.stat()),
            6 => Reply::Acl(self.acl(), self.stat()),
            7 => Reply::Multi(self.list(Random::multi_reply)),
            8 => Reply::Called(self.bytes()),
            9 => Reply::Parked(TicketId(self.number())),
            10 => Reply::Uploaded(self.small()),
            11 => Reply::Installed(self.recipe()),
            12 if self.bool() => Reply::Shadow(self.option(Random::shadow_report)),
            12 => Reply::Recipes(self.list(Random::recipe)),
            13 => Reply::Mounts(self.list(Random::mounted)),
            14 => Reply::Status(self.status()),
            15 => Reply::Watching { replayed: self.list(Random::event), gap: self.bool() },
            _ => return Err(self.refusal()),
        })
    }

    fn event(&mut self) -> WatchEvent {
        let kinds = [
            WatchEventKind::Created,
            WatchEventKind::Deleted,
            WatchEventKind::DataChanged,
            WatchEventKind::ChildrenChanged,
        ];
        WatchEvent {
            kind: kinds[self.below(4) as usize],
            path: self.path(),
            zxid: Zxid(self.number()),
            place: self.small(),
            data: self.option(Random::bytes),
        }
    }

    fn client_frame(&mut self, variant: u64) -> ClientFrame {
        match variant % 8 {
            0 => ClientFrame::Connect {
                protocol: self.small() as u16,
                resume: self.option(|random| Resume {
                    session: SessionId(random.number()),
                    password: random.password(),
                }),
                timeout_ms: self.small(),
                last_seen: Zxid(self.number()),
                read_only: self.bool(),
            },
            1 => ClientFrame::Heartbeat,
            2 => ClientFrame::Status,
            _ => ClientFrame::Request {
                sequence: self.number(),
                oldest_unreplied: self.number(),
                acknowledged: self.list(Random::number),
                level: if self.bool() { ReadLevel::Local } else { ReadLevel::Linearizable },
                operation: self.operation(variant / 8 + variant),
            },
        }
    }

    fn server_frame(&mut self, variant: u64) -> ServerFrame {
        match variant % 8 {
            0 => ServerFrame::Connected {
                session: SessionId(self.number()),
                password: self.password(),
                timeout_ms: self.small(),
                server: ServerId(self.number()),
                resumed: self.bool(),
                zxid: Zxid(self.number()),
                read_only: self.bool(),
            },
            1 => ServerFrame::Refused(self.refusal()),
            2 => ServerFrame::Watch(self.event()),
            3 => ServerFrame::Heartbeat { zxid: Zxid(self.number()) },
            4 => ServerFrame::Goodbye(self.refusal()),
            _ => ServerFrame::Reply {
                sequence: self.number(),
                zxid: Zxid(self.number()),
                outcome: self.outcome(variant / 8 + variant),
            },
        }
    }

    fn peer_frame(&mut self, variant: u64) -> PeerFrame {
        match variant % 10 {
            0 => PeerFrame::Hello {
                protocol: self.small() as u16,
                cluster: self.next(),
                server: ServerId(self.number()),
                incarnation: Incarnation(self.next()),
                applied: Zxid(self.number()),
            },
            1 => PeerFrame::Raft(self.bytes()),
            2 => PeerFrame::Forward { id: self.number(), request: self.bytes() },
            3 => PeerFrame::ForwardAnswer {
                id: self.number(),
                after: Zxid(self.number()),
                outcome: self.outcome(variant / 8),
            },
            4 => PeerFrame::ForwardLost { id: self.number() },
            5 => PeerFrame::Touch { sessions: self.list(|random| SessionId(random.number())) },
            6 => PeerFrame::Members {
                applied: Zxid(self.number()),
                members: self
                    .list(|random| (ServerId(random.number()), random.address()))
                    .into_iter()
                    .collect(),
            },
            7 => PeerFrame::Compiled {
                components: self
                    .list(|random| {
                        let invalid = random.bool().then(|| random.text());
                        (random.digest(), invalid)
                    })
                    .into_iter()
                    .collect(),
            },
            8 => PeerFrame::SnapshotChunk {
                term: self.number(),
                index: self.number(),
                offset: self.number(),
                total: self.number(),
                bytes: self.bytes(),
            },
            _ => PeerFrame::SnapshotAck {
                index: self.number(),
                received: self.number(),
                refused: self.bool(),
            },
        }
    }
}

fn client_of(bytes: &[u8]) -> Result<Option<ClientFrame>, FrameError> {
    let mut buffer = FrameBuffer::new();
    buffer.push(bytes);
    buffer.next_client(LIMIT)
}

fn server_of(bytes: &[u8]) -> Result<Option<ServerFrame>, FrameError> {
    let mut buffer = FrameBuffer::new();
    buffer.push(bytes);
    buffer.next_server(LIMIT)
}

fn peer_of(bytes: &[u8]) -> Result<Option<PeerFrame>, FrameError> {
    let mut buffer = FrameBuffer::new();
    buffer.push(bytes);
    buffer.next_peer(LIMIT)
}

#[test]
fn every_frame_reads_back_as_it_was_written() {
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let frame = random.client_frame(seed);
        assert_eq!(client_of(&encode_client(&frame)), Ok(Some(frame)), "seed {seed}");
        let frame = random.server_frame(seed);
        assert_eq!(server_of(&encode_server(&frame)), Ok(Some(frame)), "seed {seed}");
        let frame = random.peer_frame(seed);
        assert_eq!(peer_of(&peer::encode(&frame)), Ok(Some(frame)), "seed {seed}");
        let outcome = random.outcome(seed);
        let bytes = outcome_to_bytes(&outcome);
        assert_eq!(outcome_from_bytes(&bytes), Ok(outcome), "seed {seed}");
    }
}

#[test]
fn every_prefix_of_a_frame_asks_for_more() {
    for seed in 0..ROUNDS / 8 {
        let mut random = Random(seed);
        let client = encode_client(&random.client_frame(seed));
        let server = encode_server(&random.server_frame(seed));
        let peer = peer::encode(&random.peer_frame(seed));
        for cut in 0..client.len() {
            assert_eq!(client_of(&client[..cut]), Ok(None), "seed {seed} cut {cut}");
        }
        for cut in 0..server.len() {
            assert_eq!(server_of(&server[..cut]), Ok(None), "seed {seed} cut {cut}");
        }
        for cut in 0..peer.len() {
            assert_eq!(peer_of(&peer[..cut]), Ok(None), "seed {seed} cut {cut}");
        }
    }
}

/// The body cut to `body_bytes`, under a length that says so.
fn shortened(frame: &[u8], body_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::from((body_bytes as u32).to_le_bytes());
    bytes.extend_from_slice(&frame[4..4 + body_bytes]);
    bytes
}

#[test]
fn every_shortened_body_is_an_error_or_a_frame_with_a_shorter_payload() {
    for seed in 0..ROUNDS / 8 {
        let mut random = Random(seed);
        let client = encode_client(&random.client_frame(seed));
        let server = encode_server(&random.server_frame(seed));
        let peer = peer::encode(&random.peer_frame(seed));
        for cut in 0..client.len() - 4 {
            let read = client_of(&shortened(&client, cut));
            assert!(
                matches!(read, Err(FrameError::Cbor { .. })),
                "seed {seed} cut {cut}: {read:?}"
            );
        }
        for cut in 0..server.len() - 4 {
            let read = server_of(&shortened(&server, cut));
            assert!(
                matches!(read, Err(FrameError::Cbor { .. })),
                "seed {seed} cut {cut}: {read:?}"
            );
        }
        for cut in 0..peer.len() - 4 {
            let bytes = shortened(&peer, cut);
            if let Ok(read) = peer_of(&bytes) {
                let again = read.as_ref().map(peer::encode);
                assert_eq!(again, Some(bytes), "seed {seed} cut {cut}: {read:?}");
            }
        }
    }
}

#[test]
fn changed_bytes_are_an_error_or_a_frame_that_can_be_written_again() {
    for seed in 0..ROUNDS * 10 {
        let mut random = Random(seed);
        let mut frames = [
            encode_client(&random.client_frame(seed)),
            encode_server(&random.server_frame(seed)),
            peer::encode(&random.peer_frame(seed)),
        ];
        for frame in &mut frames {
            for _ in 0..=random.below(4) {
                let at = 4 + random.below(frame.len() as u64 - 4) as usize;
                frame[at] = random.next() as u8;
            }
        }
        let [client, server, peer] = &frames;
        if let Ok(Some(frame)) = client_of(client) {
            assert_eq!(client_of(&encode_client(&frame)), Ok(Some(frame)), "seed {seed}");
        }
        if let Ok(Some(frame)) = server_of(server) {
            assert_eq!(server_of(&encode_server(&frame)), Ok(Some(frame)), "seed {seed}");
        }
        if let Ok(Some(frame)) = peer_of(peer) {
            assert_eq!(peer_of(&peer::encode(&frame)), Ok(Some(frame)), "seed {seed}");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..ROUNDS * 10 {
        let mut random = Random(seed);
        let body: Vec<u8> = (0..random.below(64)).map(|_| random.next() as u8).collect();
        let mut bytes = Vec::from((body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        drop((client_of(&bytes), server_of(&bytes), peer_of(&bytes), outcome_from_bytes(&body)));
    }
}

#[test]
fn lengths_that_are_only_claimed_are_refused_at_once() {
    // CBOR heads of 2^62 elements, bytes, letters and pairs, in the places where frames hold them.
    for head in [0x9bu8, 0x5b, 0x7b, 0xbb] {
        let mut body = Vec::from(*b"\xa1\x65watch\xa1\x64path");
        body.push(head);
        body.extend_from_slice(&(1u64 << 62).to_be_bytes());
        let read = server_of(&shortened(&[&[0; 4][..], &body].concat(), body.len()));
        assert!(matches!(read, Err(FrameError::Cbor { .. })), "{head:#x}: {read:?}");
    }
    let mut touch = Vec::from([5, 0, 0, 0, 6]);
    touch.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(peer_of(&touch), Err(FrameError::Layout(_))));
}

#[test]
fn deep_nesting_is_refused() {
    let body = alloc::vec![0x81u8; 100_000];
    let read = client_of(&shortened(&[&[0; 4][..], &body].concat(), body.len()));
    assert!(matches!(read, Err(FrameError::Cbor { .. })), "{read:?}");
}

#[test]
fn errors_name_what_is_wrong() {
    let error = client_of(&[1, 0, 0, 0, 0xff]).unwrap_err();
    assert!(format!("{error}").starts_with("this is no frame of a client: "), "{error}");
    let error = peer_of(&[1, 0, 0, 0, 99]).unwrap_err();
    assert_eq!(format!("{error}"), "no frame has the kind 99");
    let error = peer_of(&[3, 0, 0, 0, 5, 1, 2]).unwrap_err();
    assert!(format!("{error}").contains("`forward id`"), "{error}");
    let error = client_of(&u32::MAX.to_le_bytes()).unwrap_err();
    assert!(format!("{error}").contains("over the limit of 1048576 bytes"), "{error}");
}

#[test]
fn a_debug_print_shows_no_password() {
    let frame = ServerFrame::Connected {
        session: SessionId(1),
        password: [213; 16],
        timeout_ms: 1,
        server: ServerId(1),
        resumed: false,
        zxid: Zxid(1),
        read_only: false,
    };
    let resume = Resume { session: SessionId(1), password: [213; 16] };
    assert!(!format!("{frame:?} {resume:?}").contains("213"));
}
