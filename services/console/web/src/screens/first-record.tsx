import { href } from "../route/route";
import { Empty } from "../ui/notice";

/** What to do when there is nothing yet. */
export function FirstRecord() {
  return (
    <Empty title="No tracked messages here yet">
      <p>A record with a <code>delay-id</code> header is tracked: it shows here from the moment it is read, and can be cancelled, rescheduled and looked up. Records without an id are delivered all the same, and cost less.</p>
      <ol className="steps">
        <li>Produce a record to the delay topic with the headers <code>delay-id: order-4711</code>, <code>delay-target: orders</code> and <code>delay-ms: 30000</code>,</li>
        <li>or send one from here, with an id:</li>
      </ol>
      <div className="actions"><a className="button primary" href={href("send")}>Send a first record</a></div>
    </Empty>
  );
}
