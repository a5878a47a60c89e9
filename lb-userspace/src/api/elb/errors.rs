//! Every "no" of the Query API: the codes that clients know, the status that
//! goes with each, and how the control plane's refusals become one of them.

use std::fmt;

use hyper::StatusCode;

use crate::{
    api::body::BodyError,
    control,
    model::{Counted, Full, Invalid},
};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $status:ident,)*) => {
        /// A code on the wire. Clients turn it into an exception's class.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Clients try again on 5xx, so nothing that would fail again has
            /// one.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }
        }
    };
}

codes! {
    // Of the API's model.
    CertificateNotFound BAD_REQUEST,
    DuplicateListener BAD_REQUEST,
    DuplicateLoadBalancerName BAD_REQUEST,
    DuplicatePolicyName BAD_REQUEST,
    DuplicateTagKeys BAD_REQUEST,
    InvalidConfigurationRequest CONFLICT,
    InvalidInstance BAD_REQUEST,
    InvalidScheme BAD_REQUEST,
    InvalidSecurityGroup BAD_REQUEST,
    InvalidSubnet BAD_REQUEST,
    ListenerNotFound BAD_REQUEST,
    LoadBalancerAttributeNotFound BAD_REQUEST,
    LoadBalancerNotFound BAD_REQUEST,
    OperationNotPermitted BAD_REQUEST,
    PolicyNotFound BAD_REQUEST,
    PolicyTypeNotFound BAD_REQUEST,
    SubnetNotFound BAD_REQUEST,
    TooManyLoadBalancers BAD_REQUEST,
    TooManyPolicies BAD_REQUEST,
    TooManyTags BAD_REQUEST,
    UnsupportedProtocol BAD_REQUEST,
    // Common to all such APIs.
    AccessDenied FORBIDDEN,
    IncompleteSignature BAD_REQUEST,
    InternalFailure INTERNAL_SERVER_ERROR,
    InvalidAction BAD_REQUEST,
    InvalidClientTokenId FORBIDDEN,
    /// 404 as the original documents it.
    MalformedQueryString NOT_FOUND,
    MissingAction BAD_REQUEST,
    MissingAuthenticationToken FORBIDDEN,
    MissingParameter BAD_REQUEST,
    RequestExpired BAD_REQUEST,
    ServiceUnavailable SERVICE_UNAVAILABLE,
    SignatureDoesNotMatch FORBIDDEN,
    ValidationError BAD_REQUEST,
}

/// An answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .code.name())]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// What the original answers to every parameter that is wrong in itself.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(Code::ValidationError, message)
    }

    /// In the original's words: a value that breaks a constraint.
    pub(super) fn constraint(value: impl fmt::Display, path: &str, constraint: &str) -> Self {
        Self::validation(format!(
            "1 validation error detected: Value '{value}' at '{path}' failed to satisfy \
             constraint: Member must {constraint}"
        ))
    }

    pub(super) fn no_such_lb(name: &str) -> Self {
        Self::new(
            Code::LoadBalancerNotFound,
            format!(
                "There is no ACTIVE Load Balancer named '{}'",
                shortened(name)
            ),
        )
    }

    /// It failed for a reason that is not the caller's.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::InternalFailure, message)
    }

    /// `Sender` or `Receiver`: whose fault it is.
    pub(super) fn fault(&self) -> &'static str {
        if self.code.status().is_server_error() {
            "Receiver"
        } else {
            "Sender"
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NoPlace(why) => Self::new(Code::ServiceUnavailable, why.to_string()),
            error => Self::validation(error.to_string()),
        }
    }
}

impl From<control::Error> for Refusal {
    fn from(error: control::Error) -> Self {
        use control::Error as E;
        let code = match &error {
            E::NoSuchLoadBalancer { name, .. } | E::BeingDeleted { name, .. } => {
                return Self::no_such_lb(name);
            }
            E::NoSuchBackend { .. } | E::NotRegistered { .. } | E::OtherAddress { .. } => {
                Code::InvalidInstance
            }
            E::NoSuchListener { .. } => Code::ListenerNotFound,
            E::LoadBalancerExists { .. } => Code::DuplicateLoadBalancerName,
            E::Full(Full {
                what: Counted::LoadBalancers,
                ..
            }) => Code::TooManyLoadBalancers,
            E::OtherMode { .. } | E::Full(_) => Code::InvalidConfigurationRequest,
            E::Invalid(invalid) => of_invalid(invalid),
            E::Document(_) | E::Store(_) | E::Dataplane(_) | E::Vip(_) => Code::InternalFailure,
            E::Stopping => Code::ServiceUnavailable,
        };
        let message = match error.hint() {
            Some(hint) => format!("{}; {hint}", error.message()),
            None => error.message(),
        };
        Self::new(code, message)
    }
}

fn of_invalid(invalid: &Invalid) -> Code {
    match invalid {
        Invalid::ListenerTwice { .. } | Invalid::ListenerTaken { .. } => Code::DuplicateListener,
        Invalid::Id { .. }
        | Invalid::BackendTwice { .. }
        | Invalid::AddressTwice { .. }
        | Invalid::BackendIsVip { .. }
        | Invalid::Address { .. } => Code::InvalidInstance,
        Invalid::VipIsBackend { .. }
        | Invalid::MixedFamilies { .. }
        | Invalid::PortTranslated { .. } => Code::InvalidConfigurationRequest,
        _ => Code::ValidationError,
    }
}

/// What a stranger sent, short enough to be said back.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_would_fail_again_is_tried_again_by_clients() {
        for code in Code::ALL {
            let theirs = !code.status().is_server_error();
            let ours = [Code::InternalFailure, Code::ServiceUnavailable].contains(code);
            assert!(theirs != ours, "{code:?}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_a_megabyte() {
        let refusal = Refusal::no_such_lb(&"é".repeat(1 << 20));
        assert!(refusal.message.len() < 300);
        assert_eq!(refusal.fault(), "Sender");
    }
}
