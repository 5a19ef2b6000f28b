import type { CancelAnswer, MessageState, Path, RescheduleAnswer } from "../api/types";

/** What the words of the API mean, in a sentence. */

export const STATE_HELP: Record<MessageState, string> = {
  scheduled: "waits for its due time; can be cancelled and rescheduled",
  publishing: "claimed by a publisher: too late to cancel",
  published: "is in its output topic",
  cancelled: "will never be published",
  dead: "is in the dead-letter topic",
};

export const PATH_HELP: Record<Path, string> = {
  direct: "due within 2 s: held and published by the router",
  short: "due in less than 15 min: waits in an SQS queue of its priority",
  long: "due later: waits in DynamoDB until its bucket is handed over",
};

export const CANCEL_TEXT: Record<CancelAnswer, string> = {
  cancelled: "Cancelled. It will never be published.",
  published: "Too late: it was already published.",
  too_late: "Too late: it is being published now. It comes out, or becomes a dead letter.",
  dead: "Nothing to cancel: it is in the dead-letter topic.",
  unknown: "No record with that id is known. One that was produced a moment ago may not have been read yet; try again.",
};

export const RESCHEDULE_TEXT: Record<RescheduleAnswer, string> = {
  rescheduled: "Rescheduled.",
  too_late: "Too late: it is being published, or has ended.",
  superseded: "Another record with this id took its place meanwhile; that one was left as it is.",
};
