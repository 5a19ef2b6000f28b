import { useEffect, useId, useRef, type KeyboardEvent, type ReactNode } from "react";
import { createPortal } from "react-dom";

interface Props {
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** False: Escape and the backdrop do not close it, as while something is under way. */
  closable?: boolean;
}

const FOCUSABLE = 'a[href], button:not([disabled]), input:not([disabled]), select:not([disabled]), textarea:not([disabled]), [tabindex="0"]';

/** A modal dialog: takes the focus, keeps it, closes with Escape, and gives the focus back. */
export function Dialog({ title, onClose, children, closable = true }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const titleId = useId();

  useEffect(() => {
    const before = document.activeElement;
    const root = document.getElementById("root");
    root?.setAttribute("inert", "");
    const first = box.current?.querySelector<HTMLElement>("[data-autofocus]") ?? focusable(box.current)[0];
    (first ?? box.current)?.focus();
    return () => {
      root?.removeAttribute("inert");
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && closable) {
      event.stopPropagation();
      onClose();
    }
    if (event.key === "Tab") keepFocus(event, box.current);
  };

  return createPortal(
    <div className="backdrop" onMouseDown={(event) => event.target === event.currentTarget && closable && onClose()}>
      <div className="dialog" role="dialog" aria-modal="true" aria-labelledby={titleId} ref={box} tabIndex={-1} onKeyDown={onKeyDown}>
        <h2 id={titleId}>{title}</h2>
        {children}
      </div>
    </div>,
    document.body,
  );
}

function focusable(box: HTMLElement | null): HTMLElement[] {
  return box ? [...box.querySelectorAll<HTMLElement>(FOCUSABLE)] : [];
}

function keepFocus(event: KeyboardEvent, box: HTMLElement | null): void {
  const all = focusable(box);
  const first = all[0];
  const last = all.at(-1);
  if (!first || !last) {
    event.preventDefault();
    return;
  }
  const active = document.activeElement;
  if (event.shiftKey && (active === first || active === box)) {
    event.preventDefault();
    last.focus();
  } else if (!event.shiftKey && active === last) {
    event.preventDefault();
    first.focus();
  }
}
