//! The command line: every command, its flags, an example each.
//!
//! Comes in: arguments. Goes out: typed commands. Must never do anything.

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorate_client::WatchPosition;
use std::path::PathBuf;

/// A coordination server whose recipes are hot-loaded WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, about)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Print one JSON value instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How the servers are reached. Flags win over the environment, that over the profile file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Reach {
    /// The file that `dev` and `cluster create` write: endpoints and certificates.
    #[arg(long, global = true, env = "QUORATE_PROFILE", value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Servers as host:port, separated by commas.
    #[arg(
        long,
        global = true,
        env = "QUORATE_ENDPOINTS",
        value_delimiter = ',',
        value_name = "LIST"
    )]
    pub(crate) endpoints: Vec<String>,
    /// Certificate of the cluster's authority (PEM).
    #[arg(long, global = true, env = "QUORATE_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// This client's certificate (PEM).
    #[arg(long, global = true, env = "QUORATE_CERTIFICATE", value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// Key of this client's certificate (PEM).
    #[arg(long, global = true, env = "QUORATE_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// How long a command may take, in milliseconds.
    #[arg(long, global = true, default_value_t = 30_000, value_name = "MS")]
    pub(crate) timeout_ms: u64,
    /// How long the servers keep this command's session without hearing from it, in milliseconds.
    #[arg(long, global = true, default_value_t = 6_000, value_name = "MS")]
    pub(crate) session_timeout_ms: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a local cluster with its own certificates. Example: quorate dev --servers 3
    Dev(DevArguments),
    /// Run one server. Example: quorate serve --config quorate.toml
    Serve {
        #[command(flatten)]
        source: ConfigurationFile,
        /// Shut down when the standard input ends.
        #[arg(long, hide = true)]
        exit_with_input: bool,
    },
    /// Make a cluster's configuration and certificates.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Bring another store's data to a cluster that was never started.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Show how a server sees the cluster. Example: quorate status
    Status {
        /// Ask every member, each by its own connection.
        #[arg(long)]
        all: bool,
    },
    /// Read and change the tree.
    #[command(subcommand)]
    Tree(TreeCommand),
    /// Call a recipe. Example: quorate call /locks/orders acquire --wait-ms 5000
    #[command(disable_help_flag = true)]
    Call(CallArguments),
    /// Run a command while holding a lock. Example: quorate lock /locks/orders -- ./migrate.sh
    Lock(LockArguments),
    /// Make, install and mount recipes.
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Move leadership.
    #[command(subcommand)]
    Leader(LeaderCommand),
    /// List, add, promote and remove members of the running cluster.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Measure a running cluster. Example: quorate bench writes --outstanding 64
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// Exactly one of the two.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct ConfigurationFile {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A ZooKeeper's configuration as it is. What has no effect here is told.
    #[arg(long, value_name = "FILE")]
    pub(crate) zoo_cfg: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DevArguments {
    /// How many servers: an odd number.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub(crate) servers: u64,
    /// First port; each server takes two. 0: any that are free.
    #[arg(long, default_value_t = 7420)]
    pub(crate) port: u16,
    /// Where everything is kept; reused if it holds a dev cluster of this size.
    #[arg(long, default_value = ".quorate-dev", value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Do not install and mount the standard recipes.
    #[arg(long)]
    pub(crate) bare: bool,
    /// Install and mount only these of the standard recipes, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", conflicts_with = "bare")]
    pub(crate) recipes: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Write a folder per server with its configuration and certificates, and a profile for
    /// clients. Example: quorate cluster create --servers db1,db2,db3 --out ./cluster
    Create {
        /// Host names or addresses, in the order of the server ids; host:port for another native port.
        #[arg(long, value_delimiter = ',', required = true, value_name = "HOSTS")]
        servers: Vec<String>,
        /// Where; must not exist yet.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// Name of the cluster.
        #[arg(long, default_value = "quorate")]
        name: String,
        /// Where each server keeps its data.
        #[arg(long, default_value = "/var/lib/quorate", value_name = "FOLDER")]
        data_dir: PathBuf,
    },
    /// Write the folder of one more server for the running cluster, with its configuration and
    /// certificate. Example: quorate cluster add-server db4 --authority ./cluster/authority --out ./server-4
    AddServer {
        /// Host name or address; host:port for another native port. The peer port is the next one.
        host: String,
        /// The folder `cluster create` wrote the authority to.
        #[arg(long, value_name = "FOLDER")]
        authority: PathBuf,
        /// Where; must not exist yet.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// Its id; default: the first above all that the cluster has used.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
        id: Option<u64>,
        /// Where the server keeps its data.
        #[arg(long, default_value = "/var/lib/quorate", value_name = "FOLDER")]
        data_dir: PathBuf,
    },
    /// Make an authority and a certificate for each server of a zoo.cfg, and a profile for clients.
    /// Example: quorate cluster certificates --zoo-cfg zoo.cfg --out ./certificates
    Certificates {
        /// A ZooKeeper's configuration with all server lines.
        #[arg(long, value_name = "FILE")]
        zoo_cfg: PathBuf,
        /// Where; must not exist yet.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Issue a certificate for another client. Example: quorate cluster client alice --authority ./cluster/authority --out .
    Client {
        /// Name of the client.
        name: String,
        /// The folder `cluster create` wrote the authority to.
        #[arg(long, value_name = "FOLDER")]
        authority: PathBuf,
        /// Where to write certificate and key.
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Write the data directories of all servers of a new cluster, or of none, from the snapshots and logs
    /// of a stopped ZooKeeper, 3.4 to 3.9. Example: quorate import zookeeper --data-dir /var/lib/zookeeper
    /// --cluster ./cluster
    ///
    /// Of the ensemble's servers, take the one whose last zxid is the highest: the leader or the follower
    /// that was stopped last. Its files are only read. Sessions and their ephemerals do not come over;
    /// everything else does, with ACLs and stats.
    Zookeeper(ImportZooKeeperArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ImportZooKeeperArguments {
    /// What dataDir names in the ZooKeeper's zoo.cfg; default: what the one --zoo-cfg says.
    #[arg(long, value_name = "FOLDER", required_unless_present = "zoo_cfg")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What dataLogDir names there, if it is not the same.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_log_dir: Option<PathBuf>,
    /// A new server's quorate.toml; once for every server.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["zoo_cfg", "cluster"])]
    pub(crate) config: Vec<PathBuf>,
    /// A new server's zoo.cfg; once for every server.
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    pub(crate) zoo_cfg: Vec<PathBuf>,
    /// The folder that `quorate cluster create` wrote, with every server's quorate.toml.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cluster: Option<PathBuf>,
    /// A new folder that gets the data of all servers, to be taken to their machines. Without it the
    /// data goes where the configurations say.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Only read and report.
    #[arg(long)]
    pub(crate) check: bool,
    /// Begin with this snapshot instead of the newest, such as snapshot.100000a3f.
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Go on though the tree's digest is not the one that ZooKeeper logged.
    #[arg(long)]
    pub(crate) ignore_digest: bool,
    /// Write the ephemerals that were dropped to this file, each with its session.
    #[arg(long, value_name = "FILE")]
    pub(crate) list_ephemerals: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TreeCommand {
    /// Print the data of a znode. Example: quorate tree get /app/config
    Get {
        path: String,
        /// Read this server's state as it is, which may be a little old.
        #[arg(long)]
        local: bool,
    },
    /// Replace the data of a znode. Example: quorate tree set /app/config '{"a":1}' --version 3
    Set {
        path: String,
        /// The data; `-` reads the standard input.
        data: String,
        /// Only if the znode has this version.
        #[arg(long)]
        version: Option<i32>,
    },
    /// Create a znode. Example: quorate tree create /app --parents
    Create {
        path: String,
        /// The data; `-` reads the standard input.
        #[arg(default_value = "")]
        data: String,
        /// Append a growing number to the name.
        #[arg(long)]
        sequential: bool,
        /// Create missing parents first.
        #[arg(long, short = 'p')]
        parents: bool,
    },
    /// Delete a znode. Example: quorate tree delete /app
    Delete {
        path: String,
        /// Only if the znode has this version.
        #[arg(long)]
        version: Option<i32>,
        /// With everything below it.
        #[arg(long, short = 'r')]
        recursive: bool,
    },
    /// List the children of a znode. Example: quorate tree ls /
    Ls {
        #[arg(default_value = "/")]
        path: String,
        /// Read this server's state as it is, which may be a little old.
        #[arg(long)]
        local: bool,
    },
    /// Print what is known of a znode besides its data. Example: quorate tree stat /app
    Stat { path: String },
    /// Print the ACL of a znode. Example: quorate tree acl /app
    Acl { path: String },
    /// Print changes as they happen. Example: quorate tree watch /app --recursive
    Watch {
        path: String,
        #[command(flatten)]
        options: WatchArguments,
    },
}

#[derive(Args, Debug)]
pub(crate) struct WatchArguments {
    /// Everything below it too.
    #[arg(long, short = 'r')]
    pub(crate) recursive: bool,
    /// Stop after so many.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// First what has happened since: a zxid that `tree stat` shows, or what an interrupted watch
    /// printed.
    #[arg(long, value_name = "ZXID")]
    pub(crate) from: Option<WatchPosition>,
    /// Print the data of what is created or changed.
    #[arg(long)]
    pub(crate) values: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CallArguments {
    /// The object: a name below a mount.
    #[arg(required_unless_present = "help")]
    pub(crate) object: Option<String>,
    /// The operation; without one, the object says which it has.
    pub(crate) operation: Option<String>,
    /// Arguments as JSON.
    #[arg(long, value_name = "JSON", conflicts_with = "fields")]
    pub(crate) args: Option<String>,
    /// Say what the object, or its operation, can be asked; without an object, print this.
    #[arg(short, long)]
    pub(crate) help: bool,
    /// Arguments as --field value, as `OBJECT OPERATION --help` tells them. Flags of quorate itself
    /// go before the first of them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "--FIELD VALUE")]
    pub(crate) fields: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LockArguments {
    /// The lock: a name below a mount of the lock recipe.
    pub(crate) object: String,
    /// Give up after waiting this long, in milliseconds; 0 does not wait at all.
    #[arg(long, value_name = "MS")]
    pub(crate) wait_ms: Option<u64>,
    /// Shown to others who ask who holds the lock.
    #[arg(long, default_value = "")]
    pub(crate) note: String,
    /// The command; it finds the fencing token in QUORATE_FENCING_TOKEN.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct NewRecipeArguments {
    /// Name of the recipe and of its crate: lower-case letters, digits and dashes.
    pub(crate) name: String,
    /// Where to write it: empty or not there; default: NAME.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// The folder of quorate's sources, or its sdk/recipe; default: what QUORATE_SDK says, else the
    /// sources that this program was built from.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Begin a recipe: write a crate that builds and passes its tests. Example: quorate recipe new high-water
    New(NewRecipeArguments),
    /// Build a recipe's crate into a component. Example: quorate recipe build .
    Build {
        /// The crate's folder, or a core module that a compiler of another language made.
        #[arg(default_value = ".")]
        source: PathBuf,
        /// Where to write the component; default: target/NAME.wasm in the crate, NAME.wasm beside
        /// the module.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Features of the crate to turn on, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "LIST")]
        features: Vec<String>,
    },
    /// Run a recipe crate's tests, then its scenarios as the servers would. Example: quorate recipe test .
    Test {
        /// The crate's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Write what a component says of its operations and its configuration into a README, between the
    /// marks there. Example: quorate recipe readme target/tally.wasm README.md
    Readme {
        component: PathBuf,
        readme: PathBuf,
        /// Write nothing; fail if the README is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Make the key of somebody who signs recipes: NAME-key.pem to keep, NAME.pem for the servers.
    /// Example: quorate recipe keygen release --out ./keys
    Keygen {
        /// Name of the files: lower-case letters, digits and dashes.
        name: String,
        /// Where to write them.
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Sign a component, for servers that let in what is signed.
    /// Example: quorate recipe sign target/counter.wasm --signing-key keys/release-key.pem
    Sign {
        component: PathBuf,
        /// The private key: PEM, ed25519. (`--key` is that of this client's certificate.)
        #[arg(long, value_name = "FILE")]
        signing_key: PathBuf,
        /// Where to write the signature; default: COMPONENT.sig, where `install` finds it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Bring a component to the cluster. Example: quorate recipe install target/counter.wasm
    Install {
        component: PathBuf,
        /// Its signature; default: COMPONENT.sig, if that is there.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
    /// List installed recipes and mounts. Example: quorate recipe list
    List,
    /// Show what a component file or an installed recipe is. Example: quorate recipe inspect lock
    Inspect {
        /// A file, a recipe's name, or a digest.
        recipe: String,
    },
    /// Let a recipe govern a subtree. Example: quorate recipe mount /locks lock
    Mount {
        path: String,
        /// Name, name@version or digest.
        recipe: String,
        /// Configuration as JSON.
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
        /// Allow plain writes below the mount.
        #[arg(long)]
        open: bool,
        /// Fuel of one call.
        #[arg(long)]
        fuel: Option<u64>,
    },
    /// Let another version of its recipe govern a mount: state, waiting calls and timers stay. Refused
    /// if the version cannot take the state over. Example: quorate recipe upgrade /locks lock@1.1.0
    Upgrade {
        path: String,
        /// Name (the newest installed), name@version or digest.
        recipe: String,
        /// Another configuration as JSON; default: the one it has.
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
        /// Change nothing: run the version beside the one that governs on the next so many calls, and
        /// tell what it would have done otherwise. Ctrl-C ends it early.
        #[arg(long, value_name = "CALLS", conflicts_with = "config")]
        shadow: Option<std::num::NonZeroU32>,
    },
    /// Let the version before govern a mount again. Example: quorate recipe rollback /locks
    Rollback { path: String },
    /// What the runs of mounts have cost, over all servers. Example: quorate recipe metrics /locks
    Metrics {
        /// Only this mount.
        path: Option<String>,
    },
    /// Let calls of a suspended mount through again. Example: quorate recipe resume /locks
    Resume { path: String },
    /// End a recipe's rule over a subtree; its znodes stay. Example: quorate recipe unmount /locks
    Unmount { path: String },
    /// Take a recipe out of the catalogue. Example: quorate recipe remove lock@1.0.0
    Remove {
        /// Name, name@version or digest.
        recipe: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaderCommand {
    /// Make another server the leader. Example: quorate leader transfer --to 2
    Transfer {
        /// Which; default: the most caught-up one.
        #[arg(long)]
        to: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the members, how far each is, and the ids of those removed. Example: quorate member list
    List,
    /// Let a server join as a learner, or move a member elsewhere. Example: quorate member add 4 db4:7420
    Add {
        /// Its id: never that of a member removed before.
        server: u64,
        /// Where clients reach it: host, or host:port.
        native_address: String,
        /// Where its peers reach it; default: the port after the clients'.
        #[arg(long, value_name = "HOST:PORT")]
        peer_address: Option<String>,
        /// Where ZooKeeper clients reach it, told to them in /zookeeper/config.
        #[arg(long, value_name = "HOST:PORT")]
        zookeeper_address: Option<String>,
    },
    /// Make a learner that has caught up a voter. Example: quorate member promote 4 --wait
    Promote {
        /// Which.
        server: u64,
        /// Try until it has caught up, at most as long as --timeout-ms says.
        #[arg(long)]
        wait: bool,
    },
    /// Take a member out for good; the leader hands over first. Example: quorate member remove 1
    Remove {
        /// Which.
        server: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Settings of znodes through the log. Example: quorate bench writes --outstanding 64 --seconds 5
    Writes {
        /// Requests without a reply at a time.
        #[arg(long, default_value_t = 64)]
        outstanding: u32,
        /// How long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Bytes of data.
        #[arg(long, default_value_t = 256)]
        bytes: usize,
    },
    /// Lock acquire and release: on many locks by one client, or by many clients that contend.
    /// Example: quorate bench lock --clients 64 --objects 1
    Lock {
        /// A mount of the lock recipe.
        #[arg(long, default_value = "/locks")]
        mount: String,
        /// Locks used at a time, uncontended, over one connection.
        #[arg(long, default_value_t = 16)]
        outstanding: u32,
        /// Clients that contend, each with a session and a connection of its own.
        #[arg(long, conflicts_with = "outstanding", value_parser = clap::value_parser!(u32).range(1..))]
        clients: Option<u32>,
        /// Locks they contend for.
        #[arg(long, default_value_t = 1, requires = "clients", value_parser = clap::value_parser!(u32).range(1..))]
        objects: u32,
        /// How long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Takes from a queue that is short, then long. Example: quorate bench queue --items 100000
    Queue {
        /// A mount of the queue recipe.
        #[arg(long, default_value = "/queues")]
        mount: String,
        /// Items in the short queue.
        #[arg(long, default_value_t = 1_000)]
        short: u64,
        /// Items in the long queue; a mount allows 100000 if it was not told otherwise.
        #[arg(long, default_value_t = 100_000)]
        items: u64,
        /// Takers at a time.
        #[arg(long, default_value_t = 16)]
        outstanding: u32,
        /// How long at each length.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Bytes of a payload.
        #[arg(long, default_value_t = 32)]
        bytes: usize,
    },
    /// Pipelined requests over the ZooKeeper protocol, on one ensemble or on two in turn.
    /// Example: quorate bench zk --servers h1:2181,h2:2181,h3:2181 --beside z1:2181,z2:2181,z3:2181
    Zk(ZooKeeperBench),
}

/// Load over the ZooKeeper protocol.
#[derive(Debug, Args)]
pub(crate) struct ZooKeeperBench {
    /// Where ZooKeeper clients connect; the leader, if one says so, is used first.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub(crate) servers: Vec<String>,
    /// Another ensemble to compare with, such as one of ZooKeeper servers.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) beside: Vec<String>,
    /// Kinds of requests.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "set,get,create")]
    pub(crate) loads: Vec<ZooKeeperLoad>,
    /// Requests without a reply at a time, over all connections.
    #[arg(long, value_delimiter = ',', default_value = "1,16,128,1024",
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) outstanding: Vec<u32>,
    /// How long each load lasts in each round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// How long each load is run on each ensemble before anything is measured: programs that are
    /// compiled while they run are slow at first.
    #[arg(long, default_value_t = 2)]
    pub(crate) warm_up_seconds: u64,
    /// How often each load is run.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Bytes of data.
    #[arg(long, default_value_t = 256)]
    pub(crate) bytes: usize,
    /// Connections that share the requests; default: one for each server.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: Option<u32>,
}

/// What a load over the ZooKeeper protocol asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ZooKeeperLoad {
    /// Data of znodes that are there is set.
    Set,
    /// Data is read.
    Get,
    /// Znodes are created.
    Create,
}

impl ZooKeeperLoad {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ZooKeeperLoad::Set => "set",
            ZooKeeperLoad::Get => "get",
            ZooKeeperLoad::Create => "create",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_two_arguments_of_a_command_are_in_one_anothers_way() {
        CommandLine::command().debug_assert();
    }
}
