//! Two things about offsets that the safe wrapper does not do.
//!
//! A synchronous commit through it tells one error for all partitions, and none when only some failed. And it
//! panics on commit metadata that is not UTF-8, which any tool may have committed.
#![allow(
    unsafe_code,
    reason = "the safe wrapper hides failed partitions and panics on foreign metadata"
)]

use std::ffi::{CStr, c_void};

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;

/// What the coordinator said.
#[derive(Debug, Default)]
struct Reply {
    /// Topic, partition and error of each, in no particular order.
    partitions: Vec<(String, i32, Option<RDKafkaErrorCode>)>,
}

/// Commits `offsets` and waits for the coordinator's answer (at most about the session time-out plus the socket
/// time-out). `Err` when the request as a whole failed; else one outcome for each partition of the answer.
pub(crate) fn commit<C: ClientContext>(
    client: &Client<C>,
    offsets: &TopicPartitionList,
) -> Result<Vec<(String, i32, Option<RDKafkaErrorCode>)>, RDKafkaErrorCode> {
    let mut reply = Reply::default();
    // SAFETY: client and list are valid for the call, which copies the list. Without a queue the call waits for
    // the answer and calls `on_reply` itself, before it returns (`rd_kafka_commit_queue`, rdkafka_offset.c), so
    // `reply` outlives every use of its address.
    let code = unsafe {
        rd::rd_kafka_commit_queue(
            client.native_ptr(),
            offsets.ptr(),
            std::ptr::null_mut(),
            Some(on_reply),
            (&raw mut reply).cast::<c_void>(),
        )
    };
    let failed = code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    // When every partition failed librdkafka repeats the last one's error as the request's.
    if failed && reply.partitions.iter().all(|(_, _, error)| error.is_none()) {
        return Err(code.into());
    }
    Ok(reply.partitions)
}

unsafe extern "C" fn on_reply(
    _client: *mut rd::rd_kafka_t,
    _code: rd::rd_kafka_resp_err_t,
    offsets: *mut rd::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the address of the `Reply` on the stack of `commit`, which waits for this call.
    let Some(reply) = (unsafe { opaque.cast::<Reply>().as_mut() }) else {
        return;
    };
    // SAFETY: librdkafka passes null or a list that it keeps until we return.
    for element in unsafe { elements(offsets) } {
        // SAFETY: the topic of a list's element is a NUL-terminated string.
        let topic = unsafe { CStr::from_ptr(element.topic) };
        let error = (element.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
            .then(|| element.err.into());
        reply.partitions.push((
            topic.to_string_lossy().into_owned(),
            element.partition,
            error,
        ));
    }
}

/// The commit metadata of each element of a list, in its order; `None` where there is none or it is not UTF-8.
pub(crate) fn metadata(list: &TopicPartitionList) -> Vec<Option<String>> {
    // SAFETY: the list is borrowed for the call and nobody else holds it.
    unsafe { elements(list.ptr()) }
        .iter()
        .map(|element| {
            if element.metadata.is_null() || element.metadata_size == 0 {
                return None;
            }
            // SAFETY: non-null metadata has `metadata_size` bytes, owned by the list; copied at once.
            let bytes = unsafe {
                std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
            };
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        })
        .collect()
}

/// # Safety
/// `list` is null or valid, and not changed for as long as the slice is used.
unsafe fn elements<'a>(
    list: *const rd::rd_kafka_topic_partition_list_t,
) -> &'a [rd::rd_kafka_topic_partition_t] {
    // SAFETY: by the caller.
    let Some(list) = (unsafe { list.as_ref() }) else {
        return &[];
    };
    match usize::try_from(list.cnt) {
        // SAFETY: a list has `cnt` elements at `elems`.
        Ok(count) if count > 0 && !list.elems.is_null() => unsafe {
            std::slice::from_raw_parts(list.elems, count)
        },
        _ => &[],
    }
}
