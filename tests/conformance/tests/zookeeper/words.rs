//! Four-letter words that list what a server holds, in the forms of the real ZooKeeper.

use crate::original::{self, Original};
use anyhow::{Context, Result, ensure};
use quorate_conformance::{Recipes, ZooKeeperClient, ZooKeeperStream, on_cluster};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{Acl, Create, Read as ReadOf, Request, ZooKeeperError};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// Mode of a create.
const EPHEMERAL: i32 = 1;

fn say(address: SocketAddr, word: &str) -> Result<String> {
    let mut stream = ZooKeeperStream::plain(address)?;
    stream.write_all(word.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What the words say of a client that has an ephemeral znode and watches.
fn told(address: SocketAddr) -> Result<(ZooKeeperClient, Vec<(&'static str, String)>)> {
    let mut client = ZooKeeperClient::connect(address, 10_000)?;
    let acl = vec![Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" }];
    let create = Request::Create(Create { path: "/here", data: None, acl, mode: EPHEMERAL });
    let watch = |path| Request::Exists(ReadOf { path, watch: true });
    for request in [create, watch("/here"), watch("/not-here")] {
        let answered = client.ask(&request)?.context("the server closed")?;
        let error = answered.header()?.error;
        let is_fine = matches!(error, ZooKeeperError::Ok | ZooKeeperError::NoNode);
        ensure!(is_fine, "{error:?} to {request:?}");
    }
    let words = ["wchs", "wchc", "wchp", "cons", "stat", "dirs", "dump", "crst", "srst"];
    let told = words.map(|word| Ok((word, say(address, word)?)));
    Ok((client, told.into_iter().collect::<Result<_>>()?))
}

/// A text with `#` for every number.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for part in text.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
        let (word, mark) = match part.strip_suffix(|last: char| !last.is_ascii_alphanumeric()) {
            Some(word) => (word, &part[word.len()..]),
            None => (part, ""),
        };
        let is_number = word.starts_with(|first: char| first.is_ascii_digit());
        shape += if is_number { "#" } else { word };
        shape += mark;
    }
    shape
}

#[test]
fn lists_are_told_as_zookeeper_tells_them() {
    on_cluster(Recipes::None, async |cluster| {
        cluster.restart_with_zookeeper_lines("four_letter_words = \"*\"").await?;
        let (follower, ..) = cluster.roles().await?;
        let address = cluster.zookeeper_address(follower)?;
        let (client, given) = tokio::task::spawn_blocking(move || told(address)).await??;
        let session = format!("0x{:x}", client.session().id);
        let of = |wanted: &str| {
            let found = given.iter().find(|(word, _)| *word == wanted);
            found.map_or("", |(_, text)| text.as_str())
        };
        ensure!(of("wchs") == "1 connections watching 2 paths\nTotal watches:2\n", "{given:?}");
        ensure!(of("wchc") == format!("{session}\n\t/here\n\t/not-here\n\n"), "{given:?}");
        ensure!(of("wchp") == format!("/here\n\t{session}\n/not-here\n\t{session}\n\n"));
        ensure!(of("dump").contains(&format!("\n{session}\t10000ms\n")), "{given:?}");
        let ephemerals = format!("Sessions with Ephemerals (1):\n{session}:\n\t/here\n");
        ensure!(of("dump").contains(&ephemerals), "{given:?}");
        ensure!(of("dump").contains(&format!(" sessionId: {session}\n")), "{given:?}");
        ensure!(of("cons").contains(&format!("sid={session},lop=EXIS,est=")), "{given:?}");
        if let Err(reason) = original::is_installed() {
            eprintln!("SKIPPED the comparison: {reason}");
            return Ok(());
        }
        let original = Original::start().await?;
        let address = original.address();
        let (_client, expected) = tokio::task::spawn_blocking(move || told(address)).await??;
        for word in ["wchs", "wchc", "wchp", "dirs", "crst", "srst"] {
            let expected = expected.iter().find(|(known, _)| *known == word);
            let expected = expected.map_or("", |(_, text)| text.as_str());
            // The order of watches is that of a hash there.
            let lines = |text: &str| {
                let mut lines: Vec<_> = shape(text).lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            ensure!(lines(of(word)) == lines(expected), "{word}: {expected:?}, not {:?}", of(word));
        }
        let fields = |text: &str| {
            let line = text.lines().find(|line| line.contains("sid=")).unwrap_or_default();
            let fields = line.split(',').map(|field| shape(field.split('=').next().unwrap_or("")));
            fields.collect::<Vec<_>>()
        };
        let expected = expected.iter().find(|(known, _)| *known == "cons").map(|(_, text)| text);
        let expected = expected.context("cons was said")?;
        ensure!(fields(of("cons")) == fields(expected), "{expected:?}, not {:?}", of("cons"));
        Ok(())
    });
}
