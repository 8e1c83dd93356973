/** Undo and redo over immutable values. */

export interface History<T> {
  past: T[];
  present: T;
  future: T[];
  /** Edits with the same key in a row, such as the letters of a word, are undone at once; empty never merges. */
  key: string;
}

const LIMIT = 500;

export function begin<T>(present: T): History<T> {
  return { past: [], present, future: [], key: "" };
}

export function record<T>(history: History<T>, next: T, key = ""): History<T> {
  if (next === history.present) return history;
  const past = key && key === history.key ? history.past : [...history.past, history.present].slice(-LIMIT);
  return { past, present: next, future: [], key };
}

export function undo<T>(history: History<T>): History<T> {
  const present = history.past.at(-1);
  if (present === undefined) return history;
  return { past: history.past.slice(0, -1), present, future: [history.present, ...history.future], key: "" };
}

export function redo<T>(history: History<T>): History<T> {
  const [present, ...future] = history.future;
  if (present === undefined) return history;
  return { past: [...history.past, history.present], present, future, key: "" };
}
