//! Interprets the commands of a scenario on a stage.
//!
//! Comes in: command lines, see `sdk/recipe/README.md`. Goes out: the trace, one line per thing that a
//! client or operator would see, in the order in which it happened. Invariant: a line that cannot be
//! understood is an error, never a trace that a rewrite would take over.

use crate::json_cbor;
use crate::line::{first_word, json_of, part_of};
use crate::script::run_script;
use crate::stage::{Answer, CallId, Happened, Refused, Stage, Znode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why scenarios did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError(String);

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// A scenario under way: names for the sessions and calls of a stage.
pub struct Scenario<'stage> {
    stage: &'stage mut dyn Stage,
    is_mounted: bool,
    sessions: BTreeMap<String, u64>,
    calls: BTreeMap<String, Made>,
}

struct Made {
    session: u64,
    call: CallId,
    is_parked: bool,
    reply: Value,
}

type Trace = Result<Vec<String>, String>;

impl<'stage> Scenario<'stage> {
    /// At the beginning: the stage has nothing mounted yet.
    pub fn new(stage: &'stage mut dyn Stage) -> Scenario<'stage> {
        Scenario { stage, is_mounted: false, sessions: BTreeMap::new(), calls: BTreeMap::new() }
    }

    /// Performs one command line and gives its trace.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn perform(&mut self, line: &str) -> Result<String, String> {
        let (command, rest) = first_word(line);
        if command == "mount" {
            return self.mount(rest).map(|lines| lines.join("\n"));
        }
        if !self.is_mounted {
            self.mount("")?;
        }
        if !self.is_mounted {
            return Err(String::from("the recipe cannot be mounted without a configuration"));
        }
        let mut trace = match command {
            "session" => self.open(rest),
            "call" => self.call(rest, None),
            "retry" => self.retry(rest),
            "cancel" => self.cancel(rest),
            "close" => self.close(rest),
            "advance" => self.pass_time(rest, false),
            "jump" => self.pass_time(rest, true),
            "configure" => self.configure(rest),
            "upgrade" => Ok(vec![settled("upgraded", &self.stage.upgrade())]),
            "tree" => self.tree(),
            name => match first_word(rest) {
                ("=", rest) => match first_word(rest) {
                    ("call", rest) => self.call(rest, Some(name)),
                    _ => Err(format!("only calls have names: {name} = call …")),
                },
                _ => Err(format!("there is no command `{name}`")),
            },
        }?;
        trace.extend(self.happened());
        Ok(trace.join("\n"))
    }

    fn json(&self, text: &str) -> Result<Option<Value>, String> {
        json_of(text, &|mark, name| match mark {
            '@' => self.session(name).map(|session| json!(session)),
            _ => {
                let (name, fields) = name.split_once('.').unwrap_or((name, ""));
                let reply = &self.made(name)?.reply;
                let found = part_of(reply, fields).cloned();
                found.ok_or_else(|| format!("there is no `{fields}` in the reply {reply}"))
            }
        })
    }

    fn session(&self, name: &str) -> Result<u64, String> {
        let found = self.sessions.get(name).copied();
        found.ok_or_else(|| format!("there is no session `{name}`"))
    }

    fn made(&self, name: &str) -> Result<&Made, String> {
        self.calls.get(name).ok_or_else(|| format!("there is no call `{name}`"))
    }

    fn mount(&mut self, rest: &str) -> Trace {
        if self.is_mounted {
            return Err(String::from("it is mounted: `configure` changes the configuration"));
        }
        let config = self.cbor(rest)?.unwrap_or_default();
        let mounted = self.stage.mount(&config);
        self.is_mounted = mounted.is_ok();
        Ok(vec![settled("mounted", &mounted)])
    }

    fn cbor(&self, text: &str) -> Result<Option<Vec<u8>>, String> {
        let json = self.json(text)?;
        let cbor = json.map(|json| json_cbor::to_cbor(&json)).transpose();
        cbor.map_err(|error| error.to_string())
    }

    fn open(&mut self, rest: &str) -> Trace {
        let mut trace = Vec::new();
        for name in rest.split_whitespace() {
            let session = self.stage.open(name);
            if self.sessions.insert(name.to_owned(), session).is_some() {
                return Err(format!("there is a session `{name}` already"));
            }
            trace.push(format!("{name} is session {session}"));
        }
        Ok(trace)
    }

    fn call(&mut self, rest: &str, label: Option<&str>) -> Trace {
        let (name, rest) = first_word(rest);
        let (object, rest) = first_word(rest);
        let (operation, rest) = first_word(rest);
        if operation.is_empty() {
            return Err(String::from("call SESSION OBJECT OPERATION [JSON]"));
        }
        let session = self.session(name)?;
        let label = label.unwrap_or(name).to_owned();
        if self.calls.get(&label).is_some_and(|made| made.is_parked) {
            return Err(format!("the call `{label}` is still parked: give this one a name"));
        }
        // Nothing at all is every argument at its default, as on the command line.
        let arguments = self.cbor(rest)?.unwrap_or_default();
        // The mount itself.
        let object = if object == "." { "" } else { object };
        let (call, answer) = self.stage.call(session, object, operation, &arguments);
        let made = Made { session, call, is_parked: false, reply: Value::Null };
        self.calls.insert(label.clone(), made);
        Ok(vec![self.answered(&label, "", answer)])
    }

    /// Takes an answer in and says it.
    fn answered(&mut self, label: &str, how: &str, answer: Answer) -> String {
        let made = self.calls.get_mut(label).expect("only calls made are answered");
        made.is_parked = answer == Answer::Parked;
        match answer {
            Answer::Done(reply) => {
                made.reply = shown(&reply);
                format!("{label}: {how}{}", made.reply)
            }
            Answer::Parked => format!("{label}: {how}parked"),
            Answer::Refused(refused) => format!("{label}: {how}{}", in_words(&refused)),
        }
    }

    fn retry(&mut self, rest: &str) -> Trace {
        let (label, _) = first_word(rest);
        let (session, call) = (self.made(label)?.session, self.made(label)?.call);
        let answer = self.stage.retry(session, call);
        Ok(vec![self.answered(label, "again ", answer)])
    }

    fn cancel(&mut self, rest: &str) -> Trace {
        let (label, _) = first_word(rest);
        let made = self.made(label)?;
        if !made.is_parked {
            return Err(format!("the call `{label}` is not parked"));
        }
        let (session, call) = (made.session, made.call);
        self.stage.cancel(session, call);
        Ok(Vec::new())
    }

    fn close(&mut self, rest: &str) -> Trace {
        let (name, _) = first_word(rest);
        let session = self.session(name)?;
        self.stage.close(session);
        self.sessions.remove(name);
        self.calls.retain(|_, made| made.session != session);
        Ok(Vec::new())
    }

    fn pass_time(&mut self, rest: &str, at_once: bool) -> Trace {
        let (ms, _) = first_word(rest);
        let ms = ms.parse().map_err(|_| format!("`{ms}` is no number of milliseconds"))?;
        if at_once {
            self.stage.jump(ms);
        } else {
            self.stage.advance(ms);
        }
        Ok(Vec::new())
    }

    fn configure(&mut self, rest: &str) -> Trace {
        let config = self.cbor(rest)?.unwrap_or_default();
        Ok(vec![settled("configured", &self.stage.configure(&config))])
    }

    fn tree(&self) -> Trace {
        let mut znodes = self.stage.znodes();
        znodes.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        if znodes.is_empty() {
            return Ok(vec![String::from("nothing")]);
        }
        Ok(znodes.iter().map(|znode| self.znode_in_words(znode)).collect())
    }

    fn znode_in_words(&self, znode: &Znode) -> String {
        let mut text = znode.path.clone();
        if !znode.data.is_empty() {
            text.push_str(&format!(" {}", shown(&znode.data)));
        }
        if let Some(owner) = znode.owner {
            let named = self.sessions.iter().find(|(_, session)| **session == owner);
            let owner = named.map_or_else(|| owner.to_string(), |(name, _)| name.clone());
            text.push_str(&format!(" owned by {owner}"));
        }
        let Znode { created, modified, version, .. } = znode;
        text.push_str(&format!(" created at {created}"));
        if *version != 0 {
            text.push_str(&format!(", set {version} times, last at {modified}"));
        }
        text
    }

    fn happened(&mut self) -> Vec<String> {
        let happened = self.stage.take_happened();
        happened.into_iter().filter_map(|happened| self.one_happened(happened)).collect()
    }

    /// Whom nobody can tell any more leaves no line.
    fn one_happened(&mut self, happened: Happened) -> Option<String> {
        match happened {
            Happened::HandlerRefused(refused) => Some(format!("a handler {}", in_words(&refused))),
            Happened::Pushed { session, call, answer } => {
                let of_this = |made: &Made| (made.session, made.call) == (session, call);
                let found = self.calls.iter().find(|(_, made)| of_this(made));
                let label = found.map(|(label, _)| label.clone())?;
                let answer = answer.map_or_else(Answer::Refused, Answer::Done);
                Some(self.answered(&label, "pushed ", answer))
            }
        }
    }
}

fn settled(done: &str, outcome: &Result<(), Refused>) -> String {
    outcome.as_ref().map_or_else(in_words, |()| done.to_owned())
}

fn in_words(refused: &Refused) -> String {
    let Refused { code, message, detail } = refused;
    let detail = if detail.is_empty() { String::new() } else { format!(" {}", shown(detail)) };
    format!("refused {code}: {message}{detail}")
}

/// CBOR as JSON; what is none as its bytes.
fn shown(cbor: &[u8]) -> Value {
    json_cbor::to_json(cbor).unwrap_or_else(|_| json!({ "bytes": json_cbor::hex(cbor) }))
}

/// The scenarios of a folder, in order of name; none if there is no such folder.
///
/// # Errors
/// The folder cannot be read.
pub fn scenarios_in(folder: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let cannot = |error| ScenarioError(format!("{}: {error}", folder.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Runs one scenario on a stage where nothing is mounted. Compares its traces with the file's; or,
/// when `rewriting`, writes those that were seen.
///
/// # Errors
/// The file cannot be read or written, a line cannot be understood, or a trace differs.
pub fn check_file(
    path: &Path,
    stage: &mut dyn Stage,
    rewriting: bool,
) -> Result<(), ScenarioError> {
    let cannot = |error| ScenarioError(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let mut scenario = Scenario::new(stage);
    let mut mistakes = Vec::new();
    let (seen, differences) = run_script(&text, &mut |line| {
        let traced = scenario.perform(line);
        if let Err(mistake) = &traced {
            mistakes.push(format!("  {line}: {mistake}\n"));
        }
        traced
    });
    if !mistakes.is_empty() {
        return Err(ScenarioError(format!("{}:\n{}", path.display(), mistakes.concat())));
    }
    if rewriting {
        let written = if seen == text { Ok(()) } else { std::fs::write(path, seen) };
        return written.map_err(cannot);
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(ScenarioError(format!("{} {}", path.display(), differences.concat())))
}
