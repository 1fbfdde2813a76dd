//! What operators do: recipes of the catalogue, mounts, status, leadership, members.
//!
//! Comes in: method calls. Goes out: typed replies. Invariant: an upload goes on where the servers
//! say that it stands, so that it can be repeated after any failure.

use crate::client::{Client, parse, unexpected};
use crate::error::ClientError;
use bytes::Bytes;
use quorate_types::recipe::{InstalledRecipe, MountedRecipe, ShadowReport};
use quorate_types::request::ServerStatus;
use quorate_types::{ComponentDigest, MemberAddress, Operation, RecipeSignature, Reply, ServerId};
use sha2::{Digest, Sha256};

/// Bytes of one part of an upload: the servers' limit.
const PART_BYTES: usize = 256 << 10;

/// How a recipe is to govern a subtree.
#[derive(Clone, Debug)]
pub struct MountRequest {
    /// The subtree's top.
    pub path: String,
    /// An installed component.
    pub digest: ComponentDigest,
    /// CBOR for the recipe; empty for its defaults.
    pub config: Bytes,
    /// Whether plain writes below are allowed.
    pub open: bool,
    /// Fuel of one call; `None`: the cluster's limit.
    pub fuel: Option<u64>,
}

impl Client {
    /// Uploads a component and installs it. `signature`: for servers that let in what is signed; others
    /// pay no heed to it. `progress` is told the bytes at the servers and the bytes of the whole, after
    /// each part.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let component = std::fs::read("lock.wasm")?;
    /// let recipe = client
    ///     .upload_and_install(component, None, |done, total| eprintln!("{done} of {total} bytes"))
    ///     .await?;
    /// println!("{} {}", recipe.descriptor.name, recipe.descriptor.version);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `recipe-not-trusted`, `recipe-invalid`, `quota-exceeded`, `not-authorized`, and what [`ClientError`] says.
    pub async fn upload_and_install(
        &self,
        component: impl Into<Bytes>,
        signature: Option<RecipeSignature>,
        mut progress: impl FnMut(u32, u32) + Send,
    ) -> Result<InstalledRecipe, ClientError> {
        let component = component.into();
        let digest = ComponentDigest(Sha256::digest(&component).into());
        let total_bytes = u32::try_from(component.len())
            .map_err(|_| ClientError::Arguments("a component is far below 4 GiB".to_owned()))?;
        let mut offset = 0;
        while offset < total_bytes {
            offset = self.upload_part((digest, signature), &component, offset).await?;
            progress(offset, total_bytes);
        }
        match self
            .ask(Operation::InstallRecipe { digest, signature: signature.map(Box::new) })
            .await?
        {
            Reply::Installed(recipe) => Ok(recipe),
            other => Err(unexpected("install", &other)),
        }
    }

    /// Uploads the part at `offset`; gives where the next one begins.
    async fn upload_part(
        &self,
        (digest, signature): (ComponentDigest, Option<RecipeSignature>),
        component: &Bytes,
        offset: u32,
    ) -> Result<u32, ClientError> {
        let begin = offset as usize;
        let end = component.len().min(begin + PART_BYTES);
        let operation = Operation::UploadComponent {
            digest,
            total_bytes: component.len() as u32,
            offset,
            bytes: component.slice(begin..end),
            signature: signature.map(Box::new),
        };
        match self.ask(operation).await? {
            Reply::Uploaded(received)
                if received > offset && received as usize <= component.len() =>
            {
                Ok(received)
            }
            other => Err(unexpected("upload", &other)),
        }
    }

    /// Takes a component out of the catalogue.
    ///
    /// # Errors
    /// `no-recipe`, `recipe-in-use`, and what [`ClientError`] says.
    pub async fn remove_recipe(&self, digest: ComponentDigest) -> Result<(), ClientError> {
        self.ask(Operation::RemoveRecipe { digest }).await.map(drop)
    }

    /// Lets a recipe govern a subtree.
    ///
    /// # Errors
    /// `no-recipe`, `not-empty`, `node-exists` (a mount is there), and what [`ClientError`] says.
    pub async fn mount(&self, mount: MountRequest) -> Result<(), ClientError> {
        let MountRequest { path, digest, config, open, fuel } = mount;
        let path = parse(&path)?;
        self.ask(Operation::Mount { path, digest, config, open, fuel }).await.map(drop)
    }

    /// Ends a recipe's rule over a subtree; its znodes stay.
    ///
    /// # Errors
    /// `no-mount`, and what [`ClientError`] says.
    pub async fn unmount(&self, path: &str) -> Result<(), ClientError> {
        self.ask(Operation::Unmount { path: parse(path)? }).await.map(drop)
    }

    /// The catalogue.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_recipes(&self) -> Result<Vec<InstalledRecipe>, ClientError> {
        match self.ask(Operation::ListRecipes).await? {
            Reply::Recipes(recipes) => Ok(recipes),
            other => Err(unexpected("list-recipes", &other)),
        }
    }

    /// The mounts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_mounts(&self) -> Result<Vec<MountedRecipe>, ClientError> {
        match self.ask(Operation::ListMounts).await? {
            Reply::Mounts(mounts) => Ok(mounts),
            other => Err(unexpected("list-mounts", &other)),
        }
    }

    /// Lets another version of a mount's recipe run beside it on the next `calls` calls: what it would
    /// do is compared and taken back. 0: no more. Lasts as long as the leader leads.
    ///
    /// # Errors
    /// `no-mount`, `no-recipe`, `recipe-in-use` (another recipe), `recipe-invalid`, and what
    /// [`ClientError`] says.
    pub async fn begin_shadow(
        &self,
        path: &str,
        digest: ComponentDigest,
        calls: u32,
    ) -> Result<(), ClientError> {
        let path = parse(path)?;
        self.ask(Operation::BeginShadow { path, digest, calls }).await.map(drop)
    }

    /// What the shadow of a mount has seen so far; `None`: there is none, or its leader has gone.
    ///
    /// # Errors
    /// `no-mount`, and what [`ClientError`] says.
    pub async fn shadow_report(&self, path: &str) -> Result<Option<ShadowReport>, ClientError> {
        match self.ask(Operation::ShadowReport { path: parse(path)? }).await? {
            Reply::Shadow(report) => Ok(report),
            other => Err(unexpected("shadow-report", &other)),
        }
    }

    /// How the server that serves this session sees the cluster.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<ServerStatus, ClientError> {
        match self.ask(Operation::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected("status", &other)),
        }
    }

    /// Makes another server the leader: this one, or the most caught-up voter.
    ///
    /// # Errors
    /// `no-member`, `membership-refused`, and what [`ClientError`] says.
    pub async fn transfer_leader(&self, to: Option<ServerId>) -> Result<(), ClientError> {
        self.ask(Operation::TransferLeader { to }).await.map(drop)
    }

    /// Lets a server join as a learner, or moves a member to other addresses. The server should run
    /// on an empty data directory, configured to join. `server`: an id never used before.
    ///
    /// ```no_run
    /// # use quorate_client::{MemberAddress, ServerId};
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let (peer, native) = ("db4:7421".to_owned(), "db4:7420".to_owned());
    /// client.add_member(ServerId(4), MemberAddress { peer, native, zookeeper: None }).await?;
    /// // Once it has caught up:
    /// client.promote_member(ServerId(4)).await?;
    /// client.remove_member(ServerId(1)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `bad-arguments`, `membership-refused` (another change is under way, or the id was used before),
    /// and what [`ClientError`] says.
    pub async fn add_member(
        &self,
        server: ServerId,
        address: MemberAddress,
    ) -> Result<(), ClientError> {
        let (peer_address, native_address) = (address.peer, address.native);
        let zookeeper_address = address.zookeeper;
        let add = Operation::AddMember { server, peer_address, native_address, zookeeper_address };
        self.ask(add).await.map(drop)
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// `no-member`, `membership-refused` (it has not caught up yet or is not connected, or another
    /// change is under way), and what [`ClientError`] says.
    pub async fn promote_member(&self, server: ServerId) -> Result<(), ClientError> {
        self.ask(Operation::PromoteMember { server }).await.map(drop)
    }

    /// Takes a member out for good, voter or learner. The leader hands over first.
    ///
    /// # Errors
    /// `no-member`, `membership-refused` (no quorum would be left, or another change is under way),
    /// and what [`ClientError`] says.
    pub async fn remove_member(&self, server: ServerId) -> Result<(), ClientError> {
        self.ask(Operation::RemoveMember { server }).await.map(drop)
    }
}
