import DOMPurify from "dompurify";
import { marked } from "marked";

const TAGS = [
  "p",
  "br",
  "em",
  "strong",
  "del",
  "code",
  "pre",
  "ul",
  "ol",
  "li",
  "h1",
  "h2",
  "h3",
  "h4",
  "blockquote",
  "a",
  "hr",
  "table",
  "thead",
  "tbody",
  "tr",
  "th",
  "td",
];

/** Markdown as HTML without scripts, styles, pictures or forms; links open elsewhere. */
export function safeHtml(source: string): string {
  const html = marked.parse(source, { async: false, gfm: true, breaks: false });
  const clean = DOMPurify.sanitize(html, { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href"], ALLOWED_URI_REGEXP: /^https?:/i });
  return clean.replaceAll("<a ", '<a target="_blank" rel="noopener noreferrer" ');
}
