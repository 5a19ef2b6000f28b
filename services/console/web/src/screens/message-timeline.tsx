import type { Message } from "../api/types";
import { timeline } from "../live/timeline";
import { Countdown, Moment } from "../ui/when";

export function MessageTimeline({ message }: { message: Message }) {
  return (
    <section className="panel" aria-labelledby="timeline-title">
      <h2 id="timeline-title">Timeline</h2>
      <ol className="timeline">
        {timeline(message).map((step) => (
          <li key={step.name} className={`step step-${step.kind}`}>
            <div className="step-head">
              <strong>{step.name}</strong>
              {step.at_ms !== null && <span className="step-time"><Moment at={step.at_ms} /> <span className="quiet"><Countdown at={step.at_ms} /></span></span>}
            </div>
            {step.detail && <p className="quiet">{step.detail}</p>}
          </li>
        ))}
      </ol>
    </section>
  );
}
