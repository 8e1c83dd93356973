/** The facts about the server in the page's session. */

import type { Session } from "../api/types";
import type { Kinds } from "../graph/dropped";

let known: Session | null = null;

export function setFacts(session: Session): void {
  known = session;
}

/** The files that can be uploaded. */
export const kinds = (): Kinds => ({ pictures: known?.picture_suffixes ?? [], texts: known?.text_suffixes ?? [] });

/** Suffixes of files that may contain a workflow. */
export const workflowSuffixes = (): string[] => known?.workflow_suffixes ?? [];

/** The path in the workspace of a finished file, or of the folder that it is the first of; null when it is outside. */
export function placeOf(artifact: string): string | null {
  if (!known || known.output === null || !artifact.startsWith(known.output_folder)) return null;
  const [name] = artifact.slice(known.output_folder.length).split(/[\\/]/).filter(Boolean);
  return name === undefined ? null : [known.output, name].filter((part) => part !== "" && part !== ".").join("/");
}
