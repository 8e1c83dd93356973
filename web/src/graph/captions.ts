/** Edits of captions that are lists of tags, separated by commas. */

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
