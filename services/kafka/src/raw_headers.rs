//! Reads headers and leader epoch of a message through librdkafka itself.
//!
//! The safe wrapper panics on a header name that is not UTF-8 (`BorrowedHeaders::try_get`, rdkafka 0.39), and one
//! such record would stop its partition for good.
#![allow(
    unsafe_code,
    reason = "the safe wrapper panics on records that anybody may produce"
)]

use std::borrow::Cow;
use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::message::BorrowedMessage;

/// Headers in order, and why they are not faithful, if they are not.
pub(crate) struct Headers<'m> {
    /// Names, with replacement characters where they are not UTF-8, and values; `None` is Kafka's null.
    pub(crate) list: Vec<(Cow<'m, str>, Option<&'m [u8]>)>,
    /// Reason.
    pub(crate) malformed: Option<String>,
}

/// All headers of a message. A name with a NUL in it is cut there: librdkafka's interface hides the rest.
pub(crate) fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Headers<'m> {
    let mut found = Headers {
        list: Vec::new(),
        malformed: None,
    };
    let mut native: *mut rd::rd_kafka_headers_t = ptr::null_mut();
    // SAFETY: `message.ptr()` is valid as long as `message` is borrowed, which outlives this function. The headers
    // are parsed on the first call and owned by the message.
    let code = unsafe { rd::rd_kafka_message_headers(message.ptr(), &raw mut native) };
    match code {
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR if !native.is_null() => {}
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        | rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => return found,
        _ => {
            found.malformed = Some("the headers cannot be parsed".to_owned());
            return found;
        }
    }
    // SAFETY: `native` was just given to us, non-null, and lives as long as the message.
    let count = unsafe { rd::rd_kafka_header_cnt(native) };
    found.list.reserve_exact(count);
    for index in 0..count {
        let mut name = ptr::null();
        let mut value = ptr::null();
        let mut value_bytes = 0;
        // SAFETY: `native` as above; the three out pointers are valid for writes; an index out of bounds is an
        // error code, not undefined.
        let code = unsafe {
            rd::rd_kafka_header_get_all(
                native,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut value_bytes,
            )
        };
        if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            found.malformed = Some(format!("header {index} cannot be read"));
            continue;
        }
        // SAFETY: librdkafka terminates names with a NUL (`rd_kafka_header_add`); owned by the message.
        let name = unsafe { CStr::from_ptr::<'m>(name) };
        let value = (!value.is_null()).then(|| {
            // SAFETY: a non-null value points at `value_bytes` bytes owned by the message, which `'m` borrows and
            // nobody changes.
            unsafe { std::slice::from_raw_parts::<'m>(value.cast::<u8>(), value_bytes) }
        });
        let name = match name.to_str() {
            Ok(name) => Cow::Borrowed(name),
            Err(_) => {
                found.malformed = Some(format!("the name of header {index} is not UTF-8"));
                name.to_string_lossy()
            }
        };
        found.list.push((name, value));
    }
    found
}

/// The epoch of the leader that appended the message, if the broker says.
pub(crate) fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: valid as long as `message` is borrowed; the call only reads.
    let epoch = unsafe { rd::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}
