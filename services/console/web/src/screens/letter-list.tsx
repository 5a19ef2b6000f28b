import type { DeadLetter } from "../api/types";
import { Countdown, Moment } from "../ui/when";

interface Props {
  letters: DeadLetter[];
  chosen: ReadonlySet<string>;
  onToggle: (at: string) => void;
}

export function LetterList({ letters, chosen, onToggle }: Props) {
  return (
    <ul className="letters">
      {letters.map((letter) => (
        <li key={letter.at} className={chosen.has(letter.at) ? "panel letter letter-chosen" : "panel letter"}>
          <input type="checkbox" aria-label={`Select letter ${letter.at}, ${letter.reason}`} checked={chosen.has(letter.at)} onChange={() => onToggle(letter.at)} />
          <div>
            <p className="letter-head"><span className="reason">{letter.reason}</span> <code className="at">{letter.at}</code> <span className="quiet"><Countdown at={letter.written_ms} /></span></p>
            <p className="detail">{letter.detail}</p>
            <Facts letter={letter} />
          </div>
        </li>
      ))}
    </ul>
  );
}

function Facts({ letter }: { letter: DeadLetter }) {
  const facts: [string, string | undefined][] = [["Source", letter.source], ["Target", letter.target], ["Output topic", letter.output_topic]];
  const hasContent = typeof letter.key === "string" || typeof letter.value === "string";
  return (
    <>
      <dl className="facts">
        {facts.filter(([, value]) => value !== undefined).map(([name, value]) => <div key={name}><dt>{name}</dt><dd><code>{value}</code></dd></div>)}
        <div><dt>Written</dt><dd><Moment at={letter.written_ms} /></dd></div>
      </dl>
      {hasContent && (
        <details>
          <summary>Key and value</summary>
          <p><span className="quiet">key</span> <code>{letter.key ?? "none"}</code></p>
          <pre tabIndex={0} aria-label={`Value of letter ${letter.at}`}>{letter.value ?? "none"}</pre>
        </details>
      )}
    </>
  );
}
