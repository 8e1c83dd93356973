/** What the server has said of itself when the page began. */

import type { Session } from "../api/types";
import type { Kinds } from "../graph/dropped";

let known: Session | null = null;

export function setFacts(session: Session): void {
  known = session;
}

/** Which files can be uploaded. */
export const kinds = (): Kinds => ({ pictures: known?.picture_suffixes ?? [], texts: known?.text_suffixes ?? [] });

/** Ends of the names of files that may carry a workflow. */
export const workflowSuffixes = (): string[] => known?.workflow_suffixes ?? [];

/** The path in the workspace of a finished file, or of the folder that it is the first of; null when it lies elsewhere. */
export function placeOf(artifact: string): string | null {
  if (!known || known.output === null || !artifact.startsWith(known.output_folder)) return null;
  const [name] = artifact.slice(known.output_folder.length).split(/[\\/]/).filter(Boolean);
  return name === undefined ? null : [known.output, name].filter((part) => part !== "" && part !== ".").join("/");
}
