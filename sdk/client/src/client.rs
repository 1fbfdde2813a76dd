//! The handle that applications hold: requests on znodes, calls of recipes, watches, the session.
//!
//! Comes in: method calls. Goes out: typed replies. Invariant: dropping the future of a call gives
//! the call up, also at the servers if it is parked there.

use crate::config::ClientConfig;
use crate::dial::Dialer;
use crate::driver::{Command, Driver, Reports};
use crate::error::ClientError;
use crate::lock::Lock;
use crate::protocol::{Answer, CallFailure, CallId, Submission, Undo};
use crate::watch::{NOTIFICATIONS_MAX, Notification, Notifications, Watch, WatchOptions};
use bytes::Bytes;
use quorate_types::request::{
    CreateMode, MultiOperation, MultiReply, ReadLevel, WatchMode, WatchPosition,
};
use quorate_types::{AclEntry, Operation, Reply, ServerId, SessionId, Stat, ZnodePath};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

/// How the session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// No server is connected; the session may still be alive there. Whoever holds a lock should
    /// be careful from here on.
    Disconnected,
    /// A server serves the session.
    Connected {
        /// The session.
        session: SessionId,
        /// The server.
        server: ServerId,
        /// The timeout granted.
        timeout: Duration,
    },
    /// The session has ended: its ephemerals are gone, its locks are free.
    Ended {
        /// Why.
        reason: String,
    },
}

impl SessionState {
    /// Marks a connected session as disconnected; gives whether anything changed.
    pub(crate) fn disconnect(&mut self) -> bool {
        let was_connected = matches!(self, SessionState::Connected { .. });
        if was_connected {
            *self = SessionState::Disconnected;
        }
        was_connected
    }
}

/// Data of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    /// The data.
    pub data: Bytes,
    /// What is known besides.
    pub stat: Stat,
}

/// Some children of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Children {
    /// Their names, in order.
    pub names: Vec<String>,
    /// Whether there are more after the last.
    pub more: bool,
    /// The parent's stat.
    pub stat: Stat,
}

pub(crate) struct Shared {
    commands: mpsc::UnboundedSender<Command>,
    next_call: AtomicU64,
    notifications: broadcast::WeakSender<Notification>,
    state: watch::Receiver<SessionState>,
    session: SessionId,
    request_timeout: Duration,
}

/// A call under way. Dropping it gives the call up; an answer that has come and was not looked at
/// is undone, if it says how.
struct Waiting<'a> {
    client: &'a Client,
    call: CallId,
    answer: oneshot::Receiver<Result<Answer, CallFailure>>,
    undo: Option<Undo>,
    done: bool,
}

impl Waiting<'_> {
    async fn answer(mut self) -> Result<Answer, ClientError> {
        let answer = (&mut self.answer).await;
        self.done = true;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(self.client.gone()),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // From here on the driver cannot answer any more; it may have just before.
        self.answer.close();
        match self.answer.try_recv() {
            Ok(Ok(answer)) => {
                let undoing = self.undo.as_ref().and_then(|undo| undo.undoing(&answer.reply));
                if let Some(operation) = undoing {
                    self.client.tell(operation);
                }
            }
            Ok(Err(_)) => {}
            Err(_) => drop(self.client.shared.commands.send(Command::Abandon(self.call))),
        }
    }
}

/// What to ask for, before it has a number.
pub(crate) struct Ask {
    pub(crate) operation: Operation,
    /// What takes the call back if it is done after its caller has gone.
    pub(crate) undo: Option<Undo>,
}

impl From<Operation> for Ask {
    fn from(operation: Operation) -> Ask {
        Ask { operation, undo: None }
    }
}

/// A client with one session. Clones share it; the session lives on a task of its own until
/// [`Client::close`], or until the last clone is dropped (then it ends by its timeout).
///
/// Requests may be made concurrently. Each is applied exactly once, however often the connection
/// breaks, as long as the session lives.
///
/// ```no_run
/// # async fn example() -> Result<(), quorate_client::ClientError> {
/// use quorate_client::{Client, ClientConfig, CreateMode, Pem};
/// let client = Client::connect(ClientConfig::new(["127.0.0.1:7420"], Pem::read("ca.pem")?)).await?;
/// client.create("/greeting", "hello", CreateMode::Persistent).await?;
/// assert_eq!(client.get("/greeting").await?.data, "hello");
/// client.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    level: ReadLevel,
    deadline: Option<Duration>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("session", &self.shared.session)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Opens a session at one of the servers.
    ///
    /// # Errors
    /// What is wrong with the configuration, a certificate or the servers. Wrong certificates are
    /// told at once; servers that do not answer or have no leader are tried until
    /// [`ClientConfig::connect_timeout`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        let dialer = Dialer::new(&config)?;
        let targets = config.targets()?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let (notifications, _) = broadcast::channel(NOTIFICATIONS_MAX);
        let (state_sender, state) = watch::channel(SessionState::Disconnected);
        let weak = notifications.downgrade();
        let reports = Reports { notifications, state: state_sender };
        let driver = Driver::new(dialer, targets, config.session_timeout, inbox, reports);
        let (ready, first) = oneshot::channel();
        let give_up = Instant::now() + config.connect_timeout;
        tokio::spawn(driver.run(ready, give_up));
        first.await.map_err(|_| ClientError::Closed)??;
        let session = match &*state.borrow() {
            SessionState::Connected { session, .. } => *session,
            SessionState::Disconnected | SessionState::Ended { .. } => SessionId::default(),
        };
        let shared = Shared {
            commands,
            next_call: AtomicU64::new(1),
            notifications: weak,
            state,
            session,
            request_timeout: config.request_timeout,
        };
        let level = ReadLevel::default();
        Ok(Client { shared: Arc::new(shared), level, deadline: None })
    }

    /// A handle to the same session whose reads are this fresh.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::ClientError> {
    /// use quorate_client::ReadLevel;
    /// let znode = client.at(ReadLevel::Local).get("/greeting").await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn at(&self, level: ReadLevel) -> Client {
        Client { level, ..self.clone() }
    }

    /// A handle to the same session whose requests take no longer than this in all, waiting in a
    /// recipe's line included. (Otherwise [`ClientConfig::request_timeout`] holds until a request is
    /// answered or parked.)
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Client {
        Client { deadline: Some(deadline), ..self.clone() }
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.shared.session
    }

    /// How the session stands now.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.shared.state.borrow().clone()
    }

    /// Waits until the session stands otherwise than it did at the last call through this handle's
    /// receiver: see [`watch::Receiver::changed`].
    #[must_use]
    pub fn state_changes(&self) -> watch::Receiver<SessionState> {
        self.shared.state.clone()
    }

    /// Waits until the session has ended; gives the reason.
    pub async fn ended(&self) -> String {
        let mut state = self.shared.state.clone();
        let ended = state.wait_for(|state| matches!(state, SessionState::Ended { .. })).await;
        match ended.as_deref() {
            Ok(SessionState::Ended { reason }) => reason.clone(),
            _ => "the client's task has ended".to_owned(),
        }
    }

    /// Ends the session: its ephemerals go, its parked calls are answered, the connection closes.
    ///
    /// # Errors
    /// The session could not be ended in time; it will end by its timeout.
    pub async fn close(self) -> Result<(), ClientError> {
        match self.ask(Operation::CloseSession).await {
            Ok(_) => drop(self.ended().await),
            Err(ClientError::SessionLost { .. } | ClientError::Closed) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends one request and waits for its final answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn request(&self, operation: Operation) -> Result<Reply, ClientError> {
        self.ask(operation).await
    }

    pub(crate) async fn ask(&self, ask: impl Into<Ask>) -> Result<Reply, ClientError> {
        self.ask_answer(ask).await.map(|answer| answer.reply)
    }

    async fn ask_answer(&self, ask: impl Into<Ask>) -> Result<Answer, ClientError> {
        let (completion, answer) = oneshot::channel();
        let submission = self.submission(ask.into());
        let (call, undo) = (submission.call, submission.undo.clone());
        let command = Command::Submit { submission, completion };
        self.shared.commands.send(command).map_err(|_| self.gone())?;
        Waiting { client: self, call, answer, undo, done: false }.answer().await
    }

    /// Sends one request whose answer nobody waits for.
    pub(crate) fn tell(&self, operation: Operation) {
        let (completion, _) = oneshot::channel();
        let submission = self.submission(operation.into());
        let _ = self.shared.commands.send(Command::Submit { submission, completion });
    }

    fn submission(&self, ask: Ask) -> Submission {
        let timeout = self.deadline.unwrap_or(self.shared.request_timeout);
        Submission {
            call: self.shared.next_call.fetch_add(1, Ordering::Relaxed),
            operation: ask.operation,
            level: self.level,
            timeout_ms: Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            timeout_covers_parking: self.deadline.is_some(),
            undo: ask.undo,
        }
    }

    /// The driver is gone: why?
    fn gone(&self) -> ClientError {
        match self.state() {
            SessionState::Ended { reason } => ClientError::SessionLost { reason },
            SessionState::Disconnected | SessionState::Connected { .. } => ClientError::Closed,
        }
    }

    // ---- znodes ----

    /// Creates a znode that everyone may use; gives its final name.
    ///
    /// # Errors
    /// `node-exists`, `no-node` (the parent), and what [`ClientError`] says.
    pub async fn create(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        mode: CreateMode,
    ) -> Result<ZnodePath, ClientError> {
        let path = parse(path)?;
        let data: Bytes = data.into();
        let operation = Operation::Create { path, data: data.into(), mode, acl: None };
        match self.ask(operation).await? {
            Reply::Created(path, _) => Ok(path),
            other => Err(unexpected("create", &other)),
        }
    }

    /// Creates a znode under an ACL; gives its final name.
    ///
    /// # Errors
    /// As [`Client::create`], and `invalid-acl`.
    pub async fn create_with_acl(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        mode: CreateMode,
        acl: Vec<AclEntry>,
    ) -> Result<ZnodePath, ClientError> {
        let path = parse(path)?;
        let data: Bytes = data.into();
        let operation = Operation::Create { path, data: data.into(), mode, acl: Some(acl) };
        match self.ask(operation).await? {
            Reply::Created(path, _) => Ok(path),
            other => Err(unexpected("create", &other)),
        }
    }

    /// Deletes a znode that has no children; only at `expected_version`, if given.
    ///
    /// # Errors
    /// `no-node`, `not-empty`, `bad-version`, and what [`ClientError`] says.
    pub async fn delete(
        &self,
        path: &str,
        expected_version: Option<i32>,
    ) -> Result<(), ClientError> {
        self.ask(Operation::Delete { path: parse(path)?, expected_version }).await.map(drop)
    }

    /// Data and stat of a znode.
    ///
    /// # Errors
    /// `no-node`, and what [`ClientError`] says.
    pub async fn get(&self, path: &str) -> Result<Znode, ClientError> {
        match self.ask(Operation::Get { path: parse(path)?, watch: false }).await? {
            Reply::Data(data, stat) => Ok(Znode { data: data.into_bytes(), stat }),
            other => Err(unexpected("get", &other)),
        }
    }

    /// Replaces the data of a znode; only at `expected_version`, if given.
    ///
    /// # Errors
    /// `no-node`, `bad-version`, and what [`ClientError`] says.
    pub async fn set(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        expected_version: Option<i32>,
    ) -> Result<Stat, ClientError> {
        let path = parse(path)?;
        let data: Bytes = data.into();
        match self.ask(Operation::SetData { path, data: data.into(), expected_version }).await? {
            Reply::Stat(stat) => Ok(stat),
            other => Err(unexpected("set", &other)),
        }
    }

    /// The stat of a znode; `None` if it is not there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, ClientError> {
        match self.ask(Operation::Exists { path: parse(path)?, watch: false }).await? {
            Reply::Exists(stat) => Ok(stat),
            other => Err(unexpected("exists", &other)),
        }
    }

    /// Names of all children, in order. Fetched in pages if there are very many; then the whole is
    /// not of one moment.
    ///
    /// # Errors
    /// `no-node`, and what [`ClientError`] says.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, ClientError> {
        let mut page = self.children_page(path, None, None).await?;
        let mut names = Vec::new();
        loop {
            names.append(&mut page.names);
            match names.last() {
                Some(last) if page.more => {
                    page = self.children_page(path, Some(last.clone()), None).await?;
                }
                _ => return Ok(names),
            }
        }
    }

    /// Names of some children: those after `after`, at most `limit`.
    ///
    /// # Errors
    /// `no-node`, and what [`ClientError`] says.
    pub async fn children_page(
        &self,
        path: &str,
        after: Option<String>,
        limit: Option<u32>,
    ) -> Result<Children, ClientError> {
        let operation = Operation::Children { path: parse(path)?, after, limit, watch: false };
        match self.ask(operation).await? {
            Reply::Children(names, more, stat) => Ok(Children { names, more, stat }),
            other => Err(unexpected("children", &other)),
        }
    }

    /// The ACL of a znode and its stat.
    ///
    /// # Errors
    /// `no-node`, and what [`ClientError`] says.
    pub async fn acl(&self, path: &str) -> Result<(Vec<AclEntry>, Stat), ClientError> {
        match self.ask(Operation::GetAcl { path: parse(path)? }).await? {
            Reply::Acl(acl, stat) => Ok((acl, stat)),
            other => Err(unexpected("acl", &other)),
        }
    }

    /// Replaces the ACL of a znode; only at `expected_version` of the ACL, if given.
    ///
    /// # Errors
    /// `no-node`, `bad-version`, `invalid-acl`, and what [`ClientError`] says.
    pub async fn set_acl(
        &self,
        path: &str,
        acl: Vec<AclEntry>,
        expected_version: Option<i32>,
    ) -> Result<Stat, ClientError> {
        match self.ask(Operation::SetAcl { path: parse(path)?, acl, expected_version }).await? {
            Reply::Stat(stat) => Ok(stat),
            other => Err(unexpected("set-acl", &other)),
        }
    }

    /// All of the operations, or none.
    ///
    /// # Errors
    /// The refusal of the first that fails, with its position in `failed_operation`.
    pub async fn multi(
        &self,
        operations: Vec<MultiOperation>,
    ) -> Result<Vec<MultiReply>, ClientError> {
        match self.ask(Operation::Multi { operations }).await? {
            Reply::Multi(replies) => Ok(replies),
            other => Err(unexpected("multi", &other)),
        }
    }

    /// Afterwards, local reads of this session see everything acknowledged to anyone before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sync(&self) -> Result<(), ClientError> {
        self.ask(Operation::Sync).await.map(drop)
    }

    // ---- watches ----

    /// Sets a watch and gives what it reports from now on. After a reconnect it goes on where it
    /// broke off; a [`Notification::Gap`] says when the servers do not know any more what happened
    /// in between.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::ClientError> {
    /// use quorate_client::WatchMode;
    /// let mut watch = client.watch("/config", WatchMode::PersistentRecursive).await?;
    /// while let Some(notification) = watch.next().await {
    ///     println!("{notification:?}: {:?}", client.children("/config").await?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn watch(&self, path: &str, mode: WatchMode) -> Result<Watch, ClientError> {
        self.watch_with(path, WatchOptions::new(mode)).await
    }

    /// Sets a watch and gives what it reports after a point: first what has happened since, then
    /// what happens. If the server does not know it any more, the first notification is a
    /// [`Notification::Gap`].
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::ClientError> {
    /// use quorate_client::{Notification, WatchMode};
    /// let seen = client.get("/config").await?.stat.mzxid;
    /// let mut watch = client.watch_from("/config", WatchMode::Persistent, seen).await?;
    /// while let Some(notification) = watch.next().await {
    ///     match notification {
    ///         Notification::Changed(event) => println!("{:?} {}", event.kind, event.path),
    ///         missed => println!("read everything again: {missed:?}"),
    ///     }
    ///     println!("to go on later: {}", watch.position());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `bad-arguments` for a point that nothing has reached yet, and what [`ClientError`] says.
    pub async fn watch_from(
        &self,
        path: &str,
        mode: WatchMode,
        since: impl Into<WatchPosition>,
    ) -> Result<Watch, ClientError> {
        self.watch_with(path, WatchOptions::new(mode).since(since)).await
    }

    /// As [`Client::watch`] and [`Client::watch_from`], with every choice.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::ClientError> {
    /// use quorate_client::{Notification, WatchMode, WatchOptions};
    /// let options = WatchOptions::new(WatchMode::PersistentRecursive).with_values();
    /// let mut watch = client.watch_with("/config", options).await?;
    /// if let Some(Notification::Changed(event)) = watch.next().await {
    ///     println!("{} is {:?}", event.path, event.data);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Client::watch_from`].
    pub async fn watch_with(
        &self,
        path: &str,
        options: WatchOptions,
    ) -> Result<Watch, ClientError> {
        let notifications = self.notifications();
        let path = parse(path)?;
        let WatchOptions { mode, since, values } = options;
        let operation = Operation::AddWatch { path: path.clone(), mode, since, values };
        let answer = self.ask_answer(operation).await?;
        Ok(Watch::new(notifications, path, options, answer))
    }

    /// Sets a watch; its notifications come through [`Client::notifications`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_watch(&self, path: &str, mode: WatchMode) -> Result<(), ClientError> {
        let path = parse(path)?;
        self.ask(Operation::AddWatch { path, mode, since: None, values: false }).await.map(drop)
    }

    /// Takes back every watch of this session on a znode.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_watches(&self, path: &str) -> Result<(), ClientError> {
        let path = parse(path)?;
        self.ask(Operation::RemoveWatches { path, mode: None }).await.map(drop)
    }

    /// The notifications of every watch of this session, from now on.
    #[must_use]
    pub fn notifications(&self) -> Notifications {
        let receiver = match self.shared.notifications.upgrade() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        Notifications::new(receiver)
    }

    // ---- recipes ----

    /// Calls a recipe. If the recipe parks the call, this waits until it is completed; dropping the
    /// future cancels it.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::ClientError> {
    /// #[derive(serde::Serialize)]
    /// struct Acquire { wait_ms: Option<u64> }
    /// #[derive(serde::Deserialize)]
    /// struct Grant { fence: u64 }
    /// let grant: Grant =
    ///     client.call("/locks/orders", "acquire", &Acquire { wait_ms: None }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `recipe-refused` with the recipe's own code, and what [`ClientError`] says.
    pub async fn call<Arguments: Serialize + ?Sized, Returned: DeserializeOwned>(
        &self,
        object: &str,
        operation: &str,
        arguments: &Arguments,
    ) -> Result<Returned, ClientError> {
        let arguments = to_cbor(arguments)?;
        from_cbor(operation, &self.call_raw(object, operation, arguments).await?)
    }

    /// Calls a recipe with arguments that are CBOR already; gives the CBOR of its reply.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_raw(
        &self,
        object: &str,
        operation: &str,
        arguments: impl Into<Bytes>,
    ) -> Result<Bytes, ClientError> {
        let ask = Operation::Call {
            object: parse(object)?,
            operation: operation.to_owned(),
            arguments: arguments.into(),
        };
        called(operation, self.ask(ask).await?)
    }

    /// The lock at an object below a mount of the `lock` recipe.
    #[must_use]
    pub fn lock(&self, object: &str) -> Lock {
        Lock::new(self.clone(), object.to_owned())
    }
}

pub(crate) fn parse(path: &str) -> Result<ZnodePath, ClientError> {
    ZnodePath::parse(path).map_err(|error| ClientError::Path { path: path.to_owned(), error })
}

pub(crate) fn to_cbor(value: &(impl Serialize + ?Sized)) -> Result<Bytes, ClientError> {
    serde_cbor::to_vec(&value)
        .map(Bytes::from)
        .map_err(|error| ClientError::Arguments(error.to_string()))
}

pub(crate) fn from_cbor<T: DeserializeOwned>(
    operation: &str,
    bytes: &[u8],
) -> Result<T, ClientError> {
    serde_cbor::from_slice(bytes).map_err(|error| ClientError::Reply {
        operation: operation.to_owned(),
        reason: error.to_string(),
    })
}

pub(crate) fn called(operation: &str, reply: Reply) -> Result<Bytes, ClientError> {
    match reply {
        Reply::Called(bytes) => Ok(bytes),
        other => Err(unexpected(operation, &other)),
    }
}

pub(crate) fn unexpected(operation: &str, reply: &Reply) -> ClientError {
    let mut reason = format!("the server answered {reply:?}");
    if let Some((cut, _)) = reason.char_indices().nth(200) {
        reason.truncate(cut);
    }
    ClientError::Reply { operation: operation.to_owned(), reason }
}
