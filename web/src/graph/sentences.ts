/** Problems as whole sentences, wherever they are shown. */

import type { Problem } from "../api/types";
import { nameWords } from "./socketStyle";

type Said = Pick<Problem, "field" | "message" | "remedy">;

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** Returns a problem and its remedy, to be shown beside the field. */
export const saidThere = ({ message, remedy }: Said): string => `${capital(message)} ${remedy}`.trim();

/** Returns the same with the field's name, to be shown elsewhere. */
export function said(problem: Said): string {
  return problem.field ? `${capital(nameWords(problem.field))}: ${problem.message} ${problem.remedy}`.trim() : saidThere(problem);
}
