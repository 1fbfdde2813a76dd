//! Absolute paths of znodes, by ZooKeeper's rules (`PathUtils.validatePath`).
//!
//! Comes in: text from clients, recipes and the log. Goes out: a path known to be well formed.
//! Invariant: starts with `/`, ends without one (but for the root), no empty, `.` or `..` segment,
//! no control or private-use character. Must never normalise: a wrong path is refused, not mended.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Longest path in bytes; twice what any known ZooKeeper user has.
pub const PATH_BYTES_MAX: usize = 4_096;

/// A well-formed absolute path. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "Box<str>")]
pub struct ZnodePath(Arc<str>);

/// Why text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The text is empty.
    Empty,
    /// The text does not start with `/`.
    NotAbsolute,
    /// The text ends with `/` and is not the root.
    TrailingSlash,
    /// Two slashes follow one another.
    EmptySegment,
    /// A segment is `.` or `..`.
    RelativeSegment,
    /// A character that no path may hold, at this byte.
    Character {
        /// Byte offset of the character.
        at: usize,
    },
    /// The text is longer than [`PATH_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Empty => f.write_str("a path cannot be empty"),
            PathError::NotAbsolute => f.write_str("a path starts with /"),
            PathError::TrailingSlash => f.write_str("a path does not end with /"),
            PathError::EmptySegment => f.write_str("a path has no // in it"),
            PathError::RelativeSegment => f.write_str("a path has no . or .. segment"),
            PathError::Character { at } => {
                write!(f, "the character at byte {at} cannot be part of a path")
            }
            PathError::TooLong => write!(f, "a path has at most {PATH_BYTES_MAX} bytes"),
        }
    }
}

impl core::error::Error for PathError {}

fn is_forbidden(character: char) -> bool {
    // ZooKeeper looks at halves of characters above U+FFFF, and forbids every half.
    matches!(character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..=char::MAX)
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    match segment {
        "" => Err(PathError::EmptySegment),
        "." | ".." => Err(PathError::RelativeSegment),
        _ => Ok(()),
    }
}

impl ZnodePath {
    /// The root, `/`.
    #[must_use]
    pub fn root() -> ZnodePath {
        ZnodePath(Arc::from("/"))
    }

    /// Checks `text`.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    ///
    /// ```
    /// use quorate_types::ZnodePath;
    /// let path = ZnodePath::parse("/locks/orders").unwrap();
    /// assert_eq!(path.parent().unwrap().as_str(), "/locks");
    /// assert!(ZnodePath::parse("/locks//orders").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<ZnodePath, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::NotAbsolute);
        };
        if rest.is_empty() {
            return Ok(ZnodePath::root());
        }
        if rest.ends_with('/') {
            return Err(PathError::TrailingSlash);
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) {
            return Err(PathError::Character { at });
        }
        rest.split('/').try_for_each(check_segment)?;
        Ok(ZnodePath(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.as_str() == "/"
    }

    /// The path one segment shorter; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<ZnodePath> {
        let cut = self.0.rfind('/')?;
        match (cut, self.is_root()) {
            (_, true) => None,
            (0, false) => Some(ZnodePath::root()),
            (cut, false) => self.0.get(..cut).map(|text| ZnodePath(Arc::from(text))),
        }
    }

    /// The last segment; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or("")
    }

    /// The segments from the root down; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// This path followed by `relative`, which may have several segments and no leading slash;
    /// an empty `relative` gives this path.
    ///
    /// # Errors
    /// The first rule that the result breaks.
    pub fn join(&self, relative: &str) -> Result<ZnodePath, PathError> {
        if relative.is_empty() {
            return Ok(self.clone());
        }
        let mut text = String::with_capacity(self.0.len() + 1 + relative.len());
        if !self.is_root() {
            text.push_str(&self.0);
        }
        text.push('/');
        text.push_str(relative);
        ZnodePath::parse(&text)
    }

    /// Whether `self` is `ancestor` or lies below it.
    #[must_use]
    pub fn is_within(&self, ancestor: &ZnodePath) -> bool {
        self.relative_to(ancestor).is_some()
    }

    /// The part below `ancestor`, without a leading slash; empty when equal; `None` when outside.
    #[must_use]
    pub fn relative_to(&self, ancestor: &ZnodePath) -> Option<&str> {
        if ancestor.is_root() {
            return self.0.strip_prefix('/');
        }
        let rest = self.0.strip_prefix(&*ancestor.0)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }
}

impl fmt::Display for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ZnodePath {
    type Error = PathError;
    fn try_from(text: String) -> Result<ZnodePath, PathError> {
        ZnodePath::parse(&text)
    }
}

impl From<ZnodePath> for Box<str> {
    fn from(path: ZnodePath) -> Box<str> {
        Box::from(path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_paths_are_refused_by_the_rule_they_break() {
        let cases = [
            ("", PathError::Empty),
            ("a", PathError::NotAbsolute),
            ("/a/", PathError::TrailingSlash),
            ("/a//b", PathError::EmptySegment),
            ("/a/./b", PathError::RelativeSegment),
            ("/a/..", PathError::RelativeSegment),
            ("/a\u{0}", PathError::Character { at: 2 }),
            ("/a\u{f8ff}", PathError::Character { at: 2 }),
            ("/a\u{1f600}", PathError::Character { at: 2 }),
        ];
        for (text, error) in cases {
            assert_eq!(ZnodePath::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn parents_end_at_the_root() {
        let path = ZnodePath::parse("/a/b").unwrap();
        let parent = path.parent().unwrap();
        assert_eq!((parent.as_str(), path.name()), ("/a", "b"));
        assert_eq!(parent.parent().unwrap(), ZnodePath::root());
        assert_eq!(ZnodePath::root().parent(), None);
        assert_eq!(ZnodePath::root().name(), "");
    }

    #[test]
    fn a_name_that_only_begins_alike_is_outside() {
        let mount = ZnodePath::parse("/locks").unwrap();
        let beside = ZnodePath::parse("/locksmith/a").unwrap();
        let inside = ZnodePath::parse("/locks/a/b").unwrap();
        assert_eq!(beside.relative_to(&mount), None);
        assert_eq!(inside.relative_to(&mount), Some("a/b"));
        assert_eq!(mount.relative_to(&mount), Some(""));
        assert_eq!(inside.relative_to(&ZnodePath::root()), Some("locks/a/b"));
    }

    #[test]
    fn a_join_cannot_leave_its_start() {
        let mount = ZnodePath::parse("/locks").unwrap();
        assert!(mount.join("../etc").is_err());
        assert!(mount.join("/a").is_err());
        assert_eq!(mount.join("a/b").unwrap().as_str(), "/locks/a/b");
        assert_eq!(ZnodePath::root().join("a").unwrap().as_str(), "/a");
    }
}
