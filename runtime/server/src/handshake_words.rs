//! Why a handshake failed, in words for whoever reads the log.
//!
//! Comes in: an error of QUIC, which carries the number of a TLS alert. Goes out: a sentence that
//! says what was shown and what is asked for, with the original behind it. Invariant: nothing of
//! the original is lost.

use quinn::ConnectionError;

/// TLS alerts (RFC 8446, 6.2).
mod alert {
    pub(super) const BAD_CERTIFICATE: u8 = 42;
    pub(super) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(super) const CERTIFICATE_UNKNOWN: u8 = 46;
    pub(super) const UNKNOWN_AUTHORITY: u8 = 48;
    pub(super) const DECRYPT_ERROR: u8 = 51;
    pub(super) const CERTIFICATE_REQUIRED: u8 = 116;
    pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

/// What to log of a handshake that failed.
pub(crate) fn handshake_words(error: &ConnectionError) -> String {
    let (alert, refused_by_them) = match error {
        ConnectionError::TransportError(error) => (alert_of(u64::from(error.code)), false),
        ConnectionError::ConnectionClosed(close) => (alert_of(u64::from(close.error_code)), true),
        _ => (None, false),
    };
    match alert.and_then(|alert| words(alert, refused_by_them)) {
        Some(words) => format!("{words} ({error})"),
        None => error.to_string(),
    }
}

/// The alert in an error code of QUIC (RFC 9001, 4.8).
fn alert_of(code: u64) -> Option<u8> {
    let alert = code.checked_sub(0x100)?;
    u8::try_from(alert).ok()
}

fn words(alert: u8, refused_by_them: bool) -> Option<&'static str> {
    Some(match (alert, refused_by_them) {
        (alert::CERTIFICATE_REQUIRED, false) => {
            "it showed no certificate, and this door asks for one"
        }
        (alert::CERTIFICATE_EXPIRED, false) => {
            "its certificate is not in force: compare the clocks"
        }
        (
            alert::UNKNOWN_AUTHORITY
            | alert::DECRYPT_ERROR
            | alert::BAD_CERTIFICATE
            | alert::CERTIFICATE_UNKNOWN,
            false,
        ) => "its certificate is not from this cluster's authority",
        (alert::NO_APPLICATION_PROTOCOL, false) => {
            "it speaks another protocol: clients and servers each have a port of their own"
        }
        (alert::CERTIFICATE_REQUIRED, true) => "the other side asks for a certificate",
        (
            alert::UNKNOWN_AUTHORITY
            | alert::DECRYPT_ERROR
            | alert::BAD_CERTIFICATE
            | alert::CERTIFICATE_EXPIRED
            | alert::CERTIFICATE_UNKNOWN,
            true,
        ) => "the other side does not trust this server's certificate: is it of another cluster?",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::TransportErrorCode;

    #[test]
    fn an_alert_is_found_in_the_error_code() {
        let code = TransportErrorCode::crypto(alert::CERTIFICATE_REQUIRED);
        let alert = alert_of(u64::from(code)).expect("a crypto error carries an alert");
        assert!(words(alert, false).is_some_and(|words| words.contains("no certificate")));
        assert_eq!(alert_of(u64::from(TransportErrorCode::NO_ERROR)), None);
    }

    #[test]
    fn what_is_no_alert_keeps_its_own_words() {
        let error = ConnectionError::TimedOut;
        assert_eq!(handshake_words(&error), error.to_string());
    }
}
