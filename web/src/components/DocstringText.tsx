/** Text from a docstring: what stands in backticks is shown as code. */
export function DocstringText({ of }: { of: string }) {
  return of.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part));
}
