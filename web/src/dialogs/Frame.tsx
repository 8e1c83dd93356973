import { X } from "lucide-react";
import { Dialog } from "radix-ui";
import type { KeyboardEvent, ReactNode } from "react";
import { openDialog } from "../state/ui";
import { text } from "../text/en";

interface Props {
  title: string;
  kind: string;
  /** A palette has no visible title. */
  isPlain?: boolean;
  tools?: ReactNode;
  /** The data that closing would lose, shown in a confirmation. */
  unsaved?: string;
  onKeyDown?: (event: KeyboardEvent<HTMLElement>) => void;
  children: ReactNode;
}

/** Returns whether a control of the dialog handles keys, such as Escape. */
const keepsEscape = () => document.activeElement?.classList.contains("waiting") ?? false;

const STEPS: Record<string, number> = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

/** Go through the tiles or rows of the dialog with the arrow keys, Home and End. */
function walk(event: KeyboardEvent<HTMLElement>): void {
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>(".tile, .row:enabled")];
  const target = event.target as HTMLElement;
  const at = rows.indexOf(target);
  const to = { ...STEPS, Home: -rows.length, End: rows.length }[event.key];
  if (to === undefined || rows.length === 0 || target.matches("input, textarea, select")) return;
  event.preventDefault();
  rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + to))]?.focus();
}

/** A modal dialog: Escape closes it, and the focus comes back to where it was. */
export function Frame({ title, kind, isPlain = false, tools, unsaved = "", onKeyDown = walk, children }: Props) {
  return (
    <Dialog.Root open onOpenChange={(isOpen) => !isOpen && (!unsaved || confirm(unsaved)) && openDialog(null)}>
      <Dialog.Portal>
        <Dialog.Overlay className="overlay" />
        <Dialog.Content
          className={`dialog ${kind}`}
          aria-describedby={undefined}
          onOpenAutoFocus={(event) => {
            const first = (event.target as HTMLElement).querySelector<HTMLElement>("[data-autofocus], .tile, .row");
            if (!first) return;
            event.preventDefault();
            first.focus();
          }}
          onKeyDown={onKeyDown}
          onEscapeKeyDown={(event) => keepsEscape() && event.preventDefault()}
        >
          {isPlain ? (
            <Dialog.Title className="hidden">{title}</Dialog.Title>
          ) : (
            <header>
              <Dialog.Title>{title}</Dialog.Title>
              <div className="tools">
                {tools}
                <Dialog.Close className="icon" aria-label={text.close}>
                  <X size={16} aria-hidden />
                </Dialog.Close>
              </div>
            </header>
          )}
          {children}
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
