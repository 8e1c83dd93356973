/** The system's clipboard; `navigator.clipboard` does not exist where the page comes from another machine over plain HTTP. */

export async function writeClipboard(content: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(content);
  const put = (event: ClipboardEvent) => {
    event.preventDefault();
    event.clipboardData?.setData("text/plain", content);
  };
  document.addEventListener("copy", put);
  document.execCommand("copy");
  document.removeEventListener("copy", put);
}

/** Returns the clipboard's text; null where the page may not read it. */
export async function readClipboard(): Promise<string | null> {
  return navigator.clipboard?.readText().catch(() => null) ?? null;
}
