//! Servers that are configured by a `zoo.cfg` and asked as ZooKeeper clients ask.
//!
//! Comes in: the binary. Goes out: verdicts. Invariant: the client here is bytes on a socket, by the
//! codec's own client side; it shares no code with the server's side of a conversation.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use quorate_conformance::{
    PATIENCE, ServerProcess, Tool, ZooKeeperClient as WholeClient, ZooKeeperStream, ZooKeeperTls,
    alone, word,
};
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, ConnectRequest, Create, Opcode, Read as ReadOf, Reply, Request, Secret, ServerMessage,
    decode_connect_response, decode_reply, encode_connect_request, encode_request,
};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

/// As in ZooKeeper's own sample.
const SAMPLE: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\n";

#[test]
fn three_servers_with_zoo_cfg_files_serve_zookeeper_clients() {
    on_runtime(async {
        let _alone = alone()?;
        let folder = tempfile::tempdir()?;
        let servers = write_three(folder.path())?;
        let tool = Tool::bare()?;
        let first = word(&servers[0].folder)?.to_owned() + "/zoo.cfg";

        let refused = tool.refused(&["serve", "--zoo-cfg", &first])?;
        let certificates = folder.path().join("certificates");
        let next = format!("quorate cluster certificates --zoo-cfg {first} --out certificates");
        ensure!(refused.error.contains(&next), "{}", refused.error);
        let out = word(&certificates)?;
        tool.done(&["cluster", "certificates", "--zoo-cfg", &first, "--out", out])?;
        let mut running = Vec::new();
        for (number, server) in (1..).zip(&servers) {
            let number: u32 = number;
            let made = certificates.join(format!("server-{number}/tls"));
            fs::rename(made, server.folder.join("data/tls"))?;
            running.push(ServerProcess::start_zoo_cfg(&server.folder)?);
        }
        for (process, server) in running.iter_mut().zip(&servers) {
            process.wait_until_ready().await.with_context(|| server.log())?;
        }

        let mut clients = Vec::new();
        for server in &servers {
            clients.push(ZooKeeperClient::connect(server.client_port)?);
        }
        clients[0].create("/from-the-first", b"hello")?;
        for client in &mut clients {
            client.sync("/from-the-first")?;
            ensure!(client.data("/from-the-first")? == b"hello", "another server has other data");
        }
        let profile = certificates.join("profile.toml");
        let status = tool.done(&["--profile", word(&profile)?, "status"])?;
        ensure!(status["members"].as_array().is_some_and(|members| members.len() == 3), "{status}");
        for (process, server) in running.into_iter().zip(&servers) {
            ensure!(process.terminate().await?.success(), "{}", server.log());
            ensure!(
                server
                    .log()
                    .contains("`maxClientCnxn` has no effect; did you mean `maxClientCnxns`?")
            );
        }
        Ok(())
    });
}

#[test]
fn the_sample_zoo_cfg_is_a_server_with_one_command() {
    on_runtime(async {
        let _alone = alone()?;
        let folder = tempfile::tempdir()?;
        let ports = free_ports(2)?;
        let server = Server { folder: folder.path().to_owned(), client_port: ports[0] };
        let text = format!(
            "{SAMPLE}dataDir={}\nclientPort={}\nsecureClientPort={}\n",
            folder.path().join("data").display(),
            server.client_port,
            ports[1]
        );
        fs::write(folder.path().join("zoo.cfg"), text)?;
        for start in 0..2 {
            let mut process = ServerProcess::start_zoo_cfg(&server.folder)?;
            process.wait_until_ready().await.with_context(|| server.log())?;
            let mut client = ZooKeeperClient::connect(server.client_port)?;
            if start == 0 {
                client.create("/kept", b"1")?;
            }
            ensure!(client.data("/kept")? == b"1", "a start forgets what was written");
            connect_with_tls(&folder.path().join("data/tls/client"), ports[1])?;
            let profile = folder.path().join("data/tls/profile.toml");
            let status = Tool::bare()?.done(&["--profile", word(&profile)?, "status"])?;
            ensure!(status["role"] == "leader", "{status}");
            ensure!(process.terminate().await?.success(), "{}", server.log());
        }
        Ok(())
    });
}

#[test]
fn a_zoo_cfg_that_cannot_be_is_refused_with_words() {
    on_runtime(async {
        let _alone = alone()?;
        let folder = tempfile::tempdir()?;
        let servers = write_three(folder.path())?;
        let first = servers[0].folder.join("zoo.cfg");
        let good = fs::read_to_string(&first)?;
        let myid = servers[0].folder.join("data/myid");
        let tool = Tool::bare()?;
        let refuse = |text: &str, wanted: &[&str]| -> Result<()> {
            fs::write(&first, text)?;
            let refused = tool.refused(&["serve", "--zoo-cfg", word(&first)?])?;
            let said = &refused.error;
            ensure!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}, not {wanted:?}");
            Ok(())
        };
        let store = format!("{good}ssl.keyStore.location=/k.p12\n");
        refuse(&store, &["zoo.cfg:10: `ssl.keyStore.location=/k.p12`", "openssl pkcs12"])?;
        refuse(&good.replace("2000", "0"), &["zoo.cfg:1: `tickTime` must be above 0"])?;
        refuse(&good.replace("initLimit", "initLimits"), &["`initLimit` is missing"])?;
        fs::remove_file(&myid)?;
        refuse(&good, &["myid is missing", "server.N"])?;
        fs::write(&myid, "9")?;
        refuse(&good, &["this is server 9", "lines for 1, 2, 3 only"])?;
        let both = tool.refused(&["serve", "--zoo-cfg", "a", "--config", "b"]);
        ensure!(both.is_err(), "both configurations at once are no command: {both:?}");
        Ok(())
    });
}

/// A session with TLS, by the certificate of the administrator.
fn connect_with_tls(folder: &Path, port: u16) -> Result<()> {
    let shown = (folder.join("admin.pem"), folder.join("admin-key.pem"));
    let authority = folder.join("authority.pem");
    let tls = ZooKeeperTls { authority, shown: Some(shown), is_old: false };
    let stream = ZooKeeperStream::tls((Ipv4Addr::LOCALHOST, port).into(), &tls)?;
    let client = WholeClient::over(stream, WholeClient::hello())?;
    ensure!(client.context("the server closed")?.timeout_ms() == 10_000);
    Ok(())
}

fn on_runtime(body: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    if let Err(error) = runtime.block_on(body) {
        panic!("{error:?}");
    }
}

struct Server {
    folder: PathBuf,
    client_port: u16,
}

impl Server {
    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }
}

/// Three folders with a `zoo.cfg` and `data/myid` each.
fn write_three(folder: &Path) -> Result<Vec<Server>> {
    let ports = free_ports(9)?;
    let mut lines = String::new();
    for (number, ports) in (1..).zip(ports.chunks(3)) {
        let number: u32 = number;
        writeln!(lines, "server.{number}=127.0.0.1:{}:{}", ports[0], ports[1])?;
    }
    let mut servers = Vec::new();
    for (number, ports) in (1..).zip(ports.chunks(3)) {
        let number: u32 = number;
        let server = Server { folder: folder.join(format!("zoo{number}")), client_port: ports[2] };
        let data = server.folder.join("data");
        fs::create_dir_all(&data)?;
        fs::write(data.join("myid"), format!("{number}\n"))?;
        let text = format!(
            "{SAMPLE}dataDir={}\nclientPort={}\n{lines}maxClientCnxn=60\n",
            data.display(),
            server.client_port
        );
        fs::write(server.folder.join("zoo.cfg"), text)?;
        servers.push(server);
    }
    Ok(servers)
}

/// Ports that nobody uses at this moment, neither of TCP nor of UDP.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((listener, socket, port));
        }
    }
    Ok(held.into_iter().map(|(_, _, port)| port).collect())
}

/// A ZooKeeper client that does one thing after the other.
struct ZooKeeperClient {
    stream: TcpStream,
    xid: i32,
}

impl ZooKeeperClient {
    fn connect(port: u16) -> Result<ZooKeeperClient> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut out = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 10_000,
            session_id: 0,
            password: Secret(Some(Bytes::from_static(&[0; 16]))),
            read_only: Some(false),
        };
        encode_connect_request(&mut out, &request);
        stream.write_all(&out)?;
        let response = decode_connect_response(&frame(&mut stream)?)?;
        ensure!(response.session_id != 0, "no session: {response:?}");
        ensure!(response.timeout_ms == 10_000, "another timeout was granted: {response:?}");
        Ok(ZooKeeperClient { stream, xid: 0 })
    }

    fn ask<T>(
        &mut self,
        (request, opcode): (&Request<'_>, Opcode),
        read: impl FnOnce(&Reply<'_>) -> Option<T>,
    ) -> Result<T> {
        self.xid += 1;
        let mut out = Vec::new();
        encode_request(&mut out, self.xid, request);
        self.stream.write_all(&out)?;
        let answered = frame(&mut self.stream)?;
        match decode_reply(&answered, |_| Some(opcode))? {
            ServerMessage::Reply { header, reply } if header.xid == self.xid => {
                read(&reply).with_context(|| format!("to {request:?} came {reply:?}"))
            }
            other => bail!("to {request:?} came {other:?}"),
        }
    }

    fn create(&mut self, path: &str, data: &'static [u8]) -> Result<()> {
        let acl = vec![Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" }];
        let create = Create { path, data: Some(Bytes::from_static(data)), acl, mode: 0 };
        let request = Request::Create(create);
        self.ask((&request, Opcode::Create), |reply| (*reply == Reply::Path(path)).then_some(()))
    }

    fn sync(&mut self, path: &str) -> Result<()> {
        self.ask((&Request::Sync(path), Opcode::Sync), |_| Some(()))
    }

    fn data(&mut self, path: &str) -> Result<Vec<u8>> {
        let request = Request::GetData(ReadOf { path, watch: false });
        self.ask((&request, Opcode::GetData), |reply| match reply {
            Reply::DataStat(read) => read.data.as_ref().map(|data| data.to_vec()),
            _ => None,
        })
    }
}

/// One frame, without its length.
fn frame(stream: &mut TcpStream) -> Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    stream.read_exact(&mut frame)?;
    Ok(Bytes::from(frame))
}
