import { useId, type ReactNode } from "react";

interface Props {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
  className?: string;
  children: (ids: { id: string; "aria-describedby"?: string; "aria-invalid"?: true }) => ReactNode;
}

/** A control with its label, its hint and what is wrong with it, tied together for screen readers. */
export function Field({ label, hint, error, className, children }: Props) {
  const id = useId();
  const hintId = `${id}-hint`;
  const described = hint || error ? { "aria-describedby": hintId } : {};
  const invalid = error ? { "aria-invalid": true as const } : {};
  return (
    <div className={`field ${className ?? ""}`}>
      <label htmlFor={id}>{label}</label>
      {children({ id, ...described, ...invalid })}
      {(hint || error) && <p id={hintId} className={error ? "hint hint-bad" : "hint"}>{error ?? hint}</p>}
    </div>
  );
}
