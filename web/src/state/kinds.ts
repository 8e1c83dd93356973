/** Which files can be uploaded, as the server has said. */

import type { Session } from "../api/types";
import type { Kinds } from "../graph/dropped";

let known: Kinds = { pictures: [], texts: [] };

export function setKinds(session: Session): void {
  known = { pictures: session.picture_suffixes, texts: session.text_suffixes };
}

export const kinds = (): Kinds => known;
