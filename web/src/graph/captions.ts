/** Captions by the name of their picture, and edits of those that are lists of tags, separated by commas. */

export type Captions = Record<string, string>;

const tagsOf = (caption: string): string[] =>
  caption
    .split(",")
    .map((tag) => tag.trim())
    .filter(Boolean);

/** Add a tag at the end, unless it is there. */
export function addTag(caption: string, tag: string): string {
  const tags = tagsOf(caption);
  const wanted = tag.trim();
  return tags.includes(wanted) ? caption : [...tags, wanted].join(", ");
}

export function removeTag(caption: string, tag: string): string {
  const tags = tagsOf(caption);
  const kept = tags.filter((each) => each !== tag.trim());
  return kept.length === tags.length ? caption : kept.join(", ");
}

/** Replace every occurrence of a text, tag or not. */
export function replaceText(caption: string, before: string, after: string): string {
  return before === "" ? caption : caption.split(before).join(after);
}

/** Returns the captions that differ from those on the disk. */
export function changes(disk: Captions, now: Captions): Captions {
  return Object.fromEntries(Object.entries(now).filter(([name, caption]) => caption !== disk[name]));
}

/** All captions once `sent` are on the disk, where blanks around them are not kept; what was typed since then stays. */
export function written(now: Captions, sent: Captions): Captions {
  const settled = Object.entries(now).map(([name, caption]) => [name, caption === sent[name] ? caption.trim() : caption]);
  return Object.fromEntries(settled);
}
