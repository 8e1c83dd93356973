/** Finished pictures as the page shows them. */

import { address } from "../api/client";
import type { PublishedArtifact } from "../api/types";
import type { Picture } from "../state/ui";
import { baseName } from "./times";

export const isPicture = ({ path }: PublishedArtifact): boolean => /\.(png|webp|jpe?g)$/i.test(path);

/** A picture called by what drew it and what it was asked for; by its file where that is not known. */
export function pictureOf(run: string, artifact: PublishedArtifact): Picture {
  const { caption = "", group = "" } = artifact;
  const name = baseName(artifact.path);
  return { src: address.artifact(run, name), caption: [caption, group].filter(Boolean).join(": ") || name, group };
}

/** Returns the picture to compare with: the first of the same prompt by another model, else the first of all. */
export function comparedWith(pictures: Picture[], index: number): Picture | undefined {
  const own = pictures[index];
  const alike = pictures.find((each, at) => at !== index && own?.group && each.group === own.group);
  return alike ?? (index > 0 ? pictures[0] : pictures[1]);
}
