//! What a scenario needs of whoever runs the recipe.

/// A number by which the stage knows a call again, within its session.
pub type CallId = u64;

/// A refusal, by the recipe or by the server for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For programs: the recipe's own code, or the server's.
    pub code: String,
    /// For people.
    pub message: String,
    /// CBOR, or empty.
    pub detail: Vec<u8>,
}

/// What a call came to at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reply, CBOR.
    Done(Vec<u8>),
    /// It waits.
    Parked,
    /// Nothing was changed.
    Refused(Refused),
}

/// What a command did besides answering its own call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A parked call was answered.
    Pushed {
        /// Whose call.
        session: u64,
        /// Which.
        call: CallId,
        /// With the reply, CBOR.
        answer: Result<Vec<u8>, Refused>,
    },
    /// An event handler refused; what it had changed was taken back.
    HandlerRefused(Refused),
}

/// One znode below the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    /// Relative to the mount.
    pub path: String,
    /// As it is.
    pub data: Vec<u8>,
    /// The session with which it goes.
    pub owner: Option<u64>,
    /// How often its data was set.
    pub version: i32,
    /// The transaction that created it.
    pub created: u64,
    /// The transaction that last set its data.
    pub modified: u64,
}

/// Runs one recipe, mounted once, for clients.
pub trait Stage {
    /// Mounts the recipe; no bytes are no configuration.
    ///
    /// # Errors
    /// The recipe does not like it: nothing is mounted.
    fn mount(&mut self, config: &[u8]) -> Result<(), Refused>;

    /// Opens a session of this identity and gives its number.
    fn open(&mut self, identity: &str) -> u64;

    /// Makes a call; the object is relative to the mount.
    fn call(
        &mut self,
        session: u64,
        object: &str,
        operation: &str,
        arguments: &[u8],
    ) -> (CallId, Answer);

    /// Makes a command again, as a client does that got no answer.
    fn retry(&mut self, session: u64, call: CallId) -> Answer;

    /// Gives a parked call up.
    fn cancel(&mut self, session: u64, call: CallId);

    /// Ends a session.
    fn close(&mut self, session: u64);

    /// Lets time pass; what falls due fires at its time.
    fn advance(&mut self, ms: u64);

    /// Lets time pass at once; what fell due meanwhile fires late.
    fn jump(&mut self, ms: u64);

    /// Changes the configuration.
    ///
    /// # Errors
    /// The recipe does not like it: the one before stays.
    fn configure(&mut self, config: &[u8]) -> Result<(), Refused>;

    /// Puts a newer build of the same recipe in charge.
    ///
    /// # Errors
    /// It does not take the state over: the one before stays in charge.
    fn upgrade(&mut self) -> Result<(), Refused>;

    /// Every znode below the mount, in any order.
    fn znodes(&self) -> Vec<Znode>;

    /// What happened since this was asked last, in order.
    fn take_happened(&mut self) -> Vec<Happened>;
}
