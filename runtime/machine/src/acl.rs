//! Who may do what: the one place that decides.
//!
//! Comes in: an ACL as given or stored, an identity. Goes out: yes, no, or the ACL to store.
//! Invariant: a stored ACL names no `auth` entry; a znode without one is open to all.

use crate::request::Identity;
use crate::znode::Znode;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use quorate_types::{AclEntry, ErrorCode, Permissions, Refusal, ZnodePath};

fn matches(entry: &AclEntry, identity: &Identity) -> bool {
    match entry.scheme.as_str() {
        "world" => entry.id == "anyone",
        "x509" if !identity.name.is_empty() && entry.id == identity.name => true,
        "ip" => identity.proofs.iter().any(|(own, id)| own == "ip" && is_in_range(id, &entry.id)),
        scheme => identity.proofs.iter().any(|(own, id)| own == scheme && *id == entry.id),
    }
}

/// Whether the caller is an administrator, whom ACLs do not bind: ZooKeeper's scheme `super`.
fn is_super(identity: &Identity) -> bool {
    identity.proofs.iter().any(|(scheme, _)| scheme == "super")
}

/// Whether an address is in a range written `address` or `address/bits`.
fn is_in_range(address: &str, range: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    match (address, range_of(range)) {
        (IpAddr::V4(address), Some((IpAddr::V4(network), bits))) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(address), Some((IpAddr::V6(network), bits))) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
        }
        _ => false,
    }
}

/// The address and the bits of it that count; `None`: this is no range.
fn range_of(range: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match range.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (range, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { u32::BITS } else { u128::BITS };
    Some((address, bits.unwrap_or(all))).filter(|(_, bits)| *bits <= all)
}

/// Takes the hashes of passwords out of an ACL that is shown to somebody who may not change it.
pub(crate) fn mask_secrets(acl: &mut [AclEntry]) {
    for entry in acl.iter_mut().filter(|entry| entry.scheme == "digest") {
        let user = entry.id.split(':').next().unwrap_or("");
        entry.id = format!("{user}:x");
    }
}

/// Whether the identity has one of the permissions `wanted` by this ACL; `None`: open to all.
fn allows(acl: Option<&[AclEntry]>, identity: &Identity, wanted: &[Permissions]) -> bool {
    let gives = |entry: &AclEntry| wanted.iter().any(|one| entry.permissions.contains(*one));
    acl.is_none_or(|acl| acl.iter().any(|entry| gives(entry) && matches(entry, identity)))
        || is_super(identity)
}

/// Whether the identity may read what has this ACL; `None`: open to all.
pub(crate) fn may_read(acl: Option<&[AclEntry]>, identity: &Identity) -> bool {
    allows(acl, identity, &[Permissions::READ])
}

/// Refuses unless the identity has one of the permissions `wanted` on the znode.
pub(crate) fn check(
    znode: &Znode,
    path: &ZnodePath,
    identity: &Identity,
    wanted: &[Permissions],
) -> Result<(), Refusal> {
    if allows(znode.acl.as_deref().map(Vec::as_slice), identity, wanted) {
        return Ok(());
    }
    let who = &identity.name;
    let message = format!("the ACL of {path} does not allow it to `{who}`");
    Err(Refusal::new(ErrorCode::NotAllowed, message))
}

/// The ACL to store for one given: repeats go, then `auth` becomes the caller's identities. As in
/// ZooKeeper, an identity stays that is given by name and as `auth`.
pub(crate) fn resolve(given: &[AclEntry], identity: &Identity) -> Result<Vec<AclEntry>, Refusal> {
    let mut acl: Vec<AclEntry> = Vec::with_capacity(given.len());
    for (position, entry) in given.iter().enumerate() {
        if !given[..position].contains(entry) {
            acl.extend(resolve_entry(entry, identity)?);
        }
    }
    if acl.is_empty() {
        return Err(invalid("an ACL has at least one entry"));
    }
    Ok(acl)
}

fn resolve_entry(entry: &AclEntry, identity: &Identity) -> Result<Vec<AclEntry>, Refusal> {
    if !Permissions::ALL.contains(entry.permissions) {
        return Err(invalid("an ACL entry has permissions that do not exist"));
    }
    match entry.scheme.as_str() {
        "world" if entry.id == "anyone" => Ok(alloc::vec![entry.clone()]),
        // The form that ZooKeeper asks for: `user:hash`, and colons behind it do not count.
        "digest" if entry.id.trim_end_matches(':').split(':').count() == 2 => {
            Ok(alloc::vec![entry.clone()])
        }
        "ip" if range_of(&entry.id).is_some() => Ok(alloc::vec![entry.clone()]),
        "x509" | "sasl" if !entry.id.is_empty() => Ok(alloc::vec![entry.clone()]),
        "auth" => own_entries(entry.permissions, identity),
        scheme => Err(invalid(&format!("`{scheme}:{}` is no identity an ACL can name", entry.id))),
    }
}

fn own_entries(permissions: Permissions, identity: &Identity) -> Result<Vec<AclEntry>, Refusal> {
    let name = Some((String::from("x509"), identity.name.clone()));
    let name = name.filter(|(_, name)| !name.is_empty());
    // As in ZooKeeper, an address proves nothing about who is there, and no ACL names administrators.
    let is_own = |scheme: &str| !matches!(scheme, "ip" | "super");
    let proofs = identity.proofs.iter().filter(|(scheme, _)| is_own(scheme)).cloned();
    let entries: Vec<AclEntry> = name
        .into_iter()
        .chain(proofs)
        .map(|(scheme, id)| AclEntry { permissions, scheme, id })
        .collect();
    if entries.is_empty() {
        return Err(invalid("`auth` names the caller's identities, and this caller has none"));
    }
    Ok(entries)
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidAcl, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    fn entry(permissions: Permissions, scheme: &str, id: &str) -> AclEntry {
        AclEntry { permissions, scheme: scheme.into(), id: id.into() }
    }

    #[test]
    fn auth_becomes_the_callers_identities_and_repeats_go() {
        let proofs = [("super", ""), ("ip", "::1")].map(|(scheme, id)| (scheme.into(), id.into()));
        let caller = Identity { proofs: proofs.into(), ..Identity::named("alice") };
        let alice = entry(Permissions::ALL, "x509", "alice");
        let auth = entry(Permissions::ALL, "auth", "");
        let acl = resolve(&[auth.clone(), auth.clone()], &caller).unwrap();
        assert_eq!(acl, core::slice::from_ref(&alice));
        let acl = resolve(&[auth.clone(), alice.clone()], &caller).unwrap();
        assert_eq!(acl, [alice.clone(), alice]);
        assert_eq!(resolve(&[auth], &Identity::default()).unwrap_err().code, ErrorCode::InvalidAcl);
    }

    #[test]
    fn a_digest_has_two_parts_and_colons_behind_them_do_not_count() {
        let is_digest = |id: &str| {
            resolve(&[entry(Permissions::ALL, "digest", id)], &Identity::default()).is_ok()
        };
        assert!(["a:b", ":b", "a:b:"].into_iter().all(is_digest));
        assert!(!["", ":", "a", "a:", "a:b:c"].into_iter().any(is_digest));
    }

    #[test]
    fn wrong_acls_are_refused() {
        for given in [
            alloc::vec![],
            alloc::vec![entry(Permissions(32), "world", "anyone")],
            alloc::vec![entry(Permissions::ALL, "world", "someone")],
            alloc::vec![entry(Permissions::ALL, "magic", "x")],
        ] {
            let refusal = resolve(&given, &Identity::named("a")).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidAcl, "{given:?}");
        }
    }

    #[test]
    fn addresses_are_matched_by_range_and_administrators_are_not_bound() {
        let acl = alloc::vec![
            entry(Permissions::ALL, "ip", "10.1.0.0/16"),
            entry(Permissions::READ, "ip", "::1"),
        ];
        let znode = Znode { acl: Some(Arc::new(acl)), ..Znode::new_system(0) };
        let allowed = |scheme: &str, id: &str| {
            let proofs = alloc::vec![(String::from(scheme), String::from(id))];
            let identity = Identity { proofs, ..Identity::default() };
            check(&znode, &ZnodePath::root(), &identity, &[Permissions::WRITE]).is_ok()
        };
        assert!(allowed("ip", "10.1.255.3") && allowed("super", ""));
        for (scheme, id) in [("ip", "10.2.0.1"), ("ip", "::1"), ("ip", "10.1"), ("digest", "a:b")] {
            assert!(!allowed(scheme, id), "{scheme}:{id}");
        }
        for range in ["10.0.0.0/33", "10.0.0", "", "::/129", "a/1"] {
            let given = [entry(Permissions::ALL, "ip", range)];
            assert!(resolve(&given, &Identity::default()).is_err(), "{range}");
        }
    }

    #[test]
    fn hashes_of_passwords_are_masked() {
        let mut acl = [
            entry(Permissions::READ, "digest", "ann:aGFzaA=="),
            entry(Permissions::READ, "world", "anyone"),
        ];
        mask_secrets(&mut acl);
        assert_eq!((acl[0].id.as_str(), acl[1].id.as_str()), ("ann:x", "anyone"));
    }

    #[test]
    fn an_identity_has_the_permissions_of_its_entries_alone() {
        let acl = alloc::vec![
            entry(Permissions::READ, "world", "anyone"),
            entry(Permissions::WRITE, "x509", "alice"),
        ];
        let znode = Znode { acl: Some(Arc::new(acl)), ..Znode::new_system(0) };
        let path = ZnodePath::root();
        let allowed = |name: &str, permission| {
            check(&znode, &path, &Identity::named(name), &[permission]).is_ok()
        };
        assert!(allowed("bob", Permissions::READ));
        assert!(!allowed("bob", Permissions::WRITE));
        assert!(allowed("alice", Permissions::WRITE));
        assert!(!allowed("alice", Permissions::ADMIN));
    }
}
