//! The subject of a client's certificate as ZooKeeper's ACLs name it.
//!
//! Comes in: a certificate that TLS has verified. Goes out: its subject as Java's
//! `X500Principal.getName()` prints it: RFC 2253, the last part first. Invariant: two subjects that
//! differ in what they say never print the same, since whatever could be taken for a separator is
//! escaped, and what has no text is printed as its bytes. Must never decide whom the name belongs to.

use data_encoding::HEXLOWER;
use rustls_pki_types::CertificateDer;
use std::fmt::Write as _;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name};

/// Bytes of a subject at most: every write of its owner carries it.
const SUBJECT_BYTES_MAX: usize = 2_048;
/// Escaped wherever they stand.
const ESCAPED: [char; 8] = [',', '=', '+', '<', '>', '#', ';', '"'];

/// The parts that have a short name in RFC 2253, by their object identifiers.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// ASN.1 tags of texts whose bytes are UTF-8 in practice: `UTF8String`, `PrintableString`,
/// `T61String`, `IA5String`, `GeneralString`.
const TEXTS: [u32; 5] = [12, 19, 20, 22, 27];

/// Why a certificate has no subject that ACLs could name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubjectError {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("its subject has {0} bytes, more than {SUBJECT_BYTES_MAX}")]
    TooLong(usize),
}

/// The subject; empty if there is none in it.
pub(super) fn subject_of(certificate: &CertificateDer<'_>) -> Result<String, SubjectError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| SubjectError::Unreadable(error.to_string()))?;
    let text = text_of(parsed.subject());
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong(text.len()));
    }
    Ok(text)
}

fn text_of(name: &X509Name<'_>) -> String {
    let sets = name.iter_rdn().map(|set| set.iter().map(part).collect::<Vec<_>>().join("+"));
    let mut sets = sets.collect::<Vec<_>>();
    sets.reverse();
    sets.join(",")
}

fn part(part: &AttributeTypeAndValue<'_>) -> String {
    let identifier = part.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == identifier);
    let value = part.attr_value();
    let is_text = TEXTS.contains(&value.tag().0);
    match (short, std::str::from_utf8(value.data)) {
        (Some((_, short)), Ok(text)) if is_text => format!("{short}={}", escaped(text)),
        _ => {
            let name = short.map_or(identifier.as_str(), |(_, short)| short);
            format!("{name}=#{}", HEXLOWER.encode(&encoded(value.tag().0, value.data)))
        }
    }
}

/// Puts `\` before separators, and before blanks at either end.
fn escaped(text: &str) -> String {
    let is_blank = |character: char| matches!(character, ' ' | '\r');
    let begin = text.len() - text.trim_start_matches(is_blank).len();
    let end = text.trim_end_matches(is_blank).len();
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        match character {
            '\0' => escaped.push_str("\\00"),
            _ if at < begin || at >= end || character == '\\' || ESCAPED.contains(&character) => {
                let _ = write!(escaped, "\\{character}");
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A value with the tag and length before it, as it stands in the certificate.
fn encoded(tag: u32, data: &[u8]) -> Vec<u8> {
    // Values of names have the tags of single texts, which fit one byte.
    let mut bytes = vec![u8::try_from(tag).unwrap_or(u8::MAX)];
    match u8::try_from(data.len()) {
        Ok(short @ 0..0x80) => bytes.push(short),
        _ => {
            let length = data.len().to_be_bytes();
            let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            bytes.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            bytes.extend_from_slice(length);
        }
    }
    bytes.extend_from_slice(data);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    fn subject(parts: impl IntoIterator<Item = (DnType, DnValue)>) -> Result<String, SubjectError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        let key = KeyPair::generate().unwrap();
        subject_of(params.self_signed(&key).unwrap().der())
    }

    fn text(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn a_subject_is_printed_as_java_prints_it() {
        let parts = [
            (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
            (DnType::OrganizationName, text("Müller, Söhne")),
            (DnType::OrganizationalUnitName, text("a+b=c")),
            (DnType::CommonName, text("client 1")),
        ];
        let wanted = "CN=client 1,OU=a\\+b\\=c,O=Müller\\, Söhne,C=DE";
        assert_eq!(subject(parts).as_deref(), Ok(wanted));
        assert_eq!(subject([]).as_deref(), Ok(""));
    }

    #[test]
    fn what_has_no_short_name_is_told_by_number_and_bytes() {
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        let parts = [
            (DnType::CommonName, text("a")),
            (mail, DnValue::Ia5String("a@b".try_into().unwrap())),
        ];
        let wanted = "1.2.840.113549.1.9.1=#1603614062,CN=a";
        assert_eq!(subject(parts).as_deref(), Ok(wanted));
    }

    #[test]
    fn what_could_be_taken_for_a_separator_is_escaped() {
        for (given, wanted) in [
            ("admin,O=x", "admin\\,O\\=x"),
            (" a b ", "\\ a b\\ "),
            ("  ", "\\ \\ "),
            ("#a", "\\#a"),
            ("a\\", "a\\\\"),
            ("\"<>;", "\\\"\\<\\>\\;"),
            ("a\0", "a\\00"),
        ] {
            let found = subject([(DnType::CommonName, text(given))]).unwrap();
            assert_eq!(found, format!("CN={wanted}"), "{given:?}");
        }
    }

    #[test]
    fn a_subject_that_every_write_would_carry_is_bounded() {
        let long = subject([(DnType::CommonName, text(&"a".repeat(SUBJECT_BYTES_MAX)))]);
        assert_eq!(long, Err(SubjectError::TooLong(SUBJECT_BYTES_MAX + 3)));
        let longest = "a".repeat(SUBJECT_BYTES_MAX - 3);
        assert!(subject([(DnType::CommonName, text(&longest))]).is_ok());
    }

    #[test]
    fn bytes_are_told_with_their_tag_and_length() {
        assert_eq!(encoded(30, &[0, 65]), [30, 2, 0, 65]);
        assert_eq!(encoded(30, &[0; 200])[..3], [30, 0x81, 200]);
        assert_eq!(encoded(30, &[0; 300])[..4], [30, 0x82, 1, 44]);
    }
}
