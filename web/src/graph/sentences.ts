/** Problems as whole sentences, wherever they are shown. */

import type { Problem } from "../api/types";
import { nameWords } from "./socketStyle";

type Said = Pick<Problem, "field" | "message" | "remedy">;

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What is wrong and what to do about it, beside the field that it is about. */
export const saidThere = ({ message, remedy }: Said): string => `${capital(message)} ${remedy}`.trim();

/** The same away from the field, which is named. */
export function said(problem: Said): string {
  return problem.field ? `${capital(nameWords(problem.field))}: ${problem.message} ${problem.remedy}`.trim() : saidThere(problem);
}
