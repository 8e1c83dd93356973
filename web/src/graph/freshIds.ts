/** Ids for nodes that come into a document from elsewhere. */

import { freshId } from "./document";

/** Returns the wanted id if it is free and valid, else a numbered one like it. */
export function untaken(taken: Record<string, unknown>, wanted: string): string {
  const isFree = !(wanted in taken) && /^[\p{L}\p{N}_-]{1,64}$/u.test(wanted);
  return isFree ? wanted : freshId(taken, wanted.replace(/[^\p{L}\p{N}_-]/gu, "_").replace(/_\d+$/, "") || "node");
}

/** Returns the wanted name if it is free, else a numbered one. */
export function untakenName(taken: { has(name: string): boolean }, wanted: string): string {
  let name = wanted;
  for (let number = 2; taken.has(name); number++) name = `${wanted.slice(0, 56)}_${number}`;
  return name;
}
